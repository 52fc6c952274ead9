//! The log that changes of the metadata are proposed to.
//!
//! It is the log of this broker alone: what is durable here is committed. Nobody above knows that; a quorum commits behind
//! the same calls.

use std::rc::Rc;

use anyhow::Context;
use model::{LeaderEpoch, Offset};
use net::protocol::ErrorCode;
use runtime::Effects;
use storage::AppendOrigin;

use crate::metadata::{ControllerError, ImageBuilder, MetadataImage, MetadataRecord, encode_batch};
use crate::replicas::Partition;

/// How far the metadata log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogProgress {
    /// The epoch of its leader.
    pub leader_epoch: LeaderEpoch,
    /// Everything below is committed.
    pub high_watermark: Offset,
    /// The offset of the next record.
    pub log_end: Offset,
}

/// The metadata log. Lives on shard 0.
pub struct MetadataLog<E: Effects> {
    partition: Rc<Partition<E>>,
}

impl<E: Effects> MetadataLog<E> {
    /// The log of a partition that this broker leads.
    #[must_use]
    pub fn new(partition: Rc<Partition<E>>) -> Self {
        Self { partition }
    }

    /// The image that all records make.
    ///
    /// # Errors
    /// A record that cannot be read, or a log that cannot.
    pub async fn replay(&self) -> anyhow::Result<MetadataImage> {
        let (mut builder, mut outcome) = (ImageBuilder::default(), Ok(()));
        let log = &self.partition.log;
        let apply = |batch: model::RecordBatch<'_>| {
            if !batch.is_control() && outcome.is_ok() {
                let at = || format!("metadata log at offset {}", batch.base_offset());
                outcome = builder.apply_batch(&batch).with_context(at);
            }
        };
        log.replay(log.log_start_offset(), apply).await?;
        outcome.map(|()| builder.build())
    }

    /// Appends a change, as one batch however large: it is there as a whole or not at all. Yields the end of the change,
    /// for [`MetadataLog::committed`]; does not wait.
    ///
    /// # Errors
    /// The log did not take it: nothing was appended.
    pub fn propose(&self, records: &[MetadataRecord], now_ms: i64) -> Result<Offset, ControllerError> {
        let batch = encode_batch(records, now_ms)
            .map_err(|error| ControllerError::new(ErrorCode::InvalidRequest, error.to_string()))?;
        let epoch = self.partition.leader_epoch();
        let appended = self.partition.log.append(&batch, AppendOrigin::Metadata, epoch, now_ms);
        let info = appended.map_err(|error| {
            let message = format!("The metadata log refused the change: {error}");
            ControllerError::new(ErrorCode::KafkaStorageError, message)
        })?;
        self.partition.appended();
        Ok(info.last_offset.plus(1))
    }

    /// Completes when everything below `end` is committed.
    ///
    /// # Errors
    /// It will not be, and neither will anything proposed later.
    pub async fn committed(&self, end: Offset) -> Result<(), ControllerError> {
        self.partition.committed(end).await.map_err(|_| failed())
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> LogProgress {
        LogProgress {
            leader_epoch: self.partition.leader_epoch(),
            high_watermark: self.partition.high_watermark(),
            log_end: self.partition.log.log_end_offset(),
        }
    }
}

/// What everybody is told whose change was proposed to a log that has failed.
pub(super) fn failed() -> ControllerError {
    let message = "The metadata log could not be written; see the broker's log.";
    ControllerError::new(ErrorCode::KafkaStorageError, message)
}
