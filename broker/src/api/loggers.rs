//! The levels of the log as the config APIs show and change them (KIP-412).

use net::protocol::ErrorCode;
use net::protocol::describe_configs::DescribeConfigsResourceResult;

use crate::config::{AlterOp, Alteration};
use crate::logging::{LoggerChange, LoggerError, Loggers};
use crate::metadata::ControllerError;

/// Kafka's number of the source that a logger's level comes from.
const SOURCE_LOGGER: i8 = 6;

/// What DescribeConfigs says of the loggers; of all, or those named in `keys`.
pub(super) fn describe(loggers: &Loggers, keys: Option<&[&str]>) -> Vec<DescribeConfigsResourceResult> {
    let wanted = |name: &str| keys.is_none_or(|keys| keys.is_empty() || keys.contains(&name));
    let levels = loggers.levels().into_iter().filter(|(name, _)| wanted(name));
    levels
        .map(|(name, level)| DescribeConfigsResourceResult {
            name,
            value: Some(level.to_owned()),
            config_source: SOURCE_LOGGER,
            ..DescribeConfigsResourceResult::default()
        })
        .collect()
}

/// Makes what IncrementalAlterConfigs asks for. Other changes than setting a level and taking it away make no sense.
pub(super) fn alter(
    loggers: &Loggers,
    changes: &[Alteration],
    validate_only: bool,
) -> Result<(), ControllerError> {
    let refuse = |message: String| Err(ControllerError::new(ErrorCode::InvalidRequest, message));
    let mut asked: Vec<LoggerChange> = Vec::with_capacity(changes.len());
    for change in changes {
        let level = match (change.op, &change.value) {
            (AlterOp::Append | AlterOp::Subtract, _) => {
                let op = change.op.name();
                return refuse(format!("{op} operation is not allowed for the BROKER_LOGGER resource"));
            }
            (AlterOp::Set, None) => return refuse(format!("Null value not supported for : {}", change.name)),
            (AlterOp::Set, Some(level)) => Some(level.clone()),
            (AlterOp::Delete, _) => None,
        };
        if asked.iter().any(|before| before.name == change.name) {
            return refuse("Error due to duplicate config keys".to_owned());
        }
        asked.push(LoggerChange { name: change.name.clone(), level });
    }
    loggers.change(&asked, validate_only).map_err(|error| match error {
        LoggerError::Invalid(message) => ControllerError::new(ErrorCode::InvalidConfig, message),
        LoggerError::Request(message) => ControllerError::new(ErrorCode::InvalidRequest, message),
    })?;
    if !validate_only {
        for LoggerChange { name, level } in asked {
            tracing::warn!(logger = name, level = level.as_deref().unwrap_or("unset"), "log level changed");
        }
    }
    Ok(())
}
