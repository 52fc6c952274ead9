//! A valid data directory, written once by the real code on a simulated disk, and how to open and read one.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use model::{
    LeaderEpoch, NodeId, Offset, PartitionId, ProducerEpoch, ProducerId, RecordBatchBuilder, Sequence,
    TopicId, TopicPartition,
};
use runtime::sim::{SimEffects, SimWorld};
use runtime::{Clock, Effects};
use storage::{
    AppendOrigin, Log, LogConfig, LogDir, LogDirOptions, LogManager, LogManagerOptions, ReadError, ReadPart,
    StorageError,
};

/// The content of a data directory and what was acknowledged in it.
pub(super) struct Directory {
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
    /// Offset of the first record and bytes of each batch, without what the log patches.
    pub(super) batches: Vec<(i64, Bytes)>,
}

/// One after a clean stop, and one after a kill.
pub(super) static DIRECTORIES: LazyLock<[Directory; 2]> = LazyLock::new(|| [true, false].map(written));

pub(super) const DIR: &str = "/data";
pub(super) const TIMESTAMP: i64 = 1_000_000;

pub(super) fn topic() -> TopicPartition {
    TopicPartition::new("topic", PartitionId(0))
}

/// Small, so that a few batches make several segments with several index entries each.
pub(super) fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 3_000,
        index_interval_bytes: 300,
        retention_ms: None,
        timestamp_after_max_ms: i64::MAX,
        ..LogConfig::default()
    }
}

/// A broker's storage as far as one log needs it.
pub(super) struct Opened {
    dir: Arc<LogDir>,
    pub(super) manager: Rc<LogManager<SimEffects>>,
    pub(super) log: Rc<Log<SimEffects>>,
}

pub(super) async fn open(effects: &SimEffects) -> Result<Opened, StorageError> {
    let options = LogDirOptions { node_id: NodeId(1), cluster_id: None, lock: None };
    let dir = LogDir::open(effects, Path::new(DIR), options).await?;
    dir.partitions(effects).await?;
    let options = LogManagerOptions { producer_id_expiration_ms: u64::MAX, ..LogManagerOptions::default() };
    let manager = LogManager::open(effects.clone(), Arc::clone(&dir), options).await?;
    let log = manager.open_log(topic(), TopicId::from_random([9; 16]), log_config()).await?;
    Ok(Opened { dir, manager, log })
}

impl Opened {
    pub(super) async fn stop(&self, effects: &SimEffects) -> Result<(), StorageError> {
        self.manager.close().await?;
        self.dir.mark_clean(effects).await
    }
}

/// The batches from `from` on, without what the log patches, up to the end or the first thing that cannot be read.
pub(super) async fn read_all(
    log: &Log<SimEffects>,
    from: Offset,
) -> (Vec<(i64, Bytes)>, Result<(), ReadError>) {
    let (mut next, mut found) = (from, Vec::new());
    while next < log.log_end_offset() {
        let read = match log.read(next, 1_000, true, log.log_end_offset()).await {
            Ok(read) => read,
            Err(error) => return (found, Err(error)),
        };
        let mut bytes = Vec::new();
        for part in read.parts {
            match part {
                ReadPart::Memory(part) => bytes.extend_from_slice(&part.bytes),
                ReadPart::File { .. } => unreachable!("reads are direct"),
            }
        }
        let before = next;
        for batch in model::batches(&bytes) {
            let batch = batch.expect("a read yields whole batches");
            next = batch.next_offset();
            found.push((batch.base_offset().0, unpatched(batch.bytes())));
        }
        if next <= before {
            break;
        }
    }
    (found, Ok(()))
}

/// A batch without offset and leader epoch, which the log writes into it.
fn unpatched(batch: &[u8]) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[0..8].fill(0);
    bytes[12..16].fill(0);
    Bytes::from(bytes)
}

fn written(clean: bool) -> Directory {
    let world = SimWorld::new(u64::from(clean));
    let node = world.node("a");
    let batches = world.block_on(async {
        let opened = open(&node).await.expect("a fresh directory opens");
        let mut batches = Vec::new();
        for number in 0..BATCHES {
            opened.log.assign_epoch(LeaderEpoch(number / 10));
            let batch = batch(number);
            let info = opened.log.append(&batch, AppendOrigin::Client, LeaderEpoch(number / 10), TIMESTAMP);
            batches.push((info.expect("a valid batch").first_offset.0, batch));
            opened.log.flush().await.expect("the disk is good");
            opened.log.update_high_watermark(opened.log.durable_end());
        }
        // Long enough for seals and checkpoints.
        let clock = node.clock().clone();
        clock.sleep_until(clock.now() + std::time::Duration::from_secs(40)).await;
        if clean {
            opened.stop(&node).await.expect("the disk is good");
        }
        batches
    });
    world.kill("a");
    let disk = world.disk("a");
    let files = disk.files().into_iter().map(|path| {
        let content = disk.read(&path).expect("it was listed");
        (path, content)
    });
    let directory = Directory { files: files.collect(), batches };
    world.end();
    directory
}

fn batch(number: i32) -> Bytes {
    let mut builder = RecordBatchBuilder::new(Offset(0));
    if number % 3 == 0 {
        builder = builder.producer(ProducerId(7), ProducerEpoch(0), Sequence(number / 3 * 2));
    }
    for record in 0..2 {
        let value = format!("{number}-{record}-").repeat(1 + usize::try_from(number).unwrap_or(0) % 20);
        builder = builder.record(TIMESTAMP + i64::from(number), Some(b"key"), Some(value.as_bytes()));
    }
    builder.build()
}

/// Batches in a directory.
const BATCHES: i32 = 40;
