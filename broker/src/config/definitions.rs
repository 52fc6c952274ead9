//! The table of all settings and how to find a row.

use super::broker_definitions::BROKER;
use super::definition::{Definition, Scope};
use super::error::{ConfigError, ConfigErrorKind};
use super::nearest::nearest;
use super::stored_broker_definitions::STORED_BROKER;
use super::topic_definitions::TOPIC;

/// Access to the table. Every setting is declared in it once.
#[derive(Debug, Clone, Copy)]
pub struct Definitions;

/// Beginnings of keys that configure encryption, authentication or authorization. None of it is there yet, and a
/// broker that started without what its file asks for would be open without anybody noticing.
const SECURITY_PREFIXES: &[&str] = &[
    "authorizer.",
    "connection.failed.authentication.",
    "connections.max.reauth.ms",
    "delegation.token.",
    "listener.name.",
    "password.encoder.",
    "principal.builder.class",
    "sasl.",
    "security.providers",
    "ssl.",
    "super.users",
];

impl Definitions {
    /// Every topic setting, by name.
    pub fn topic() -> impl Iterator<Item = &'static Definition> {
        TOPIC.iter()
    }

    /// Every broker setting; those in effect first, each part by name.
    pub fn broker() -> impl Iterator<Item = &'static Definition> {
        BROKER.iter().chain(STORED_BROKER)
    }

    /// Every setting of this scope.
    pub fn of(scope: Scope) -> Box<dyn Iterator<Item = &'static Definition>> {
        match scope {
            Scope::Topic => Box::new(Definitions::topic()),
            Scope::Broker => Box::new(Definitions::broker()),
        }
    }

    /// The row of a key, if there is one.
    pub fn find(scope: Scope, name: &str) -> Option<&'static Definition> {
        let parts: [&'static [Definition]; 2] = match scope {
            Scope::Topic => [TOPIC, &[]],
            Scope::Broker => [BROKER, STORED_BROKER],
        };
        parts.into_iter().find_map(|rows| {
            let index = rows.binary_search_by(|row| row.name.cmp(name)).ok()?;
            rows.get(index)
        })
    }

    /// The row of a key that a person or client named, or an error that suggests the nearest known key.
    pub fn require(scope: Scope, name: &str) -> Result<&'static Definition, ConfigError> {
        if let Some(definition) = Definitions::find(scope, name) {
            return Ok(definition);
        }
        if scope == Scope::Broker {
            refuse_security(name)?;
        }
        let what = match scope {
            Scope::Topic => "topic config",
            Scope::Broker => "broker config",
        };
        Err(unknown(what, name, Definitions::of(scope)))
    }

    /// The rows of a key that may be set on topics, on the broker or on both, or an error that suggests the nearest
    /// known key.
    pub fn require_anywhere(name: &str) -> Result<Vec<&'static Definition>, ConfigError> {
        let found =
            [Scope::Topic, Scope::Broker].into_iter().filter_map(|scope| Definitions::find(scope, name));
        let rows: Vec<_> = found.collect();
        if rows.is_empty() {
            refuse_security(name)?;
            return Err(unknown("config", name, Definitions::topic().chain(Definitions::broker())));
        }
        Ok(rows)
    }
}

fn refuse_security(name: &str) -> Result<(), ConfigError> {
    if !SECURITY_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Ok(());
    }
    let message = format!(
        "{name} cannot be set: there is no encryption, authentication or authorization yet, and the broker does not \
         start as if there were"
    );
    Err(ConfigError::new(ConfigErrorKind::UnknownKey, message))
}

fn unknown(what: &str, name: &str, rows: impl Iterator<Item = &'static Definition>) -> ConfigError {
    let mut message = format!("Unknown {what} name: {name}");
    if let Some(known) = nearest(name, rows.map(|row| row.name)) {
        message.push_str(&format!(" (did you mean {known}?)"));
    }
    ConfigError::new(ConfigErrorKind::UnknownKey, message)
}
