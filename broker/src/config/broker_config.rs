//! The settings of this broker as typed values: one immutable snapshot, replaced as a whole when a dynamic setting changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use storage::SealedRead;

use super::definition::{Effect, Scope, UpdateMode};
use super::definitions::Definitions;
use super::error::{ConfigError, ConfigErrorKind};
use super::layers::{Layers, Settings};
use super::listener::Listener;
use super::listeners;
use super::read::Reader;
use super::value;

/// Declares the typed values of a snapshot: the getter, its type, its key, how the text is read. The getters are not
/// public, so that the compiler names a setting that nobody reads: it belongs to those without effect.
macro_rules! typed_settings {
    ($($name:ident: $type:ty = $key:literal by $read:ident;)*) => {
        #[derive(Debug, Clone, PartialEq)]
        struct Typed {
            $($name: $type,)*
        }

        impl Typed {
            fn read(reader: &Reader<'_>) -> Typed {
                Typed { $($name: reader.$read($key),)* }
            }
        }

        impl BrokerConfig {
            $(
                #[doc = concat!("`", $key, "`.")]
                #[must_use]
                pub(crate) fn $name(&self) -> $type {
                    self.typed.$name
                }
            )*
        }
    };
}

typed_settings! {
    auto_create_topics: bool = "auto.create.topics.enable" by boolean;
    connection_idle_max: Option<Duration> = "connections.max.idle.ms" by optional_milliseconds;
    checkpoint_bytes: u64 = "millrace.checkpoint.bytes" by u64;
    checkpoint_interval: Duration = "millrace.checkpoint.ms" by milliseconds;
    delete_topic_enable: bool = "delete.topic.enable" by boolean;
    disk_reserve_bytes: u64 = "millrace.disk.reserve.bytes" by u64;
    fetch_bytes_max: usize = "fetch.max.bytes" by usize;
    fetch_sessions_max: usize = "max.incremental.fetch.session.cache.slots" by usize;
    group_initial_rebalance_delay: Duration = "group.initial.rebalance.delay.ms" by milliseconds;
    group_session_timeout_max: Duration = "group.max.session.timeout.ms" by milliseconds;
    group_session_timeout_min: Duration = "group.min.session.timeout.ms" by milliseconds;
    group_size_max: usize = "group.max.size" by usize;
    journal_bytes_per_shard: u64 = "millrace.journal.bytes.per.shard" by u64;
    max_connections: usize = "max.connections" by usize;
    memory_per_shard_bytes: usize = "millrace.memory.per.shard.bytes" by usize;
    metrics_partitions_max: usize = "millrace.metrics.partitions.max" by usize;
    node_id: i32 = "node.id" by i32;
    num_partitions: i32 = "num.partitions" by i32;
    offset_metadata_bytes_max: usize = "offset.metadata.max.bytes" by usize;
    offsets_retention: Duration = "offsets.retention.minutes" by minutes;
    offsets_retention_check_interval: Duration = "offsets.retention.check.interval.ms" by milliseconds;
    offsets_topic_partitions: i32 = "offsets.topic.num.partitions" by i32;
    offsets_topic_segment_bytes: u64 = "offsets.topic.segment.bytes" by u64;
    producer_expiry_check_interval: Duration = "producer.id.expiration.check.interval.ms" by milliseconds;
    producer_id_expiration: Duration = "producer.id.expiration.ms" by milliseconds;
    read_cache_bytes_per_shard: Option<u64> = "millrace.read.cache.bytes.per.shard" by optional_u64;
    request_partitions_max: usize = "max.request.partition.size.limit" by usize;
    retention_check_interval: Duration = "log.retention.check.interval.ms" by milliseconds;
    sealed_read: SealedRead = "millrace.fetch.sealed" by sealed_read;
    socket_backlog: u32 = "socket.listen.backlog.size" by u32;
    socket_request_bytes_max: usize = "socket.request.max.bytes" by usize;
    spin: Duration = "millrace.spin.us" by microseconds;
    stall_threshold: Duration = "millrace.stall.us" by microseconds;
    trusts_headers: bool = "millrace.produce.validation" by header;
    unlink_pause: Duration = "millrace.unlink.pause.ms" by milliseconds;
}

