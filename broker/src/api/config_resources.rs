//! The resources that DescribeConfigs, IncrementalAlterConfigs and AlterConfigs name.

use model::NodeId;
use net::protocol::ErrorCode;

use crate::metadata::{ControllerError, validate_topic_name};

/// Kafka's `ConfigResource.Type`.
pub(super) const TYPE_TOPIC: i8 = 2;
/// See [`TYPE_TOPIC`].
pub(super) const TYPE_BROKER: i8 = 4;

/// See [`TYPE_TOPIC`].
const TYPE_BROKER_LOGGER: i8 = 8;
/// See [`TYPE_TOPIC`].
const TYPE_CLIENT_METRICS: i8 = 16;
/// See [`TYPE_TOPIC`].
const TYPE_GROUP: i8 = 32;

/// A resource that may have configs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    /// A topic, by name.
    Topic(String),
    /// This broker.
    ThisBroker,
    /// The defaults of all brokers.
    AllBrokers,
    /// The levels of this broker's log.
    Loggers,
    /// Something that has configs in Kafka and none here yet: a subscription to clients' metrics, a group.
    Unconfigured,
}

/// Finds out what a request means.
///
/// # Errors
/// There is no such resource.
pub(super) fn resource(kind: i8, name: &str, node: NodeId) -> Result<Resource, ControllerError> {
    match (kind, name) {
        (TYPE_TOPIC, name) => match validate_topic_name(name) {
            Ok(()) => Ok(Resource::Topic(name.to_owned())),
            Err(message) => Err(ControllerError::new(ErrorCode::InvalidTopicException, message)),
        },
        (TYPE_BROKER, "") => Ok(Resource::AllBrokers),
        (TYPE_BROKER, name) if name.parse() == Ok(node.0) => Ok(Resource::ThisBroker),
        (TYPE_BROKER, name) => Err(ControllerError::new(
            ErrorCode::InvalidRequest,
            format!("Unexpected broker id, expected {node} or empty string, but received {name}"),
        )),
        (TYPE_BROKER_LOGGER, name) => logger_resource(name, node),
        (TYPE_CLIENT_METRICS | TYPE_GROUP, name) if !name.is_empty() => Ok(Resource::Unconfigured),
        (TYPE_CLIENT_METRICS | TYPE_GROUP, name) => Err(ControllerError::new(
            ErrorCode::InvalidRequest,
            format!("There is no resource of type {kind} with the name '{name}'."),
        )),
        _ => Err(ControllerError::new(ErrorCode::InvalidRequest, format!("Unknown resource type {kind}"))),
    }
}

fn logger_resource(name: &str, node: NodeId) -> Result<Resource, ControllerError> {
    let message = match name.parse::<i32>() {
        Ok(id) if id == node.0 => return Ok(Resource::Loggers),
        Ok(id) => format!("Unexpected node id. Expected {node}, but received {id}"),
        Err(_) => format!("Node id must be an integer, but it is: {name}"),
    };
    Err(ControllerError::new(ErrorCode::InvalidRequest, message))
}
