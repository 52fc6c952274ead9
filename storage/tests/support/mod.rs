//! A broker's storage in a simulated world, with just enough around it to write tests.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses its own part")]

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{
    LeaderEpoch, NodeId, Offset, PartitionId, ProducerEpoch, ProducerId, RecordBatch, RecordBatchBuilder,
    Sequence, TopicId, TopicPartition,
};
use runtime::sim::SimEffects;
use runtime::{Clock, Disk, Effects};
use storage::{
    AppendError, AppendInfo, AppendOrigin, Log, LogConfig, LogDir, LogDirOptions, LogEvent, LogManager,
    LogManagerOptions, LogSubscriber, ReadError, ReadPart, StorageError,
};

pub const DIR: &str = "/data";

pub fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("topic", PartitionId(partition))
}

pub fn topic_id() -> TopicId {
    TopicId::from_random([9; 16])
}

pub struct Broker<E: Effects = SimEffects> {
    pub effects: E,
    pub dir: Arc<LogDir>,
    pub manager: Rc<LogManager<E>>,
}

pub async fn start<E: Effects>(effects: E, options: LogManagerOptions) -> Result<Broker<E>, StorageError> {
    start_in(effects, Path::new(DIR), options, None).await
}

pub async fn start_in<E: Effects>(
    effects: E,
    path: &Path,
    options: LogManagerOptions,
    lock: Option<Duration>,
) -> Result<Broker<E>, StorageError> {
    let dir_options = LogDirOptions { node_id: NodeId(1), cluster_id: None, lock };
    let dir = LogDir::open(&effects, path, dir_options).await?;
    dir.partitions(&effects).await?;
    let manager = LogManager::open(effects.clone(), Arc::clone(&dir), options).await?;
    Ok(Broker { effects, dir, manager })
}

impl<E: Effects> Broker<E> {
    pub async fn log(&self, partition: i32, config: &LogConfig) -> Rc<Log<E>> {
        self.manager.open_log(tp(partition), topic_id(), config.clone()).await.expect("the log opens")
    }

    pub async fn stop(&self) {
        self.manager.close().await.expect("closes");
        self.dir.mark_clean(&self.effects).await.expect("marks");
    }
}

/// A batch of `records` records with values that tell them apart.
pub fn batch(seed: u64, records: usize, value_bytes: usize, timestamp: i64) -> Bytes {
    builder(seed, records, value_bytes, timestamp).build()
}

pub fn builder(seed: u64, records: usize, value_bytes: usize, timestamp: i64) -> RecordBatchBuilder {
    let mut builder = RecordBatchBuilder::new(Offset(0));
    for i in 0..records {
        let mut value = format!("{seed}-{i}-").into_bytes();
        value.resize(value.len().max(value_bytes), b'x');
        builder = builder.record(timestamp, None, Some(&value));
    }
    builder
}

pub fn idempotent(producer: i64, sequence: i32, records: usize) -> Bytes {
    builder(7, records, 20, 1_000)
        .producer(ProducerId(producer), ProducerEpoch(0), Sequence(sequence))
        .build()
}

pub fn append<E: Effects>(log: &Rc<Log<E>>, batch: &[u8]) -> Result<AppendInfo, AppendError> {
    log.append(batch, AppendOrigin::Client, LeaderEpoch(0), 1_000_000)
}

pub async fn append_durably<E: Effects>(log: &Rc<Log<E>>, batch: &[u8]) -> AppendInfo {
    let info = append(log, batch).expect("appends");
    log.flush().await.expect("becomes durable");
    log.update_high_watermark(log.durable_end());
    log.check_invariants();
    info
}

/// All that can be read from `from` on, each batch without what the log patched, with its offset.
pub async fn read_all<E: Effects>(
    log: &Log<E>,
    from: Offset,
    max_bytes: usize,
) -> Result<Vec<(i64, Bytes)>, ReadError> {
    let mut next = from;
    let mut found = Vec::new();
    while next < log.log_end_offset() {
        let read = log.read(next, max_bytes, true, log.log_end_offset()).await?;
        let mut bytes = Vec::new();
        for part in read.parts {
            match part {
                ReadPart::Memory(part) => bytes.extend_from_slice(&part.bytes),
                ReadPart::File { file, position, length } => {
                    bytes.extend_from_slice(&file_range::<E>(log, &file, position, length).await);
                }
            }
        }
        let before = next;
        for batch in model::batches(&bytes).filter_map(Result::ok) {
            assert_eq!(batch.verify_crc(), Ok(()));
            next = batch.next_offset();
            found.push((batch.base_offset().0, original(&batch)));
        }
        assert!(next > before, "a read makes progress at {before}");
    }
    Ok(found)
}

async fn file_range<E: Effects>(
    _log: &Log<E>,
    file: &<E::Disk as Disk>::File,
    position: u64,
    length: u64,
) -> Vec<u8> {
    use runtime::File;
    let pool = runtime::buffer::BufferPool::new(64 << 20);
    let length = usize::try_from(length).unwrap();
    let (read, buffer) = file.read_at(pool.buffer(length).unwrap(), position, length).await;
    assert_eq!(read.unwrap(), length);
    buffer.into_bytes(0..length).to_vec()
}

/// The batch as the producer sent it.
pub fn original(batch: &RecordBatch<'_>) -> Bytes {
    let mut bytes = batch.bytes().to_vec();
    bytes[0..8].fill(0);
    bytes[12..16].fill(0);
    Bytes::from(bytes)
}

#[derive(Default)]
pub struct Heard {
    pub durable: Cell<i64>,
    pub start: Cell<i64>,
    pub failed: RefCell<Option<String>>,
}

impl LogSubscriber for Heard {
    fn notify(&self, event: LogEvent<'_>) {
        match event {
            LogEvent::DurableEndAdvanced(end) => {
                assert!(end.0 >= self.durable.get(), "durable_end never goes back");
                self.durable.set(end.0);
            }
            LogEvent::LogStartAdvanced(start) => self.start.set(start.0),
            LogEvent::Failed(error) => *self.failed.borrow_mut() = Some(error.to_string()),
        }
    }
}

pub fn listen<E: Effects>(log: &Log<E>) -> Rc<Heard> {
    let heard = Rc::new(Heard::default());
    log.subscribe(&heard);
    heard
}

pub async fn pause<E: Effects>(effects: &E, ms: u64) {
    let clock = effects.clock();
    clock.sleep_until(clock.now() + Duration::from_millis(ms)).await;
}
