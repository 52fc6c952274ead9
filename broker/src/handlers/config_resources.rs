//! The resources that DescribeConfigs, IncrementalAlterConfigs and AlterConfigs name.

use model::NodeId;
use net::protocol::ErrorCode;

use crate::config::{ConfigError, ConfigErrorKind};
use crate::metadata::ControllerError;

/// Kafka's `ConfigResource.Type`.
pub(super) const TYPE_TOPIC: i8 = 2;
/// See [`TYPE_TOPIC`].
pub(super) const TYPE_BROKER: i8 = 4;

/// A resource that has configs here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    /// A topic, by name.
    Topic(String),
    /// This broker.
    ThisBroker,
    /// The defaults of all brokers.
    AllBrokers,
}

/// Finds out what a request means.
///
/// # Errors
/// A type or broker that has no configs here.
pub(super) fn resource(kind: i8, name: &str, node: NodeId) -> Result<Resource, ControllerError> {
    match (kind, name) {
        (TYPE_TOPIC, "") => {
            Err(ControllerError::new(ErrorCode::InvalidRequest, "The topic's name is empty."))
        }
        (TYPE_TOPIC, name) => Ok(Resource::Topic(name.to_owned())),
        (TYPE_BROKER, "") => Ok(Resource::AllBrokers),
        (TYPE_BROKER, name) if name.parse() == Ok(node.0) => Ok(Resource::ThisBroker),
        (TYPE_BROKER, name) => Err(ControllerError::new(
            ErrorCode::InvalidRequest,
            format!("Unexpected broker id, expected {node} or empty string, but received {name}"),
        )),
        (kind, _) => Err(ControllerError::new(
            ErrorCode::InvalidRequest,
            format!(
                "Resources of type {kind} have no configs on this broker; topics (2) and brokers (4) have."
            ),
        )),
    }
}

/// Kafka's code for a refused config, with the message that names the value.
#[must_use]
pub(super) fn refused(error: &ConfigError) -> ControllerError {
    let code = match error.kind() {
        ConfigErrorKind::InvalidRequest | ConfigErrorKind::ReadOnly => ErrorCode::InvalidRequest,
        _ => ErrorCode::InvalidConfig,
    };
    ControllerError::new(code, error.message())
}
