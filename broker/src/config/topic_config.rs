//! The settings of one topic as typed values: its own ones over what it inherits from the broker.

use std::collections::BTreeMap;

use model::TimestampType;
use replication::Durability;

use super::broker_config::BrokerConfig;
use super::definition::{Definition, Scope};
use super::definitions::Definitions;
use super::error::{ConfigError, ConfigErrorKind};
use super::read;
use super::value::{self, Value};

/// A topic's effective settings. An immutable snapshot; resolved anew when the topic or the broker changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// `cleanup.policy` contains `delete`.
    pub cleanup_delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub cleanup_compact: bool,
    /// `durability`.
    pub durability: Durability,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: u64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u64,
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `retention.bytes`; `None` is no limit.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None` is no limit.
    pub retention_ms: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u64,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: u64,
    /// `segment.ms`.
    pub segment_ms: u64,
}

impl TopicConfig {
    /// The topic's own settings over the broker's. An own setting that this version does not accept (a newer one may
    /// have stored it) is left out.
    #[must_use]
    pub fn resolve(broker: &BrokerConfig, overrides: &BTreeMap<String, String>) -> TopicConfig {
        let reader = Reader { broker, overrides };
        let cleanup = reader.list("cleanup.policy");
        TopicConfig {
            cleanup_delete: cleanup.iter().any(|policy| policy == "delete"),
            cleanup_compact: cleanup.iter().any(|policy| policy == "compact"),
            durability: match reader.text("durability").as_str() {
                "all-fsync" => Durability::AllFsync,
                "kafka" => Durability::Kafka,
                _ => Durability::QuorumFsync,
            },
            file_delete_delay_ms: reader.unsigned("file.delete.delay.ms"),
            index_interval_bytes: reader.unsigned("index.interval.bytes"),
            max_message_bytes: reader.integer("max.message.bytes").try_into().expect("INT of at least 0"),
            timestamp_after_max_ms: reader.integer("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: reader.integer("message.timestamp.before.max.ms"),
            timestamp_type: match reader.text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_insync_replicas: reader.integer("min.insync.replicas").try_into().expect("INT of at least 1"),
            retention_bytes: reader.integer("retention.bytes").try_into().ok(),
            retention_ms: reader.integer("retention.ms").try_into().ok(),
            segment_bytes: reader.unsigned("segment.bytes"),
            segment_index_bytes: reader.unsigned("segment.index.bytes"),
            segment_jitter_ms: reader.unsigned("segment.jitter.ms"),
            segment_ms: reader.unsigned("segment.ms"),
        }
    }

    /// `min.insync.replicas`.
    #[must_use]
    pub fn min_insync_replicas(&self) -> u32 {
        self.min_insync_replicas
    }

    /// `durability`.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }
}

/// Checks one topic setting by itself.
pub fn validate_topic_config(name: &str, text: &str) -> Result<(), ConfigError> {
    value::parse(Definitions::require(Scope::Topic, name)?, text).map(|_| ())
}

/// Checks all own settings of a topic, each by itself and against the others.
pub fn validate_topic_configs(overrides: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (name, text) in overrides {
        validate_topic_config(name, text)?;
    }
    check_together(overrides)
}

/// Checks own settings of a topic against each other.
pub(super) fn check_together(overrides: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let number = |name: &str| overrides.get(name).and_then(|text| text.trim().parse::<i64>().ok());
    if let (Some(low), Some(high)) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"))
        && low > high
    {
        let message = format!(
            "conflict topic config setting min.compaction.lag.ms ({low}) > max.compaction.lag.ms ({high})"
        );
        return Err(ConfigError::new(ConfigErrorKind::InvalidValue, message));
    }
    Ok(())
}

/// Reads topic settings by keys of the table.
struct Reader<'a> {
    broker: &'a BrokerConfig,
    overrides: &'a BTreeMap<String, String>,
}

impl Reader<'_> {
    fn own(&self, definition: &'static Definition) -> Option<Value> {
        let text = self.overrides.get(definition.name)?;
        match value::parse(definition, text) {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::warn!(%error, "a stored topic setting is left out");
                None
            }
        }
    }

    fn definition(key: &str) -> &'static Definition {
        Definitions::find(Scope::Topic, key).expect("the reader asks for keys of the table only")
    }

    fn integer(&self, key: &str) -> i64 {
        let definition = Reader::definition(key);
        match self.own(definition) {
            Some(Value::Integer(number)) => number,
            _ => {
                let found = self.broker.layers.effective(definition);
                read::integer(&found.expect("a test shows that every inherited number has a default"))
            }
        }
    }

    fn unsigned(&self, key: &str) -> u64 {
        self.integer(key).try_into().expect("the table bounds it from below by 0")
    }

    fn text(&self, key: &str) -> String {
        let definition = Reader::definition(key);
        match self.own(definition) {
            Some(Value::Text(text)) => text,
            _ => {
                let found = self.broker.layers.effective(definition);
                found.map(|found| found.text.trim().to_owned()).unwrap_or_default()
            }
        }
    }

    fn list(&self, key: &str) -> Vec<String> {
        let definition = Reader::definition(key);
        match self.own(definition) {
            Some(Value::List(items)) => items,
            _ => {
                let found = self.broker.layers.effective(definition);
                found.map(|found| value::list(found.text)).unwrap_or_default()
            }
        }
    }
}
