//! How much memory the broker takes: out of what the machine has or the control group allows, unless the settings say.

use std::fmt;

use crate::config::{BrokerConfig, Settings};

/// What the process takes at least beside what is planned: code, metadata, connections.
pub const BASE_BYTES: u64 = 32 << 20;

/// What a plan that is made unasked leaves to it.
const SPARED_BYTES: u64 = 64 << 20;

/// The least that a shard does its work with; `millrace.memory.per.shard.bytes` has the same bound.
const SHARD_BYTES_MIN: u64 = 16 << 20;

/// The parts of the memory behind [`SPARED_BYTES`] that shards get at most, and of all the memory that keeps what is read
/// from disk: the rest is for the kernel's sockets and page cache, which a control group counts too.
const SHARDS_PART: u64 = 2;
const READ_CACHE_PART: u64 = 8;

const PER_SHARD: &str = "millrace.memory.per.shard.bytes";
const READ_CACHE: &str = "millrace.read.cache.bytes.per.shard";
const REQUEST_MAX: &str = "socket.request.max.bytes";

/// How the memory is divided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What the process may use; 0 is unknown.
    pub limit_bytes: u64,
    /// Who says so.
    pub limit_origin: String,
    /// Shards.
    pub shards: u64,
    /// For data of each shard.
    pub shard_bytes: u64,
    /// For what each shard keeps of reads from disk.
    pub read_cache_bytes: u64,
}

impl MemoryPlan {
    /// Plans for so many shards. What the settings leave open is made to fit.
    ///
    /// # Errors
    /// It does not fit, in words for the owner.
    pub fn new(
        config: &BrokerConfig,
        shards: usize,
        limit_bytes: u64,
        limit_origin: String,
    ) -> Result<Self, String> {
        let shards = shards.max(1) as u64;
        let known = if limit_bytes == 0 { u64::MAX } else { limit_bytes };
        let shard_bytes = if config.is_set(PER_SHARD) {
            config.memory_per_shard_bytes() as u64
        } else {
            // The table's default is the most that is taken unasked.
            let share = known.saturating_sub(SPARED_BYTES) / SHARDS_PART / shards;
            share.clamp(SHARD_BYTES_MIN, config.memory_per_shard_bytes() as u64)
        };
        let read_cache_bytes = match config.read_cache_bytes_per_shard() {
            Some(bytes) => bytes,
            None => {
                let left =
                    known.saturating_sub(SPARED_BYTES).saturating_sub(shards.saturating_mul(shard_bytes));
                (limit_bytes / READ_CACHE_PART).min(left) / shards
            }
        };
        let plan = Self { limit_bytes, limit_origin, shards, shard_bytes, read_cache_bytes };
        if plan.sum_bytes() > known { Err(plan.refusal()) } else { Ok(plan) }
    }

    /// All that the process may come to take.
    #[must_use]
    pub fn sum_bytes(&self) -> u64 {
        self.shards
            .saturating_mul(self.shard_bytes.saturating_add(self.read_cache_bytes))
            .saturating_add(BASE_BYTES)
    }

    /// The settings that this decides, where they were left open.
    #[must_use]
    pub fn settings(&self, config: &BrokerConfig) -> Settings {
        let mut settings = Settings::new();
        if !config.is_set(PER_SHARD) {
            settings.insert(PER_SHARD.to_owned(), self.shard_bytes.to_string());
        }
        if config.read_cache_bytes_per_shard().is_none() {
            settings.insert(READ_CACHE.to_owned(), self.read_cache_bytes.to_string());
        }
        // A request is held whole: one of the usual largest size must not take what is meant for four shards.
        let request_max = self.shard_bytes / 4;
        let is_short = self.shard_bytes < config.memory_per_shard_bytes() as u64;
        if is_short && !config.is_set(REQUEST_MAX) && request_max < config.socket_request_bytes_max() as u64 {
            settings.insert(REQUEST_MAX.to_owned(), request_max.to_string());
        }
        settings
    }

