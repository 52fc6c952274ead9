//! Settings. Each is declared once, in the table behind [`Definitions`]; parsing, validation, inheritance,
//! DescribeConfigs, IncrementalAlterConfigs and the reference page docs/CONFIG.md are computed from it.
//!
//! [`BrokerConfig`] and [`TopicConfig`] are immutable snapshots of typed values. Whoever changes a setting
//! builds a new snapshot and publishes it; nothing here has state of its own.

mod alter;
mod broker_config;
mod broker_definitions;
mod cores;
mod definition;
mod definitions;
mod describe;
mod effective;
mod error;
mod layers;
mod listener;
mod listeners;
mod log_config;
pub mod memory_plan;
mod nearest;
mod properties;
mod read;
mod reference;
mod sources;
mod stored_broker_definitions;
mod topic_config;
mod topic_definitions;
mod units;
mod value;

pub use alter::{AlterOp, Alteration, BrokerScope, alter_broker, alter_topic};
pub use broker_config::BrokerConfig;
pub use cores::parse as parse_cores;
pub use definition::{Definition, Effect, Importance, Reason, Rule, Scope, Synonym, UpdateMode, ValueType};
pub use definitions::Definitions;
pub use describe::{ConfigEntry, ConfigSynonym, describe_broker, describe_broker_defaults, describe_topic};
pub use effective::{EffectiveSetting, effective_settings};
pub use error::{ConfigError, ConfigErrorKind};
pub use layers::{ConfigSource, Settings};
pub use listener::Listener;
pub(crate) use listeners::protocol as listener_protocol;
pub use properties::{Property, parse_properties};
pub use reference::{explain, reference_page};
pub use sources::StaticSettings;
pub use topic_config::{TopicConfig, validate_topic_config, validate_topic_configs};

#[cfg(test)]
mod config_test;
