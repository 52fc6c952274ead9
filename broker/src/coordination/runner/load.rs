//! Builds a machine from its partition's log.

use std::fmt::Display;
use std::time::Duration;

use model::{Offset, RecordBatch, RecordIter};
use runtime::{Clock, Effects};
use storage::ReadError;

use super::coordinator_log::CoordinatorLog;
use super::coordinator_machine::CoordinatorMachine;

/// Why the records of a partition are not known.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was read makes no sense.
    #[error("the batch at offset {0} cannot be understood: {1}")]
    Record(Offset, String),
}

/// Loads the log, again and again while what is in the way passes. Gives up when nobody wants it any more; what has been
/// loaded then is of no use.
pub(super) async fn load<E: Effects, L: CoordinatorLog, M: CoordinatorMachine>(
    effects: &E,
    log: &L,
    config: &M::Config,
    is_wanted: impl Fn() -> bool,
) -> Result<M, LoadError> {
    loop {
        match load_once(log, config, &is_wanted).await {
            Err(LoadError::Read(error)) if error.is_passing() && is_wanted() => {
                let (partition, what) = (log.name(), M::COORDINATES);
                tracing::warn!(%partition, %error, "{what} cannot be loaded now, tried again soon");
                let clock = effects.clock();
                clock.sleep_until(clock.now() + LOAD_PAUSE).await;
            }
            loaded => return loaded,
        }
    }
}

/// Replays the log. All of it, or what was written last would be unknown.
async fn load_once<L: CoordinatorLog, M: CoordinatorMachine>(
    log: &L,
    config: &M::Config,
    is_wanted: &impl Fn() -> bool,
) -> Result<M, LoadError> {
    let mut machine = M::new(config.clone());
    let mut bad = None;
    let replayed = log.replay(|batch| {
        if bad.is_none() && is_wanted() {
            bad = replay(&mut machine, &batch).err();
        }
    });
    replayed.await?;
    bad.map_or(Ok(machine), Err)
}

fn replay<M: CoordinatorMachine>(machine: &mut M, batch: &RecordBatch<'_>) -> Result<(), LoadError> {
    if batch.is_control() {
        return Ok(());
    }
    let bad = |error: &dyn Display| LoadError::Record(batch.base_offset(), error.to_string());
    let bytes = storage::unpacked_records(batch).map_err(|error| bad(&error))?;
    let (count, base) = (batch.record_count(), batch.base_offset());
    for record in RecordIter::new(&bytes, count, base, batch.base_timestamp()) {
        let record = record.map_err(|error| bad(&error))?;
        machine.replay(record.key.unwrap_or_default(), record.value).map_err(|error| bad(&error))?;
    }
    Ok(())
}

/// How long a load waits that met something that passes.
const LOAD_PAUSE: Duration = Duration::from_millis(100);
