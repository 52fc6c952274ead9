//! What DescribeConfigs says about a topic or the broker.

use std::collections::BTreeMap;

use super::broker_config::BrokerConfig;
use super::definition::{Definition, UpdateMode, ValueType};
use super::definitions::Definitions;
use super::layers::{ConfigSource, Found};

/// One setting as DescribeConfigs reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: &'static str,
    /// The value in effect; `None` is null, or a secret.
    pub value: Option<String>,
    /// Whether it can be set at start only.
    pub read_only: bool,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it is a secret.
    pub sensitive: bool,
    /// Every place that sets it, the one in effect first.
    pub synonyms: Vec<ConfigSynonym>,
    /// The type of the value.
    pub value_type: ValueType,
    /// What it does.
    pub documentation: String,
}

/// One place that sets a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The key used there.
    pub name: &'static str,
    /// The value there; `None` for a secret.
    pub value: Option<String>,
    /// The layer.
    pub source: ConfigSource,
}

/// The settings of a topic; all of them, or those named in `keys`. Unknown names are left out, as in Kafka.
#[must_use]
pub fn describe_topic(
    broker: &BrokerConfig,
    overrides: &BTreeMap<String, String>,
    keys: Option<&[&str]>,
) -> Vec<ConfigEntry> {
    let describe = |definition: &'static Definition| {
        let own = overrides.get(definition.name).map(|text| Found {
            name: definition.name,
            text,
            factor: 1,
            source: ConfigSource::DynamicTopic,
        });
        let found = own.into_iter().chain(broker.layers.all(definition)).collect();
        entry(definition, found, false)
    };
    Definitions::topic().filter(|row| wanted(row, keys)).map(describe).collect()
}

/// The settings of this broker; all of them, or those named in `keys`.
#[must_use]
pub fn describe_broker(broker: &BrokerConfig, keys: Option<&[&str]>) -> Vec<ConfigEntry> {
    let describe = |definition: &'static Definition| {
        let found = broker.layers.all(definition);
        // A broker key shows its own value. That a coarser key stands in for it is told by the synonyms.
        let has_own = found.iter().any(|place| place.name == definition.name);
        let mut described = entry(definition, found, definition.mode == UpdateMode::ReadOnly);
        if !has_own {
            described.value = None;
            described.source = ConfigSource::Default;
        }
        if definition.name == "broker.id" {
            // Tools look for the node's number under its old name.
            described.value = Some(broker.node_id().to_string());
        }
        described
    };
    Definitions::broker().filter(|row| wanted(row, keys)).map(describe).collect()
}

/// The settings that were set dynamically for all brokers (the resource with the empty name).
#[must_use]
pub fn describe_broker_defaults(
    dynamic_default: &BTreeMap<String, String>,
    keys: Option<&[&str]>,
) -> Vec<ConfigEntry> {
    let describe = |definition: &'static Definition| {
        let text = dynamic_default.get(definition.name)?;
        let source = ConfigSource::DynamicDefaultBroker;
        let found = vec![Found { name: definition.name, text, factor: 1, source }];
        Some(entry(definition, found, definition.mode == UpdateMode::ReadOnly))
    };
    Definitions::broker().filter(|row| wanted(row, keys)).filter_map(describe).collect()
}

fn wanted(definition: &Definition, keys: Option<&[&str]>) -> bool {
    keys.is_none_or(|keys| keys.is_empty() || keys.contains(&definition.name))
}

fn entry(definition: &'static Definition, found: Vec<Found<'_>>, read_only: bool) -> ConfigEntry {
    let show = |place: &Found<'_>| (!definition.sensitive).then(|| place.text.to_owned());
    let first = found.first();
    // Inherited hours are shown in the unit of the key that is described.
    let value = match first {
        Some(place) if place.factor != 1 => Some(super::read::integer(place).to_string()),
        Some(place) => Some(place.text.to_owned()),
        None => definition.default.map(str::to_owned),
    };
    ConfigEntry {
        name: definition.name,
        value: value.filter(|_| !definition.sensitive),
        read_only,
        source: first.map_or(ConfigSource::Default, |place| place.source),
        sensitive: definition.sensitive,
        synonyms: found
            .iter()
            .map(|place| ConfigSynonym { name: place.name, value: show(place), source: place.source })
            .collect(),
        value_type: definition.value_type,
        documentation: definition.documentation(),
    }
}