    fn refusal(&self) -> String {
        let Self { shards, shard_bytes, read_cache_bytes, .. } = self;
        format!(
            "{shards} shard(s) with {} of {PER_SHARD} and {} of {READ_CACHE} each, and {} for the rest, are {}; {} allows {}. \
             Lower these settings or the number of --cores, or raise the limit",
            Bytes(*shard_bytes),
            Bytes(*read_cache_bytes),
            Bytes(BASE_BYTES),
            Bytes(self.sum_bytes()),
            self.limit_origin,
            Bytes(self.limit_bytes),
        )
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard, cache) = (Bytes(self.shard_bytes), Bytes(self.read_cache_bytes));
        write!(formatter, "{shard} and a read cache of {cache} per core")?;
        match self.limit_bytes {
            0 => Ok(()),
            limit => write!(formatter, "; {} has {}", self.limit_origin, Bytes(limit)),
        }
    }
}

/// Bytes in a unit that a person reads.
#[derive(Debug, Clone, Copy)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 10 << 30 => write!(formatter, "{} GiB", bytes >> 30),
            bytes if bytes >= 10 << 20 || bytes.is_multiple_of(1 << 20) => {
                write!(formatter, "{} MiB", bytes >> 20)
            }
            bytes => write!(formatter, "{bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn plan(settings: &[(&str, &str)], shards: usize, limit_mib: u64) -> Result<MemoryPlan, String> {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let config = BrokerConfig::from_static(settings).unwrap();
        MemoryPlan::new(&config, shards, limit_mib * MIB, "the machine".to_owned())
    }

    #[test]
    fn what_is_left_open_fits() {
        for (shards, limit_mib, shard_mib, read_cache_mib) in [
            (2, 128, 16, 8),
            (2, 256, 48, 16),
            (2, 512, 112, 32),
            (2, 900, 209, 56),
            (2, 2048, 256, 128),
            (2, 24_000, 256, 1500),
            (64, 256_000, 256, 500),
            (64, 8192, 63, 16),
            (1, 100, 18, 12),
        ] {
            let plan = plan(&[], shards, limit_mib).unwrap();
            let found = (plan.shard_bytes / MIB, plan.read_cache_bytes / MIB);
            assert_eq!(found, (shard_mib, read_cache_mib), "{shards} {limit_mib}");
            assert!(plan.sum_bytes() <= limit_mib * MIB, "{plan:?}");
        }
        // Without a known limit the table's default counts, and nothing is kept of reads.
        let unknown = plan(&[], 2, 0).unwrap();
        assert_eq!((unknown.shard_bytes, unknown.read_cache_bytes), (256 * MIB, 0));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_numbers() {
        let set = |key, value| [(key, value)];
        for (settings, shards, limit_mib, words) in [
            (
                &set(PER_SHARD, "268435456")[..],
                2,
                512,
                &["256 MiB", "544 MiB", "the machine allows 512 MiB"][..],
            ),
            (&set(READ_CACHE, "268435456"), 2, 512, &["read.cache", "512 MiB"]),
            (&[], 16, 256, &["16 shard(s)", "--cores"]),
        ] {
            let refusal = plan(settings, shards, limit_mib).unwrap_err();
            for word in words {
                assert!(refusal.contains(word), "{word} is not in {refusal}");
            }
        }
        assert!(plan(&set(PER_SHARD, "268435456"), 2, 600).is_ok());
        assert!(plan(&set(PER_SHARD, "268435456"), 2, 0).is_ok());
    }

    #[test]
    fn only_what_was_left_open_is_decided() {
        let decided = |settings: &[(&str, &str)]| {
            let all = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let config = BrokerConfig::from_static(all).unwrap();
            plan(settings, 2, 256).unwrap().settings(&config).into_iter().collect::<Vec<_>>()
        };
        let pair = |key: &str, value: u64| (key.to_owned(), value.to_string());
        let all = [pair(PER_SHARD, 48 * MIB), pair(READ_CACHE, 16 * MIB), pair(REQUEST_MAX, 12 * MIB)];
        assert_eq!(decided(&[]), all);
        let explicit = [(PER_SHARD, "33554432"), (READ_CACHE, "0"), (REQUEST_MAX, "104857600")];
        assert_eq!(decided(&explicit), []);
    }
}
