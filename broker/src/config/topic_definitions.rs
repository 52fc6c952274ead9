//! The settings of a topic: every one that Kafka 4.4 has, and Millrace's own.

use super::definition::Reason::{
    AlwaysSynced, KafkaInternal, NoCompaction, NoTieredStorage, OneNode, PassThrough,
};
use super::definition::Rule::{
    AtLeast, Between, BetweenOr, EachOf, False, Fraction, OneOf, ThrottledReplicas,
};
use super::definition::ValueType::{Boolean, Double, Int, List, Long, String};
use super::definition::{Definition, hours, minutes, same};

/// The largest number that Kafka writes for "never".
const NEVER: &str = "9223372036854775807";

/// Rows in alphabetical order; a test says so.
#[rustfmt::skip]
pub(super) static TOPIC: &[Definition] = &[
    Definition::topic("cleanup.policy", List, "delete", "What happens to old segments: delete removes them by age and size; compact keeps the last record of each key; both may be named; empty keeps everything. Only delete removes anything yet; with compact, records without a key are refused, which is not looked for in compressed batches.")
        .rule(EachOf(CLEANUP_POLICIES)).from(&[same("log.cleanup.policy")]),
    Definition::topic("compression.gzip.level", Int, "-1", "")
        .rule(BetweenOr(1, 9, -1)).from(&[same("compression.gzip.level")]).stored(PassThrough),
    Definition::topic("compression.lz4.level", Int, "9", "")
        .rule(Between(1, 17)).from(&[same("compression.lz4.level")]).stored(PassThrough),
    Definition::topic("compression.type", String, "producer", "")
        .rule(OneOf(COMPRESSION_TYPES)).from(&[same("compression.type")]).stored(PassThrough),
    Definition::topic("compression.zstd.level", Int, "3", "")
        .rule(Between(-131_072, 22)).from(&[same("compression.zstd.level")]).stored(PassThrough),
    Definition::topic("delete.retention.ms", Long, "86400000", "")
        .rule(AtLeast(0)).from(&[same("log.cleaner.delete.retention.ms")]).stored(NoCompaction),
    Definition::topic("durability", String, "quorum-fsync", "What an acknowledgement promises. quorum-fsync: on stable storage at min.insync.replicas replicas. all-fsync: on stable storage at all in-sync replicas. kafka: written to the kernel, not synced; a power cut takes acknowledged records, and clients do not notice, since the leader epoch stays the same.")
        .rule(OneOf(DURABILITIES)).from(&[same("durability")]).high(),
    Definition::topic("file.delete.delay.ms", Long, "60000", "How long a removed segment stays on disk under its .deleted name.")
        .rule(AtLeast(0)).from(&[same("log.segment.delete.delay.ms")]),
    Definition::topic("flush.messages", Long, NEVER, "")
        .rule(AtLeast(1)).from(&[same("log.flush.interval.messages")]).stored(AlwaysSynced),
    Definition::topic("flush.ms", Long, NEVER, "")
        .rule(AtLeast(0)).from(&[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]).stored(AlwaysSynced),
    Definition::topic("follower.replication.throttled.replicas", List, "", "")
        .rule(ThrottledReplicas).stored(OneNode),
    Definition::topic("index.interval.bytes", Int, "4096", "An entry is added to the offset and time indexes after this many bytes of log.")
        .rule(AtLeast(0)).from(&[same("log.index.interval.bytes")]),
    Definition::topic("leader.replication.throttled.replicas", List, "", "")
        .rule(ThrottledReplicas).stored(OneNode),
    Definition::topic("local.retention.bytes", Long, "-2", "")
        .rule(AtLeast(-2)).from(&[same("log.local.retention.bytes")]).stored(NoTieredStorage),
    Definition::topic("local.retention.ms", Long, "-2", "")
        .rule(AtLeast(-2)).from(&[same("log.local.retention.ms")]).stored(NoTieredStorage),
    Definition::topic("max.compaction.lag.ms", Long, NEVER, "")
        .rule(AtLeast(1)).from(&[same("log.cleaner.max.compaction.lag.ms")]).stored(NoCompaction),
    Definition::topic("max.message.bytes", Int, "1048588", "The largest record batch that is accepted, after compression.")
        .rule(AtLeast(0)).from(&[same("message.max.bytes")]).high(),
    Definition::topic("message.timestamp.after.max.ms", Long, "3600000", "How far a record's timestamp may lie ahead of the broker's clock. Not checked with LogAppendTime.")
        .rule(AtLeast(0)).from(&[same("log.message.timestamp.after.max.ms")]),
    Definition::topic("message.timestamp.before.max.ms", Long, NEVER, "How far a record's timestamp may lie behind the broker's clock. Not checked with LogAppendTime.")
        .rule(AtLeast(0)).from(&[same("log.message.timestamp.before.max.ms")]),
    Definition::topic("message.timestamp.type", String, "CreateTime", "Whether a record keeps the producer's timestamp or gets the time of its append.")
        .rule(OneOf(TIMESTAMP_TYPES)).from(&[same("log.message.timestamp.type")]),
    Definition::topic("min.cleanable.dirty.ratio", Double, "0.5", "")
        .rule(Fraction).from(&[same("log.cleaner.min.cleanable.ratio")]).stored(NoCompaction),
    Definition::topic("min.compaction.lag.ms", Long, "0", "")
        .rule(AtLeast(0)).from(&[same("log.cleaner.min.compaction.lag.ms")]).stored(NoCompaction),
    Definition::topic("min.insync.replicas", Int, "1", "With acks=all, the replicas that must have a record before it is acknowledged, or all if a topic has fewer.")
        .rule(AtLeast(1)).from(&[same("min.insync.replicas")]).high(),
    Definition::topic("preallocate", Boolean, "false", "")
        .from(&[same("log.preallocate")]).stored(KafkaInternal),
    Definition::topic("remote.log.copy.disable", Boolean, "false", "").stored(NoTieredStorage),
    Definition::topic("remote.log.delete.on.disable", Boolean, "false", "").stored(NoTieredStorage),
    Definition::topic("remote.storage.enable", Boolean, "false", "")
        .rule(False("Tiered storage is not there yet")).stored(NoTieredStorage),
    Definition::topic("retention.bytes", Long, "-1", "Oldest segments of a partition are removed while it is larger than this; -1 is no limit.")
        .from(&[same("log.retention.bytes")]).high(),
    Definition::topic("retention.ms", Long, "604800000", "Segments whose newest record is older than this are removed; -1 is no limit.")
        .rule(AtLeast(-1)).from(&[same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")]).high(),
    Definition::topic("segment.bytes", Int, "1073741824", "A segment file is closed and a new one begun at this size.")
        .rule(AtLeast(1_048_576)).from(&[same("log.segment.bytes")]).high(),
    Definition::topic("segment.index.bytes", Int, "10485760", "The largest size of a segment's index; a full index begins a new segment.")
        .rule(AtLeast(4)).from(&[same("log.index.size.max.bytes")]),
    Definition::topic("segment.jitter.ms", Long, "0", "A random part of this is taken off segment.ms, so that segments do not all roll at once.")
        .rule(AtLeast(0)).from(&[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")]),
    Definition::topic("segment.ms", Long, "604800000", "A segment is closed at this age even when it is not full, so that retention can remove it.")
        .rule(AtLeast(1)).from(&[same("log.roll.ms"), hours("log.roll.hours")]),
    Definition::topic("unclean.leader.election.enable", Boolean, "false", "")
        .from(&[same("unclean.leader.election.enable")]).stored(OneNode),
];

pub(super) const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];
pub(super) const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
pub(super) const DURABILITIES: &[&str] = &["quorum-fsync", "all-fsync", "kafka"];
pub(super) const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