/// The broker's settings. Invariant: every value in its layers has passed validation.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerConfig {
    pub(super) layers: Layers,
    typed: Typed,
    rack: Option<String>,
    listeners: Arc<[Listener]>,
    advertised_listeners: Arc<[Listener]>,
    admin_listen: Option<String>,
    cores: Vec<usize>,
    log_dir: PathBuf,
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig::from_static(Settings::new())
            .expect("the defaults in the table are valid, as a test shows")
    }
}

impl BrokerConfig {
    /// Checks what was set at start and builds the first snapshot.
    ///
    /// # Errors
    /// The first mistake.
    pub fn from_static(settings: Settings) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::check_static(settings).map_err(|mut mistakes| mistakes.swap_remove(0))
    }

    /// The same, but all mistakes at once; never an empty list.
    ///
    /// # Errors
    /// All mistakes.
    pub fn check_static(mut settings: Settings) -> Result<BrokerConfig, Vec<ConfigError>> {
        let parse = |(key, text): (&String, &String)| {
            Definitions::require(Scope::Broker, key).and_then(|row| value::parse(row, text)).err()
        };
        let mut mistakes: Vec<ConfigError> = settings.iter().filter_map(parse).collect();
        if mistakes.is_empty() {
            mistakes.extend(adopt_old_names(&mut settings).err());
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        BrokerConfig::build(Layers { fixed: Arc::new(settings), ..Layers::default() })
    }

    /// The snapshot with defaults that depend on the machine.
    ///
    /// # Errors
    /// One of them is not a value of its setting.
    pub fn with_computed(self, computed: Settings) -> Result<BrokerConfig, ConfigError> {
        for (key, text) in &computed {
            value::parse(Definitions::require(Scope::Broker, key)?, text)?;
        }
        let built = BrokerConfig::build(Layers { computed: Arc::new(computed), ..self.layers });
        built.map_err(|mut mistakes| mistakes.swap_remove(0))
    }

    /// Whether a setting was given at start.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        self.layers.fixed.contains_key(key)
    }

    /// Settings that were given at start and do not count, since clients have set them otherwise: the name, the value that
    /// counts, the value given.
    #[must_use]
    pub fn overridden(&self) -> Vec<[&str; 3]> {
        let Layers { fixed, dynamic_default, dynamic_broker, .. } = &self.layers;
        let dynamic = |name| dynamic_broker.get(name).or_else(|| dynamic_default.get(name));
        let both = fixed.iter().filter_map(|(name, given)| Some((name, dynamic(name)?, given)));
        both.filter(|(_, counts, given)| counts != given).map(|(a, b, c)| [a.as_str(), b, c]).collect()
    }

    /// The snapshot with other dynamic settings: those for all brokers and those for this one. `None` when nothing
    /// changes. Settings that this version does not accept (a newer one may have stored them) are left out with a warning.
    #[must_use]
    pub fn with_dynamic(
        current: &BrokerConfig,
        all_brokers: &BTreeMap<String, String>,
        this_broker: &BTreeMap<String, String>,
    ) -> Option<BrokerConfig> {
        let layers = Layers {
            fixed: Arc::clone(&current.layers.fixed),
            computed: Arc::clone(&current.layers.computed),
            dynamic_default: usable(all_brokers, |mode| mode == UpdateMode::ClusterWide),
            dynamic_broker: usable(this_broker, |mode| mode != UpdateMode::ReadOnly),
        };
        if layers == current.layers {
            return None;
        }
        match BrokerConfig::build(layers) {
            Ok(config) => Some(config),
            Err(mistakes) => {
                let error = &mistakes[0];
                tracing::warn!(%error, "the dynamic broker settings do not fit together and are not applied");
                None
            }
        }
    }

    fn build(layers: Layers) -> Result<BrokerConfig, Vec<ConfigError>> {
        let reader = Reader { layers: &layers };
        let typed = Typed::read(&reader);
        let rack = reader.optional_text("broker.rack").filter(|rack| !rack.is_empty());
        let mut mistakes = Vec::new();
        let listeners = kept(listeners::open(&reader), &mut mistakes);
        let advertised_listeners = kept(listeners::advertised(&reader, &listeners), &mut mistakes);
        let admin_listen = reader.optional_text("millrace.admin.listen").filter(|text| !text.is_empty());
        let cores = reader.cores("millrace.cores");
        let log_dir = kept(single_directory(&reader), &mut mistakes);
        if typed.group_session_timeout_min > typed.group_session_timeout_max {
            let message = "group.min.session.timeout.ms must not be above group.max.session.timeout.ms";
            mistakes.push(ConfigError::new(ConfigErrorKind::InvalidValue, message));
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(BrokerConfig {
            typed,
            rack,
            listeners: listeners.into(),
            advertised_listeners: advertised_listeners.into(),
            admin_listen,
            cores,
            log_dir,
            layers,
        })
    }

    /// `broker.rack`.
    #[must_use]
    pub fn rack(&self) -> Option<&str> {
        self.rack.as_deref()
    }

    /// `listeners`, without those of a Kafka controller. Never empty.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// `advertised.listeners`.
    #[must_use]
    pub fn advertised_listeners(&self) -> &[Listener] {
        &self.advertised_listeners
    }

    /// What clients of a listener are told to connect to; `None` is the address that they have connected to.
    #[must_use]
    pub fn advertised_for(&self, listener: &str) -> Option<&Listener> {
        self.advertised_listeners.iter().find(|told| told.name == listener)
    }

    /// `millrace.admin.listen`; `None` is off.
    #[must_use]
    pub fn admin_listen(&self) -> Option<&str> {
        self.admin_listen.as_deref()
    }

    /// `millrace.cores`; empty means all that the process may run on.
    #[must_use]
    pub fn cores(&self) -> &[usize] {
        &self.cores
    }

    /// The data directory.
    #[must_use]
    pub fn log_dir(&self) -> &std::path::Path {
        &self.log_dir
    }

    /// What to tell the operator once, at start: settings that were given but have no effect.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let without_effect: Vec<&str> = self
            .layers
            .fixed
            .keys()
            .filter(|key| {
                let row = Definitions::find(Scope::Broker, key);
                row.is_some_and(|row| matches!(row.effect, Effect::Stored(_)))
            })
            .map(String::as_str)
            .collect();
        if without_effect.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "accepted without effect (`millrace config KEY` says why): {}",
            without_effect.join(", ")
        )]
    }
}

