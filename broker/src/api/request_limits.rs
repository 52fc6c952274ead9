//! How much a request may ask for, API by API. `dispatch` applies this before a handler sees the request: elements are counted while the request is decoded, and what an answer to so many takes is granted
//! before anything is built.
//!
//! A request beyond its limit cannot be answered (the answer would be as large) and ends the connection with a line in the log.

use net::protocol::ApiKey;
use runtime::sync::Permit;

use crate::api::request::CloseReason;
use crate::api::request_memory::{FREE_BYTES, RequestMemory};

/// The limits of one API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    /// Elements of all arrays of a request. Handlers take a microsecond for most, and yield between pieces of those that take
    /// more, so this bounds how long they hold their shard.
    elements_max: usize,
    /// What is built for one of them, from the view of the request to the bytes of the response, beside the strings.
    element_bytes: usize,
}

const fn limits(key: ApiKey) -> Limits {
    let (elements_max, element_bytes) = match key {
        // Partitions, in pieces.
        ApiKey::ListOffsets | ApiKey::OffsetForLeaderEpoch | ApiKey::DeleteRecords => (100_000, 256),
        ApiKey::Produce => (100_000, 512),
        // It has a bound of its own for what sessions and requests name together; this one is for reading the request.
        ApiKey::Fetch => (400_000, 0),
        ApiKey::DescribeLogDirs => (100_000, 64),
        // Partitions, one after the other; what each tells is bounded by the handler.
        ApiKey::DescribeProducers => (10_000, 256),
        // Names, in one go.
        ApiKey::Metadata | ApiKey::DescribeTopicPartitions | ApiKey::DeleteTopics => (30_000, 512),
        ApiKey::OffsetFetch | ApiKey::OffsetDelete | ApiKey::FindCoordinator => (30_000, 512),
        // One change of the metadata after the other, or one for all of which the controller bounds the partitions.
        ApiKey::CreateTopics
        | ApiKey::CreatePartitions
        | ApiKey::AlterConfigs
        | ApiKey::IncrementalAlterConfigs => (30_000, 1024),
        // Each is written to the group's partition, or looked up in a group.
        ApiKey::OffsetCommit | ApiKey::DeleteGroups | ApiKey::DescribeGroups | ApiKey::LeaveGroup => {
            (10_000, 1024)
        }
        ApiKey::SyncGroup => (10_000, 0),
        // Each gives all settings, of which only the first are told.
        ApiKey::DescribeConfigs => (30_000, 1024),
        ApiKey::JoinGroup => (1_000, 0),
        // Filters: each is compared with every group.
        ApiKey::ListGroups => (100, 64),
        _ => (1_000, 256),
    };
    Limits { elements_max, element_bytes }
}

/// The most elements that a request may have. A shard with little memory takes fewer, but not less than clients need.
pub(crate) fn elements_max(memory: &RequestMemory, key: ApiKey) -> usize {
    let Limits { elements_max, element_bytes } = limits(key);
    let within_memory = memory.building_bytes_max() / element_bytes.max(1);
    elements_max.min(within_memory.max(ELEMENTS_FLOOR))
}

/// Waits for the memory that an answer to so many elements takes; few have room on every connection.
///
/// # Errors
/// The request itself is too large to be copied.
pub(crate) async fn grant(
    memory: &RequestMemory,
    key: ApiKey,
    elements: usize,
    body_bytes: usize,
) -> Result<Option<Permit>, CloseReason> {
    // The strings and bytes of a request stand in what is built, and again in the response. Records are sliced.
    let copied_bytes = if matches!(key, ApiKey::Produce | ApiKey::Fetch) { 0 } else { body_bytes * 2 };
    if copied_bytes > memory.building_bytes_max().max(COPIED_BYTES_FLOOR) {
        return Err(CloseReason::TooMuch { name: key.name(), bytes: body_bytes });
    }
    if matches!(key, ApiKey::JoinGroup | ApiKey::SyncGroup) {
        // They wait for other members, who must not wait for them in turn.
        return Ok(None);
    }
    let bytes = elements * limits(key).element_bytes + copied_bytes;
    Ok(if bytes > FREE_BYTES { Some(memory.building(bytes).await) } else { None })
}

/// However little memory there is.
const ELEMENTS_FLOOR: usize = 10_000;

/// The same for what is copied: a leader's assignments of a large group fit.
const COPIED_BYTES_FLOOR: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_the_memory_is_allowed() {
        for (memory_bytes, key, expect) in [
            (64 << 20, ApiKey::ListOffsets, 65_536),
            (1 << 30, ApiKey::ListOffsets, 100_000),
            (4 << 20, ApiKey::ListOffsets, 10_000),
            (4 << 20, ApiKey::ListGroups, 100),
            (64 << 20, ApiKey::OffsetCommit, 10_000),
            (64 << 20, ApiKey::Fetch, 400_000),
        ] {
            let memory = RequestMemory::new(memory_bytes, 100 << 20);
            assert_eq!(elements_max(&memory, key), expect, "{key:?} of {memory_bytes}");
        }
    }
}
