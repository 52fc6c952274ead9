//! How IncrementalAlterConfigs and AlterConfigs change the settings of a resource.

use std::rc::Rc;

use net::protocol::ErrorCode;
use runtime::Effects;

use super::config_resources::{Resource, TYPE_TOPIC, resource};
use super::loggers;
use crate::api::services::ShardServices;
use crate::metadata::ControllerError;
use crate::metadata::decide::{AlterBrokerConfigs, AlterTopicConfigs, Command, ConfigChange};

/// Changes the settings of one resource, which the request names `times` times.
///
/// # Errors
/// What is wrong with the resource or the values.
pub(super) async fn alter<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    (kind, name): (i8, &str),
    times: usize,
    change: ConfigChange,
    validate_only: bool,
) -> Result<(), ControllerError> {
    let invalid = |message: &str| Err(ControllerError::new(ErrorCode::InvalidRequest, message));
    if times > 1 {
        return invalid("Each resource must appear at most once.");
    }
    let node = shard.identity.node_id;
    let of = match (kind, name) {
        (TYPE_TOPIC, "") => return invalid("Default topic resources are not allowed."),
        _ => match resource(kind, name, node)? {
            Resource::Topic(name) => return alter_topic_configs(shard, name, change, validate_only).await,
            Resource::ThisBroker => Some(node),
            Resource::AllBrokers => None,
            Resource::Loggers => {
                return match change {
                    ConfigChange::Incremental(changes) => {
                        loggers::alter(&shard.loggers, &changes, validate_only)
                    }
                    ConfigChange::Replace(_) => invalid(&format!("Unknown resource type {kind}")),
                };
            }
            Resource::Unconfigured => {
                return invalid("Only topics and brokers have configs that can be changed here yet.");
            }
        },
    };
    let command = AlterBrokerConfigs { node: of, change };
    change_metadata(shard, command, validate_only).await
}

async fn alter_topic_configs<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    name: String,
    change: ConfigChange,
    validate_only: bool,
) -> Result<(), ControllerError> {
    let command = AlterTopicConfigs { name, change };
    change_metadata(shard, command, validate_only).await
}

async fn change_metadata<E: Effects, C: Command<Outcome = ()> + Send + 'static>(
    shard: &Rc<ShardServices<E>>,
    command: C,
    validate_only: bool,
) -> Result<(), ControllerError> {
    shard
        .call_controller(move |shard, controller| async move {
            controller.change(&shard, command, validate_only, None).await
        })
        .await
}
