//! IncrementalAlterConfigs: turns a list of changes into the new own settings of a topic or broker.

use std::collections::{BTreeMap, BTreeSet};

use super::broker_config::BrokerConfig;
use super::definition::{Definition, Scope, UpdateMode, ValueType};
use super::definitions::Definitions;
use super::error::{ConfigError, ConfigErrorKind};
use super::layers::{Layers, Settings};
use super::topic_config::check_together;
use super::value;

/// What to do with a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterOp {
    /// Give it this value.
    Set,
    /// Give it up, so that it is inherited again.
    Delete,
    /// Add these items to a list.
    Append,
    /// Take these items out of a list.
    Subtract,
}

impl AlterOp {
    /// The operation with this number in an IncrementalAlterConfigs request.
    pub fn from_wire(id: i8) -> Option<AlterOp> {
        match id {
            0 => Some(AlterOp::Set),
            1 => Some(AlterOp::Delete),
            2 => Some(AlterOp::Append),
            3 => Some(AlterOp::Subtract),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            AlterOp::Set => "SET",
            AlterOp::Delete => "DELETE",
            AlterOp::Append => "APPEND",
            AlterOp::Subtract => "SUBTRACT",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alteration {
    /// The key.
    pub name: String,
    /// What to do.
    pub op: AlterOp,
    /// The value; only DELETE goes without.
    pub value: Option<String>,
}

/// Which broker a dynamic setting is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerScope {
    /// One broker.
    ThisBroker,
    /// All brokers that do not set it themselves.
    AllBrokers,
}

/// The own settings of a topic after these changes; all or nothing.
pub fn alter_topic(
    broker: &BrokerConfig,
    current: &BTreeMap<String, String>,
    changes: &[Alteration],
) -> Result<BTreeMap<String, String>, ConfigError> {
    let altered = apply(Scope::Topic, &broker.layers, current, changes)?;
    // The changed values have been checked one by one. Those that stay are not checked again: one that a newer version
    // stored must not stand in the way of other changes.
    check_together(&altered)?;
    Ok(altered)
}

/// The dynamic settings of this broker, or of all brokers, after these changes; all or nothing.
pub fn alter_broker(
    broker: &BrokerConfig,
    scope: BrokerScope,
    current: &BTreeMap<String, String>,
    changes: &[Alteration],
) -> Result<BTreeMap<String, String>, ConfigError> {
    for change in changes {
        let definition = match Definitions::find(Scope::Broker, &change.name) {
            None if change.op == AlterOp::Delete => continue,
            _ => Definitions::require(Scope::Broker, &change.name)?,
        };
        let refuse = |why: &str| {
            let message = format!("Cannot update {} dynamically: {why}", change.name);
            Err(ConfigError::new(ConfigErrorKind::ReadOnly, message))
        };
        match (definition.mode, scope) {
            (UpdateMode::ReadOnly, _) => return refuse("it is set at start (--set, --config)"),
            (UpdateMode::PerBroker, BrokerScope::AllBrokers) => {
                return refuse("it is set for each broker by itself");
            }
            _ => {}
        }
    }
    apply(Scope::Broker, &broker.layers, current, changes)
}

fn apply(
    scope: Scope,
    layers: &Layers,
    current: &BTreeMap<String, String>,
    changes: &[Alteration],
) -> Result<Settings, ConfigError> {
    let mut altered = current.clone();
    let mut seen = BTreeSet::new();
    for change in changes {
        if !seen.insert(change.name.as_str()) {
            let message = format!("Error due to duplicate config keys: {}", change.name);
            return Err(ConfigError::new(ConfigErrorKind::InvalidRequest, message));
        }
        if change.op == AlterOp::Delete {
            // Also for unknown keys: what a newer version stored must be removable.
            altered.remove(&change.name);
            continue;
        }
        let definition = Definitions::require(scope, &change.name)?;
        let Some(text) = &change.value else {
            let message = format!("Null value not supported for {}: {}", change.op.name(), change.name);
            return Err(ConfigError::new(ConfigErrorKind::InvalidRequest, message));
        };
        let text = match change.op {
            AlterOp::Append | AlterOp::Subtract => {
                let before = altered.get(definition.name).cloned();
                let inherited = || layers.effective(definition).map(|found| found.text.to_owned());
                edit_list(definition, change.op, before.or_else(inherited), text)?
            }
            AlterOp::Set | AlterOp::Delete => text.clone(),
        };
        value::parse(definition, &text)?;
        altered.insert(definition.name.to_owned(), text);
    }
    Ok(altered)
}

fn edit_list(
    definition: &Definition,
    op: AlterOp,
    before: Option<String>,
    text: &str,
) -> Result<String, ConfigError> {
    if definition.value_type != ValueType::List {
        let message = format!("Can't {} to key {} because its type is not LIST.", op.name(), definition.name);
        return Err(ConfigError::new(ConfigErrorKind::InvalidValue, message));
    }
    let mut items = value::list(before.as_deref().or(definition.default).unwrap_or_default());
    for item in value::list(text) {
        match op {
            AlterOp::Subtract => items.retain(|known| *known != item),
            _ if items.contains(&item) => {}
            _ => items.push(item),
        }
    }
    Ok(items.join(","))
}

#[cfg(test)]
#[path = "alter_test.rs"]
mod alter_test;
