//! A partition whose log, epoch and high watermark the test moves.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use model::{
    LeaderEpoch, Offset, PartitionId, RecordBatch, RecordBatchBuilder, TopicId, TopicPartition, Uuid,
};
use runtime::sync::Notify;
use storage::{ReadError, StorageError};

use crate::coordination::runner::{CoordinatorLog, LogRecord, WriteError};

#[derive(Clone)]
pub(crate) struct FakeLog(Rc<Inner>);

struct Inner {
    name: TopicPartition,
    epoch: Cell<LeaderEpoch>,
    batches: RefCell<Vec<Vec<u8>>>,
    high_watermark: Cell<i64>,
    is_deposed: Cell<bool>,
    moved: Notify,
    /// What the next reads of the log give.
    read_errors: RefCell<VecDeque<ReadError>>,
    /// Reads wait while this is set.
    is_stalled: Cell<bool>,
    reads: Cell<usize>,
    /// What the next appends give; `None` is a success.
    refusals: RefCell<VecDeque<Option<WriteError>>>,
}

impl FakeLog {
    /// An empty log, led in epoch 1.
    pub(crate) fn new() -> Self {
        Self(Rc::new(Inner {
            name: TopicPartition::new("__counters", PartitionId(0)),
            epoch: Cell::new(LeaderEpoch(1)),
            batches: RefCell::default(),
            high_watermark: Cell::new(0),
            is_deposed: Cell::new(false),
            moved: Notify::new(),
            read_errors: RefCell::default(),
            is_stalled: Cell::new(false),
            reads: Cell::new(0),
            refusals: RefCell::default(),
        }))
    }

    pub(crate) fn set_epoch(&self, epoch: i32) {
        self.0.epoch.set(LeaderEpoch(epoch));
    }

    /// How many records there are, one a batch.
    pub(crate) fn end(&self) -> i64 {
        i64::try_from(self.0.batches.borrow().len()).unwrap()
    }

    /// Everything is committed.
    pub(crate) fn commit(&self) {
        self.0.high_watermark.set(self.end());
        self.0.moved.notify_all();
    }

    /// Nobody will learn whether what is not committed ever will be.
    pub(crate) fn depose(&self) {
        self.0.is_deposed.set(true);
        self.0.moved.notify_all();
    }

    pub(crate) fn write(&self, batch: Vec<u8>) {
        self.0.batches.borrow_mut().push(batch);
    }

    pub(crate) fn fail_reads(&self, errors: impl IntoIterator<Item = ReadError>) {
        self.0.read_errors.borrow_mut().extend(errors);
    }

    pub(crate) fn stall_reads(&self, is_stalled: bool) {
        self.0.is_stalled.set(is_stalled);
        self.0.moved.notify_all();
    }

    pub(crate) fn reads(&self) -> usize {
        self.0.reads.get()
    }

    pub(crate) fn answer_appends(&self, results: impl IntoIterator<Item = Option<WriteError>>) {
        self.0.refusals.borrow_mut().extend(results);
    }
}

/// A read that fails for a while.
pub(crate) fn passing() -> ReadError {
    ReadError::Storage(StorageError::OverBudget)
}

/// A read that always fails.
pub(crate) fn damage() -> ReadError {
    ReadError::OffsetOutOfRange { requested: Offset(1), log_start: Offset(0), log_end: Offset(0) }
}

impl CoordinatorLog for FakeLog {
    fn name(&self) -> &TopicPartition {
        &self.0.name
    }

    fn topic_id(&self) -> TopicId {
        Uuid([1; 16])
    }

    fn leader_epoch(&self) -> LeaderEpoch {
        self.0.epoch.get()
    }

    async fn replay(&self, mut visit: impl FnMut(RecordBatch<'_>)) -> Result<(), ReadError> {
        self.0.reads.set(self.0.reads.get() + 1);
        while self.0.is_stalled.get() {
            self.0.moved.notified().await;
        }
        for batch in &*self.0.batches.borrow() {
            visit(RecordBatch::parse(batch).expect("the test writes batches"));
        }
        self.0.read_errors.borrow_mut().pop_front().map_or(Ok(()), Err)
    }

    fn append(&self, records: &[LogRecord], epoch: LeaderEpoch, now_ms: i64) -> Result<Offset, WriteError> {
        assert_eq!(epoch, self.0.epoch.get(), "an append in an epoch that is over");
        if let Some(Some(error)) = self.0.refusals.borrow_mut().pop_front() {
            return Err(error);
        }
        let first = RecordBatchBuilder::new(Offset(self.end()));
        let batch = records
            .iter()
            .fold(first, |batch, record| batch.record(now_ms, Some(&record.key), record.value.as_deref()));
        self.write(batch.build().to_vec());
        Ok(Offset(self.end()))
    }

    async fn committed(&self, end: Offset) -> Result<(), WriteError> {
        while self.0.high_watermark.get() < end.0 {
            if self.0.is_deposed.get() {
                return Err(WriteError::NotLeader);
            }
            self.0.moved.notified().await;
        }
        Ok(())
    }
}
