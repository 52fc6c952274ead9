//! What one shard counts. Plain fields, written by the shard alone; `admin` renders them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use model::TopicId;
use net::protocol::{ApiKey, ErrorCode};

use crate::admin::LatencyHistogram;

/// Counters of one shard. Lives on every shard.
#[derive(Default)]
pub struct Stats {
    /// Bytes received from clients.
    pub received_bytes: Cell<u64>,
    /// Bytes sent to clients.
    pub sent_bytes: Cell<u64>,
    /// Bytes of record batches appended for clients.
    pub produced_bytes: Cell<u64>,
    /// Record batches appended for clients.
    pub produced_batches: Cell<u64>,
    /// Records appended for clients.
    pub produced_records: Cell<u64>,
    /// Bytes of record batches read for clients.
    pub fetched_bytes: Cell<u64>,
    /// Connections open now.
    pub connections: Cell<u64>,
    /// Connections accepted.
    pub accepted: Cell<u64>,
    /// Connections that we closed because of what was sent.
    pub rejected: Cell<u64>,
    /// Connections that found no room, or that the system could not give us.
    pub refused: Cell<u64>,
    latencies: RefCell<Vec<LatencyHistogram>>,
    fetched_by_topic: RefCell<HashMap<TopicId, u64>>,
    errors: RefCell<BTreeMap<(ApiKey, ErrorCode), u64>>,
}

fn add(counter: &Cell<u64>, amount: usize) {
    counter.set(counter.get() + amount as u64);
}

impl Stats {
    /// Notes bytes from a client.
    pub fn received(&self, bytes: usize) {
        add(&self.received_bytes, bytes);
    }

    /// Notes bytes to a client.
    pub fn sent(&self, bytes: usize) {
        add(&self.sent_bytes, bytes);
    }

    /// Notes an appended batch of `records` records.
    pub fn produced(&self, bytes: usize, records: i64) {
        add(&self.produced_bytes, bytes);
        add(&self.produced_batches, 1);
        add(&self.produced_records, usize::try_from(records).unwrap_or(0));
    }

    /// Notes records that are answered.
    pub fn fetched(&self, topic: TopicId, bytes: usize) {
        if bytes > 0 {
            add(&self.fetched_bytes, bytes);
            *self.fetched_by_topic.borrow_mut().entry(topic).or_default() += bytes as u64;
        }
    }

    /// Bytes of records answered since the last call, by topic.
    pub fn take_fetched(&self) -> HashMap<TopicId, u64> {
        self.fetched_by_topic.take()
    }

    /// Notes a new connection.
    pub fn connected(&self) {
        add(&self.accepted, 1);
        add(&self.connections, 1);
    }

    /// Notes the end of a connection.
    pub fn disconnected(&self) {
        self.connections.set(self.connections.get().saturating_sub(1));
    }

    /// Notes that we closed a connection.
    pub fn rejected_connection(&self) {
        add(&self.rejected, 1);
    }

    /// Notes that a connection was not taken.
    pub fn refused_connection(&self) {
        add(&self.refused, 1);
    }

    /// Notes a finished request.
    pub fn answered(&self, key: ApiKey, latency: Duration) {
        let index = usize::try_from(key.code()).unwrap_or(0);
        let mut latencies = self.latencies.borrow_mut();
        if latencies.len() <= index {
            latencies.resize_with(index + 1, LatencyHistogram::default);
        }
        latencies[index].record(latency);
    }

    /// Notes error codes in a response.
    pub fn answered_error(&self, key: ApiKey, code: ErrorCode, count: u64) {
        *self.errors.borrow_mut().entry((key, code)).or_default() += count;
    }

    /// The error codes that were told, with the APIs that told them.
    #[must_use]
    pub fn errors(&self) -> Vec<(ApiKey, ErrorCode, u64)> {
        self.errors.borrow().iter().map(|((key, code), count)| (*key, *code, *count)).collect()
    }

    /// The latencies of every API that was used.
    #[must_use]
    pub fn latencies(&self) -> Vec<(ApiKey, LatencyHistogram)> {
        let latencies = self.latencies.borrow();
        let named = latencies.iter().enumerate().filter_map(|(code, histogram)| {
            let key = i16::try_from(code).ok().and_then(|code| ApiKey::try_from(code).ok())?;
            (histogram.count() > 0).then(|| (key, histogram.clone()))
        });
        named.collect()
    }
}
