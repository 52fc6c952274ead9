//! Why a setting was refused, in words for the person (or client) who set it.

use std::fmt;

/// What kind of mistake it was; the Kafka error code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigErrorKind {
    /// The key is not in the table.
    UnknownKey,
    /// The value does not parse or lies outside its bounds.
    InvalidValue,
    /// The operation does not fit the key, such as APPEND to a number or the same key twice.
    InvalidRequest,
    /// The key can be set at start only.
    ReadOnly,
    /// A configuration file cannot be read or parsed.
    File,
}

/// A refused setting. The message names the key, the value and what is allowed instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    kind: ConfigErrorKind,
    message: String,
}

impl ConfigError {
    /// An error of this kind with a finished message.
    pub fn new(kind: ConfigErrorKind, message: impl Into<String>) -> ConfigError {
        ConfigError { kind, message: message.into() }
    }

    /// Kafka's wording for a bad value, which tools and people already know.
    pub fn invalid_value(key: &str, value: &str, allowed: impl fmt::Display) -> ConfigError {
        let message = format!("Invalid value {value} for configuration {key}: {allowed}");
        ConfigError::new(ConfigErrorKind::InvalidValue, message)
    }

    /// The kind of mistake.
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    /// The message for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same error with the place it came from (a file and line, a flag) in front.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> ConfigError {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}
