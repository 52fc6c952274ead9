//! What a coordinator needs of the partition that holds its records.

use std::rc::Rc;

use model::{LeaderEpoch, Offset, RecordBatch, RecordBatchBuilder, TopicId, TopicPartition};
use runtime::Effects;
use storage::{AppendError, AppendOrigin, ReadError};

use super::coordinator_machine::{LogRecord, WriteError};
use crate::replicas::Partition;

/// A partition that this shard leads.
pub trait CoordinatorLog: 'static {
    /// Its name.
    fn name(&self) -> &TopicPartition;

    /// Its topic's id.
    fn topic_id(&self) -> TopicId;

    /// The epoch in which this broker leads it now.
    fn leader_epoch(&self) -> LeaderEpoch;

    /// Calls `visit` with every batch of the log, in order.
    ///
    /// # Errors
    /// If anything is damaged or missing, though `visit` may have seen what lies before.
    fn replay(&self, visit: impl FnMut(RecordBatch<'_>)) -> impl Future<Output = Result<(), ReadError>>;

    /// Appends records as one batch, decided in `epoch` at the wall-clock time `now_ms`; yields the offset behind them.
    ///
    /// # Errors
    /// Nothing was appended.
    fn append(&self, records: &[LogRecord], epoch: LeaderEpoch, now_ms: i64) -> Result<Offset, WriteError>;

    /// Completes when everything below `end` is below the high watermark.
    ///
    /// # Errors
    /// It will never be, or nobody here will learn of it.
    fn committed(&self, end: Offset) -> impl Future<Output = Result<(), WriteError>>;
}

impl<E: Effects> CoordinatorLog for Rc<Partition<E>> {
    fn name(&self) -> &TopicPartition {
        &self.name
    }

    fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    fn leader_epoch(&self) -> LeaderEpoch {
        Partition::leader_epoch(self)
    }

    async fn replay(&self, visit: impl FnMut(RecordBatch<'_>)) -> Result<(), ReadError> {
        self.log.replay(self.log.log_start_offset(), visit).await
    }

    fn append(&self, records: &[LogRecord], epoch: LeaderEpoch, now_ms: i64) -> Result<Offset, WriteError> {
        let first = RecordBatchBuilder::new(self.log.log_end_offset());
        let batch = records
            .iter()
            .fold(first, |batch, record| batch.record(now_ms, Some(&record.key), record.value.as_deref()));
        match self.log.append(&batch.build(), AppendOrigin::Coordinator, epoch, now_ms) {
            Ok(info) => {
                self.appended();
                Ok(info.last_offset.plus(1))
            }
            Err(error) => {
                tracing::warn!(partition = %self.name, %error, "records of a coordinator could not be appended");
                Err(write_error(&error))
            }
        }
    }

    async fn committed(&self, end: Offset) -> Result<(), WriteError> {
        Partition::committed(self, end).await.map_err(|_| WriteError::NotLeader)
    }
}

fn write_error(error: &AppendError) -> WriteError {
    match error {
        AppendError::TooLarge { .. } | AppendError::LargerThanSegment { .. } => WriteError::TooLarge,
        AppendError::Storage(_) => WriteError::NotLeader,
        _ => WriteError::Unavailable,
    }
}