/// The value, or nothing and one more mistake.
fn kept<T: Default>(checked: Result<T, ConfigError>, mistakes: &mut Vec<ConfigError>) -> T {
    checked.unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        T::default()
    })
}

/// `broker.id` stands for `node.id` where only the old name is set.
fn adopt_old_names(settings: &mut Settings) -> Result<(), ConfigError> {
    let Some(old) = settings.get("broker.id").cloned().filter(|id| id.trim() != "-1") else {
        return Ok(());
    };
    let new = settings.entry("node.id".to_owned()).or_insert_with(|| old.clone());
    if *new != old {
        let message = format!("node.id is {new} but broker.id is {old}; set only node.id");
        return Err(ConfigError::new(ConfigErrorKind::InvalidValue, message));
    }
    value::parse(Definitions::require(Scope::Broker, "node.id")?, new).map(|_| ())
}

fn usable(settings: &BTreeMap<String, String>, allowed: impl Fn(UpdateMode) -> bool) -> Settings {
    let mut usable = Settings::new();
    for (key, text) in settings {
        let parsed = Definitions::require(Scope::Broker, key).and_then(|row| {
            value::parse(row, text)?;
            Ok(row)
        });
        match parsed {
            Ok(row) if allowed(row.mode) => {
                usable.insert(key.clone(), text.clone());
            }
            Ok(_) => {
                tracing::warn!(%key, "a stored dynamic setting can be set at start only and is left out")
            }
            Err(error) => tracing::warn!(%error, "a stored dynamic setting is left out"),
        }
    }
    usable
}

fn single_directory(reader: &Reader<'_>) -> Result<PathBuf, ConfigError> {
    let directories = reader.list("log.dirs");
    match directories.as_slice() {
        [only] if !only.is_empty() => Ok(PathBuf::from(only)),
        _ => {
            Err(ConfigError::invalid_value("log.dirs", &directories.join(","), "Name exactly one directory"))
        }
    }
}

#[cfg(test)]
#[path = "broker_config_test.rs"]
mod broker_config_test;
