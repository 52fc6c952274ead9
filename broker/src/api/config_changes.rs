//! How IncrementalAlterConfigs and AlterConfigs change the settings of a resource.

use std::collections::BTreeMap;
use std::rc::Rc;

use net::protocol::ErrorCode;
use runtime::Effects;

use super::config_resources::{Resource, TYPE_TOPIC, refused, resource};
use super::loggers;
use crate::config::{Alteration, BrokerScope, ConfigError, Scope, Settings, alter_broker, alter_topic};
use crate::metadata::ControllerError;
use crate::node::shard::Shard;

/// How a resource's own settings change.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// One by one.
    Incremental(Vec<Alteration>),
    /// All at once: what is not named goes back to its default (AlterConfigs).
    Replace(Vec<Alteration>),
}

impl Change {
    fn apply(
        &self,
        current: &Settings,
        alter: impl FnOnce(&Settings, &[Alteration]) -> Result<Settings, ConfigError>,
    ) -> Result<Settings, ConfigError> {
        match self {
            Self::Incremental(changes) => alter(current, changes),
            Self::Replace(changes) => alter(&BTreeMap::new(), changes),
        }
    }
}

/// Changes the settings of one resource, which the request names `times` times.
///
/// # Errors
/// What is wrong with the resource or the values.
pub(super) async fn alter<E: Effects>(
    shard: &Rc<Shard<E>>,
    (kind, name): (i8, &str),
    times: usize,
    change: Change,
    validate_only: bool,
) -> Result<(), ControllerError> {
    let invalid = |message: &str| Err(ControllerError::new(ErrorCode::InvalidRequest, message));
    if times > 1 {
        return invalid("Each resource must appear at most once.");
    }
    let node = shard.identity.node_id;
    let (scope, of) = match (kind, name) {
        (TYPE_TOPIC, "") => return invalid("Default topic resources are not allowed."),
        _ => match resource(kind, name, node)? {
            Resource::Topic(name) => return alter_topic_configs(shard, name, change, validate_only).await,
            Resource::ThisBroker => (BrokerScope::ThisBroker, Some(node)),
            Resource::AllBrokers => (BrokerScope::AllBrokers, None),
            Resource::Loggers => {
                return match change {
                    Change::Incremental(changes) => {
                        loggers::alter(&shard.identity.loggers, &changes, validate_only)
                    }
                    Change::Replace(_) => invalid(&format!("Unknown resource type {kind}")),
                };
            }
            Resource::Unconfigured => {
                return invalid("Only topics and brokers have configs that can be changed here yet.");
            }
        },
    };
    shard
        .call_controller(move |shard, controller| async move {
            let config = shard.config();
            let alter = |current: &Settings| {
                let altered =
                    change.apply(current, |current, changes| alter_broker(&config, scope, current, changes));
                altered.map_err(|error| refused(Scope::Broker, &error))
            };
            controller.alter_broker_configs(&shard, of, alter, validate_only).await
        })
        .await
}

async fn alter_topic_configs<E: Effects>(
    shard: &Rc<Shard<E>>,
    name: String,
    change: Change,
    validate_only: bool,
) -> Result<(), ControllerError> {
    shard
        .call_controller(move |shard, controller| async move {
            let config = shard.config();
            let alter = |current: &Settings| {
                let altered =
                    change.apply(current, |current, changes| alter_topic(&config, current, changes));
                altered.map_err(|error| refused(Scope::Topic, &error))
            };
            controller.alter_topic_configs(&shard, &name, alter, validate_only).await
        })
        .await
}
