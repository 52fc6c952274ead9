//! Reads of logs for clients, within the memory that there is for records on their way out.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use model::Offset;
use runtime::{Clock, Disk, Effects};
use storage::{Log, LogRead, ReadError, ReadLimits, ReadMemory, ReadPart, StorageError};

use crate::api::fetch::memory::Patience;
use crate::api::response_records::Unsent;
use crate::api::services::ShardServices;

/// Records for a response.
pub(crate) enum Part<E: Effects> {
    /// In memory, charged.
    Memory(Bytes),
    /// A range of a file.
    File { file: <E::Disk as Disk>::File, position: u64, length: u64 },
}

/// What a read has given.
pub(crate) struct Found<E: Effects> {
    pub(crate) parts: Vec<Part<E>>,
    pub(crate) bytes: usize,
    /// There is more that might be read.
    pub(crate) more: bool,
    /// There was no memory for what there is.
    pub(crate) starved: bool,
}

impl<E: Effects> Found<E> {
    const fn starved() -> Self {
        Self { parts: Vec::new(), bytes: 0, more: false, starved: true }
    }
}

/// Reads when there is memory for it. Only what holds no such memory may have patience.
pub(crate) async fn read_charged<E: Effects>(
    shard: &ShardServices<E>,
    log: &Log<E>,
    from: Offset,
    limits: ReadLimits,
    ranges: bool,
    patience: Patience,
) -> Result<Found<E>, ReadError> {
    let clock = shard.effects.clock();
    let memory = shard.fetch_memory.reservation(clock, patience);
    let mut limits = limits;
    loop {
        let LogRead { parts, size_bytes, more } = match log.read_within(from, limits, ranges, &memory).await {
            Err(ReadError::Storage(StorageError::OverBudget)) => {
                // Granted, but the pool has none: what else is read there is given back soon.
                if !memory.is_granted() || patience.is_over(clock.now()) {
                    return Ok(Found::starved());
                }
                clock.sleep_until(clock.now() + POOL_PAUSE).await;
                continue;
            }
            read => read?,
        };
        let mut files = Vec::new();
        let mut in_memory = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                ReadPart::Memory(part) => in_memory.push(part),
                ReadPart::File { file, position, length } => {
                    files.push(Part::File { file, position, length })
                }
            }
        }
        let needed = match memory.charge(&in_memory) {
            Ok(charged) => {
                let parts = charged.into_iter().map(Part::Memory).chain(files).collect();
                return Ok(Found { parts, bytes: size_bytes, more, starved: false });
            }
            Err(needed) => needed,
        };
        drop((in_memory, files));
        if !memory.reserve(needed).await {
            return Ok(Found::starved());
        }
        limits.max_bytes = limits.max_bytes.min(needed);
    }
}

/// Reads records of a response again, which have lost their memory: whole batches from the first that has not been sent, at
/// most `max_bytes` of them unless one is larger. `None` if they are not there any more, or there was no memory for long.
pub(crate) async fn read_again<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    unsent: &Unsent,
    max_bytes: usize,
) -> Option<Vec<Bytes>> {
    let (source, offset) = (&unsent.source, unsent.offset);
    let (topic_id, partition) = (source.topic_id, source.partition);
    let max_bytes = max_bytes.min(unsent.length);
    let call = shard.call(source.owner, move |shard| async move {
        let partition = shard.replicas.hosted(topic_id, partition)?;
        let limits = ReadLimits { max_bytes, min_one: true, up_to: partition.high_watermark() };
        let patience = Patience::Until(shard.effects.clock().now() + AGAIN_WAIT_MAX);
        let read = read_charged(&shard, &partition.log, offset, limits, false, patience).await;
        if let Err(error) = &read {
            tracing::info!(partition = %partition.name, %offset, %error, "records of a response cannot be read again");
        }
        let parts = read.ok()?.parts.into_iter().map(|part| match part {
            Part::Memory(bytes) => Some(bytes),
            Part::File { .. } => None,
        });
        parts.collect::<Option<Vec<Bytes>>>()
    });
    let read = call.await?;
    let base = read.iter().flatten().copied().take(8).collect::<Vec<u8>>();
    let found = i64::from_be_bytes(base.try_into().ok()?);
    let length: usize = read.iter().map(Bytes::len).sum();
    (found == offset.0 && length > unsent.skip && length <= unsent.length).then_some(read)
}

/// How long a response that has been begun waits for memory to go on.
const AGAIN_WAIT_MAX: Duration = Duration::from_secs(60);

/// How long to wait for the pool between two looks.
const POOL_PAUSE: Duration = Duration::from_millis(1);
