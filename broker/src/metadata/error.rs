//! Why a change of the metadata is refused.

use net::protocol::ErrorCode;

use crate::config::{ConfigError, ConfigErrorKind, Scope};

/// A refused change: Kafka's error and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ControllerError {
    /// Kafka's error.
    pub code: ErrorCode,
    /// What is wrong, naming the value; may be empty.
    pub message: String,
}

impl ControllerError {
    /// An error with its explanation.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The time that a client allowed is over.
    pub fn timed_out() -> Self {
        Self::new(ErrorCode::RequestTimedOut, "")
    }

    /// Kafka's code for a refused config, with the message that names the value.
    pub fn of_config(scope: Scope, error: &ConfigError) -> Self {
        let code = match error.kind() {
            _ if scope == Scope::Broker => ErrorCode::InvalidRequest,
            ConfigErrorKind::InvalidRequest | ConfigErrorKind::ReadOnly => ErrorCode::InvalidRequest,
            _ => ErrorCode::InvalidConfig,
        };
        Self::new(code, error.message())
    }

    /// What the client is told; Kafka has no message for some codes.
    pub fn into_message(self) -> Option<String> {
        Some(self.message).filter(|message| !message.is_empty())
    }
}
