//! The rules that a topic has for each record: keys where it is compacted, timestamps within bounds. A batch is judged by
//! what one walk noted of all its records; which of them break a rule is only found out when some do.

use model::TimestampType;

use super::walk::Visit;
use crate::LogConfig;

/// What the records of a batch have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The largest timestamp; -1 if none is larger.
    pub(crate) largest: i64,
    /// The smallest timestamp of those that are not -1.
    pub(crate) smallest: Option<i64>,
    /// A record has no key.
    pub(crate) null_key: bool,
}

impl Facts {
    pub(crate) const NOTHING: Self = Self { largest: -1, smallest: None, null_key: false };

    /// What the header alone says.
    pub(crate) fn of_header(base_timestamp: i64, max_timestamp: i64) -> Self {
        let mut facts = Self::NOTHING;
        facts.note_time(base_timestamp);
        facts.note_time(max_timestamp);
        facts
    }

    fn note_time(&mut self, timestamp: i64) {
        if timestamp != NO_TIMESTAMP {
            self.largest = self.largest.max(timestamp);
            self.smallest = Some(self.smallest.map_or(timestamp, |smallest| smallest.min(timestamp)));
        }
    }
}

impl Visit for Facts {
    fn record(&mut self, _offset_delta: i32, timestamp: i64, has_key: bool) {
        self.note_time(timestamp);
        self.null_key |= !has_key;
    }
}

/// The rules of a topic at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRules {
    /// Every record has a key: the topic is compacted.
    keyed: bool,
    /// The oldest and the newest timestamp, where those of producers count.
    bounds: Option<(i64, i64)>,
}

impl RecordRules {
    pub(crate) fn new(config: &LogConfig, now_ms: i64) -> Self {
        let oldest = now_ms.saturating_sub(config.timestamp_before_max_ms);
        let newest = now_ms.saturating_add(config.timestamp_after_max_ms);
        let create_time = config.timestamp_type == TimestampType::CreateTime;
        Self { keyed: config.compact, bounds: create_time.then_some((oldest, newest)) }
    }

    /// Whether no record breaks a rule.
    pub(crate) fn allow(&self, facts: &Facts, timestamp_type: TimestampType) -> bool {
        let keys = !(self.keyed && facts.null_key);
        let times = match self.bounds {
            Some((oldest, newest)) => {
                facts.smallest.is_none_or(|smallest| smallest >= oldest && facts.largest <= newest)
            }
            // Where the producers' times do not count, Kafka still minds their claim that these are the broker's.
            None => timestamp_type == TimestampType::CreateTime,
        };
        keys && times
    }

    /// The rule that a record breaks.
    fn broken(&self, timestamp: i64, has_key: bool, timestamp_type: TimestampType) -> Option<BrokenRule> {
        if self.keyed && !has_key {
            return Some(BrokenRule::NoKey);
        }
        match self.bounds {
            Some((oldest, newest))
                if timestamp != NO_TIMESTAMP && !(oldest..=newest).contains(&timestamp) =>
            {
                Some(BrokenRule::Time { timestamp, oldest, newest })
            }
            None if timestamp_type == TimestampType::LogAppendTime => Some(BrokenRule::TimestampType),
            _ => None,
        }
    }
}

/// A rule that a record breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenRule {
    /// It needs a key.
    #[error("a compacted topic cannot accept a record without a key")]
    NoKey,
    /// Its timestamp is out of bounds.
    #[error("timestamp {timestamp} is out of range: it should be within [{oldest}, {newest}]")]
    Time {
        /// The record's.
        timestamp: i64,
        /// The smallest allowed.
        oldest: i64,
        /// The largest allowed.
        newest: i64,
    },
    /// Its timestamp pretends to be the broker's.
    #[error("producers must not set the timestamp type to LogAppendTime")]
    TimestampType,
}

/// The records of a batch that break a rule, the first [`OFFENDERS_MAX`] of them, with their index in the batch.
#[derive(Debug, Clone)]
pub(crate) struct Offenders {
    rules: RecordRules,
    timestamp_type: TimestampType,
    pub(crate) found: Vec<(i32, BrokenRule)>,
}

impl Offenders {
    pub(crate) const fn new(rules: RecordRules, timestamp_type: TimestampType) -> Self {
        Self { rules, timestamp_type, found: Vec::new() }
    }
}

impl Visit for Offenders {
    fn record(&mut self, offset_delta: i32, timestamp: i64, has_key: bool) {
        if self.found.len() < OFFENDERS_MAX
            && let Some(rule) = self.rules.broken(timestamp, has_key, self.timestamp_type)
        {
            self.found.push((offset_delta, rule));
        }
    }
}

/// What a record has as its timestamp that has none.
const NO_TIMESTAMP: i64 = -1;

/// Kafka names every record; beyond so many nobody reads on.
const OFFENDERS_MAX: usize = 100;
