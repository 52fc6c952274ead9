//! One partition's log: appended on its shard, read from memory or disk, durable by the commit loop.

use std::rc::Rc;

use bytes::Bytes;
use model::{LeaderEpoch, Offset, RecordBatch, TopicId, TopicPartition};
use runtime::{Disk, Effects};

use crate::{AppendError, LogConfig, ReadError, StorageError};

/// Who appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: every rule is checked.
    Client,
    /// The broker itself (coordinators, metadata): may write control records and several batches.
    Internal,
}

/// Where an append went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendInfo {
    /// The offset of the first record.
    pub first_offset: Offset,
    /// The offset of the last record.
    pub last_offset: Offset,
    /// The largest timestamp.
    pub max_timestamp: i64,
    /// The broker's time, if that is what records carry (`LogAppendTime`).
    pub log_append_time: Option<i64>,
    /// The start of the log.
    pub log_start_offset: Offset,
    /// The batch was stored before (idempotent producer); these are its offsets, nothing was appended.
    pub duplicate: bool,
}

/// Record batches, whole ones, one behind the other.
pub struct LogRead<E: Effects> {
    /// The bytes, in order.
    pub parts: Vec<ReadPart<E>>,
    /// Bytes of all parts.
    pub size_bytes: usize,
}

/// A piece of a read.
pub enum ReadPart<E: Effects> {
    /// Bytes in memory.
    Memory(Bytes),
    /// A range of a sealed segment's file, for sendfile.
    File {
        /// The file, opened for buffered reading.
        file: <E::Disk as Disk>::File,
        /// The first byte.
        position: u64,
        /// Bytes.
        length: u64,
    },
}

/// A record found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Where it is.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: i64,
    /// The leader epoch it was appended in.
    pub leader_epoch: LeaderEpoch,
}

/// What a log tells its owner, on the log's shard, from within the commit loop.
pub trait LogListener {
    /// Everything below `durable_end` is durable now.
    fn durable(&self, durable_end: Offset);
    /// Nothing will be written to the log any more.
    fn failed(&self, error: &StorageError);
    /// Retention or a deletion has moved the start of the log.
    fn log_start_advanced(&self, log_start: Offset);
}

/// One partition's log. Lives on the partition's shard.
pub struct Log<E: Effects> {
    effects: E,
}

impl<E: Effects> Log<E> {
    /// The partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        unreachable!()
    }
    /// The topic's id.
    pub fn topic_id(&self) -> TopicId {
        unreachable!()
    }
    /// The settings in force.
    pub fn config(&self) -> Rc<LogConfig> {
        unreachable!()
    }
    /// Replaces the settings; they count from the next append and the next retention pass.
    pub fn set_config(&self, config: LogConfig) {
        drop((config, &self.effects));
    }
    /// The first offset that can be read.
    pub fn log_start_offset(&self) -> Offset {
        unreachable!()
    }
    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> Offset {
        unreachable!()
    }
    /// Everything below is on stable storage.
    pub fn durable_end(&self) -> Offset {
        unreachable!()
    }
    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        unreachable!()
    }
    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        unreachable!()
    }
    /// Why the log takes no appends, if it does not (damaged, closed, directory failed).
    pub fn offline(&self) -> Option<StorageError> {
        unreachable!()
    }
    /// Appends batches in memory and wakes the commit loop.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was stored.
    pub fn append(
        &self,
        batches: &[u8],
        origin: AppendOrigin,
        leader_epoch: LeaderEpoch,
        now_unix_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        let _ = (batches, origin, leader_epoch, now_unix_ms);
        Err(AppendError::OverBudget)
    }
    /// Reads without waiting, if the range is in memory; `None` if it is not.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`].
    pub fn read_tail(
        &self,
        from: Offset,
        max_bytes: usize,
        min_one_message: bool,
        up_to: Offset,
    ) -> Result<Option<LogRead<E>>, ReadError> {
        let _ = (from, max_bytes, min_one_message, up_to);
        Ok(None)
    }
    /// Reads whole batches from the one that holds `from` on, at most `max_bytes` (or one batch, if that is
    /// larger and `min_one_message`), none that reaches behind `up_to`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        min_one_message: bool,
        up_to: Offset,
    ) -> Result<LogRead<E>, ReadError> {
        let _ = (from, max_bytes, min_one_message, up_to);
        Ok(LogRead { parts: Vec::new(), size_bytes: 0 })
    }
    /// The first record at or after `timestamp`, below `up_to`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn offset_for_timestamp(
        &self,
        timestamp: i64,
        up_to: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let _ = (timestamp, up_to);
        Ok(None)
    }
    /// The record with the largest timestamp.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn max_timestamp_offset(&self) -> Result<Option<TimestampOffset>, ReadError> {
        Ok(None)
    }
    /// The end of `epoch` (or of the largest one before it), as OffsetForLeaderEpoch answers it.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        (epoch, Offset(-1))
    }
    /// Notes that appends from now on are of `epoch`.
    pub fn assign_epoch(&self, epoch: LeaderEpoch) {
        let _ = epoch;
    }
    /// The newest epoch in the log.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        None
    }
    /// Names who hears about progress; replaces the one before.
    pub fn set_listener(&self, listener: Rc<dyn LogListener>) {
        drop(listener);
    }
    /// Told by the broker: consumers may see up to here; retention does not pass it.
    pub fn update_high_watermark(&self, high_watermark: Offset) {
        let _ = high_watermark;
    }
    /// The last high watermark told, or the one checkpointed before the restart.
    pub fn high_watermark(&self) -> Offset {
        Offset::ZERO
    }
    /// Deletes everything below `to` (DeleteRecords); durable when this returns.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`] above the high watermark.
    pub async fn advance_log_start(&self, to: Offset) -> Result<Offset, ReadError> {
        Ok(to)
    }
    /// Waits until everything appended so far is durable.
    ///
    /// # Errors
    /// [`StorageError`] if that will not happen.
    pub async fn flush(&self) -> Result<(), StorageError> {
        Ok(())
    }
    /// Calls `visit` with every batch from `from` to the end of the log.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn replay(&self, from: Offset, visit: impl FnMut(RecordBatch<'_>)) -> Result<(), ReadError> {
        let _ = from;
        drop(visit);
        Ok(())
    }
}
