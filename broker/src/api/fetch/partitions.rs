//! Reads the partitions of a fetch that one shard owns.

use std::rc::Rc;

use futures_util::future::join_all;
use net::protocol::ErrorCode;
use runtime::Effects;
use storage::ReadLimits;

use crate::api::errors::{partition_error_code, read_error_code};
use crate::api::fetch::fetched::{Fetched, Limits};
use crate::api::fetch::memory::Patience;
use crate::api::fetch::owners::Item;
use crate::api::fetch::read::{Found, read_charged};
use crate::api::response_records::RecordSource;
use crate::api::services::ShardServices;

/// Reads one after the other until one has given something, which may be larger than the limits; the rest together,
/// as many at once as the limits allow, so that partitions on disk do not wait for each other.
pub(super) async fn read_all<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    items: &[Item],
    limits: Limits,
    patience: Patience,
) -> Vec<Fetched<E>> {
    let mut fetched: Vec<Fetched<E>> = Vec::with_capacity(items.len());
    // Fewer bytes than asked for are as good an answer.
    let mut left = limits.max_bytes.min(shard.fetch_memory.allowance_bytes());
    let mut first = true;
    while let Some(rest) = items.get(fetched.len()..).filter(|rest| !rest.is_empty()) {
        let together = if first { 1 } else { count_within(rest, left) };
        let reads = rest[..together].iter().map(|item| {
            let reading =
                Reading { bytes_left: left, first, committed_only: limits.committed_only, patience };
            read_one(shard, item, reading)
        });
        for answer in join_all(reads).await {
            left = left.saturating_sub(answer.bytes);
            first &= answer.bytes == 0;
            fetched.push(answer);
        }
    }
    fetched
}

/// How one partition is read.
#[derive(Debug, Clone, Copy)]
struct Reading {
    bytes_left: usize,
    /// Nothing has been read yet: one batch may be larger than the limits, and no memory is held.
    first: bool,
    committed_only: bool,
    patience: Patience,
}

/// How many of `items`, from the first on, can have all that they may want out of `bytes`; at least one.
fn count_within(items: &[Item], bytes: usize) -> usize {
    let mut wanted = 0_usize;
    let within = items.iter().take_while(|item| {
        wanted = wanted.saturating_add(item.max_bytes.min(bytes));
        wanted <= bytes
    });
    within.count()
}

async fn read_one<E: Effects>(shard: &ShardServices<E>, item: &Item, reading: Reading) -> Fetched<E> {
    let answer = read_partition(shard, item, reading).await;
    let trouble = answer.trouble();
    Fetched { urgent: trouble.is_some() && trouble != item.told, ..answer }
}

async fn read_partition<E: Effects>(shard: &ShardServices<E>, item: &Item, reading: Reading) -> Fetched<E> {
    let Reading { bytes_left, first, committed_only, patience } = reading;
    let partition = match shard.replicas.led(item.topic_id, item.partition, item.current_leader_epoch) {
        Ok(partition) => partition,
        Err(error) => {
            let failed = Fetched::failed(item.slot, partition_error_code(&error));
            return Fetched { current_leader: error.current_leader(), ..failed };
        }
    };
    let leader_epoch = partition.leader_epoch();
    let mut answer = Fetched::failed(item.slot, ErrorCode::None);
    let log = &partition.log;
    if item.fetch_offset >= log.log_end_offset()
        && let Err(error) = partition.check_end_known()
    {
        answer.error = partition_error_code(&error);
        return answer;
    }
    let stable = partition.last_stable_offset();
    let up_to = if committed_only { stable } else { partition.high_watermark() };
    answer.high_watermark = partition.high_watermark().0;
    answer.last_stable_offset = stable.0;
    answer.log_start = log.log_start_offset().0;
    if item.last_fetched_epoch > leader_epoch {
        answer.error = ErrorCode::OffsetOutOfRange;
        return answer;
    }
    if item.last_fetched_epoch.0 >= 0 {
        let (epoch, end) = log.end_offset_for_epoch(item.last_fetched_epoch);
        if end.0 >= 0 && (epoch < item.last_fetched_epoch || end < item.fetch_offset) {
            answer.diverging = Some((epoch.0, end.0));
            return answer;
        }
    }
    // A consumer whose limits are spent still learns about the offsets.
    let max_bytes = item.max_bytes.min(bytes_left);
    let limits = ReadLimits { max_bytes, min_one: first, up_to };
    let patience = if first { patience } else { Patience::None };
    match read_charged(shard, log, item.fetch_offset, limits, log.reads_ranges(), patience).await {
        Ok(Found { parts, bytes, more, starved }) => {
            answer.bytes = bytes;
            answer.counted = if more { bytes.max(item.max_bytes) } else { bytes };
            // Behind something that was read, what there is no memory for waits for the next request.
            answer.starved = starved && first;
            answer.parts = parts;
            answer.source = Some(RecordSource {
                owner: shard.index,
                topic_id: item.topic_id,
                partition: item.partition,
                memory: shard.fetch_memory.watch(),
            });
        }
        Err(error) => {
            let code = read_error_code(&error);
            if code != ErrorCode::OffsetOutOfRange {
                tracing::warn!(partition = %partition.name, offset = %item.fetch_offset, %error, "fetch failed");
            }
            let log_start = answer.log_start;
            answer = Fetched::failed(item.slot, code);
            if code == ErrorCode::OffsetOutOfRange {
                answer.log_start = log_start;
            }
        }
    }
    answer
}
