//! Counters of one shard's storage. Plain numbers; only `broker` renders them.

/// Counts per power of two: bucket `i` counts values in `2^(i-1) .. 2^i`, bucket 0 the zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    /// How many values fell into each bucket.
    pub buckets: [u64; 40],
    /// The sum of all values.
    pub sum: u64,
    /// How many values.
    pub count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; 40], sum: 0, count: 0 }
    }
}

impl Histogram {
    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.count += other.count;
    }

    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        let bucket = usize::try_from(u64::BITS - value.leading_zeros()).unwrap_or(0);
        self.buckets[bucket.min(self.buckets.len() - 1)] += 1;
        self.sum = self.sum.wrapping_add(value);
        self.count += 1;
    }
}

/// What one shard's storage has done and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StorageStats {
    /// Logs open.
    pub logs: u64,
    /// Segments of all logs.
    pub segments: u64,
    /// Logical bytes of all logs.
    pub log_bytes: u64,
    /// Producers remembered by all logs.
    pub producers: u64,
    /// Batches appended.
    pub batches_appended: u64,
    /// Bytes appended.
    pub bytes_appended: u64,
    /// Bytes handed to the disk by the commit loop, padding included.
    pub bytes_written: u64,
    /// Entries written to the journal, each of which acknowledges appends to several logs.
    pub journal_entries: u64,
    /// Bytes of those, padding included.
    pub journal_bytes: u64,
    /// Zeros written ahead.
    pub bytes_prewritten: u64,
    /// Appended bytes that are not durable yet.
    pub durable_lag_bytes: u64,
    /// Writes in flight.
    pub writes_in_flight: u64,
    /// Groups committed: how many logs each had.
    pub commit_group_logs: Histogram,
    /// Bytes per write.
    pub commit_write_bytes: Histogram,
    /// Nanoseconds per write.
    pub commit_write_ns: Histogram,
    /// Bytes of append chunks held, pending and cached.
    pub chunk_bytes: u64,
    /// Segments rolled.
    pub segments_rolled: u64,
    /// Segments deleted by retention.
    pub segments_deleted: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// Bytes of memory that keep what reads found in files.
    pub read_cache_bytes: u64,
    /// Reads answered from append chunks.
    pub reads_memory: u64,
    /// Reads answered with what earlier reads found in files.
    pub reads_cached: u64,
    /// Reads answered from files.
    pub reads_file: u64,
    /// Damaged batches met by reads.
    pub reads_corrupt: u64,
    /// Bytes that may still be written to the disk, as last seen.
    pub disk_available_bytes: u64,
    /// Bytes of the disk.
    pub disk_total_bytes: u64,
    /// Bytes below which appends of clients are refused.
    pub disk_reserve_bytes: u64,
    /// Whether appends are refused for lack of disk space.
    pub disk_full: bool,
    /// Whether the data directory has failed.
    pub failed: bool,
}
