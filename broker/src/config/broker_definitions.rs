//! The settings of a broker that Millrace acts on.

use super::definition::Reason::{NoTransactions, OneNode};
use super::definition::Rule::{AtLeast, Between, Cores, EachOf, HostPortOrEmpty, Listeners, OneOf};
use super::definition::ValueType::{Boolean, Int, List, Long, Short, String};
use super::definition::{Definition, same};
use super::topic_definitions::{CLEANUP_POLICIES, DURABILITIES, TIMESTAMP_TYPES};

/// The largest number that Kafka writes for "never".
const NEVER: &str = "9223372036854775807";

/// Rows in alphabetical order; a test says so.
#[rustfmt::skip]
pub(super) static BROKER: &[Definition] = &[
    Definition::broker("advertised.listeners", List, "", "The addresses that clients are told to connect to: those of the listener of this name get this one. Without one, a client is told the address that it connected to.")
        .null().rule(Listeners).high(),
    Definition::broker("auto.create.topics.enable", Boolean, "true", "Whether a topic is created when a client asks for the metadata of one that does not exist.").high(),
    Definition::broker("broker.id", Int, "-1", "The old name of node.id.").high(),
    Definition::broker("broker.rack", String, "", "The rack or zone of this broker, told to clients.").null(),
    Definition::broker("connections.max.idle.ms", Long, "600000", "A connection without traffic for this long is closed; negative is never."),
    Definition::broker("controller.listener.names", List, "", "Listeners of these names in listeners are left out: there is no separate controller.").high(),
    Definition::broker("delete.topic.enable", Boolean, "true", "Whether topics can be deleted.").high(),
    Definition::broker("durability", String, "quorum-fsync", "The durability of topics that do not set their own.")
        .rule(OneOf(DURABILITIES)).cluster_wide().high(),
    Definition::broker("fetch.max.bytes", Int, "57671680", "The largest fetch response; a client's smaller limit wins.")
        .rule(AtLeast(1024)),
    Definition::broker("group.initial.rebalance.delay.ms", Int, "3000", "How long a new consumer group waits for more members before its first assignment.")
        .rule(AtLeast(0)),
    Definition::broker("group.max.session.timeout.ms", Int, "1800000", "The longest session timeout a group member may ask for.").rule(AtLeast(0)),
    Definition::broker("group.max.size", Int, "2147483647", "The most members of one consumer group.").rule(AtLeast(1)),
    Definition::broker("group.min.session.timeout.ms", Int, "6000", "The shortest session timeout a group member may ask for.").rule(AtLeast(0)),
    Definition::broker("inter.broker.listener.name", String, "", "The listener that brokers use among themselves.").null().stored(OneNode),
    Definition::broker("listener.security.protocol.map", String, "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL", "The protocol of each listener name, such as INTERNAL:PLAINTEXT. Only PLAINTEXT listeners can be opened yet.").low(),
    Definition::broker("listeners", List, "PLAINTEXT://127.0.0.1:9092", "The addresses to listen on, each with a name and a port of its own; an empty host is all interfaces.")
        .rule(Listeners).high(),
    Definition::broker("log.cleanup.policy", List, "delete", "The cleanup.policy of topics that do not set their own.")
        .rule(EachOf(CLEANUP_POLICIES)).cluster_wide(),
    Definition::broker("log.dir", List, "./millrace-data", "The data directory, where log.dirs is not set.").high(),
    Definition::broker("log.dirs", List, "", "The data directory; exactly one.").null().from(&[same("log.dir")]).high(),
    Definition::broker("log.index.interval.bytes", Int, "4096", "The index.interval.bytes of topics that do not set their own.")
        .rule(AtLeast(0)).cluster_wide(),
    Definition::broker("log.index.size.max.bytes", Int, "10485760", "The segment.index.bytes of topics that do not set their own.")
        .rule(AtLeast(4)).cluster_wide(),
    Definition::broker("log.message.timestamp.after.max.ms", Long, "3600000", "The message.timestamp.after.max.ms of topics that do not set their own.")
        .rule(AtLeast(0)).cluster_wide(),
    Definition::broker("log.message.timestamp.before.max.ms", Long, NEVER, "The message.timestamp.before.max.ms of topics that do not set their own.")
        .rule(AtLeast(0)).cluster_wide(),
    Definition::broker("log.message.timestamp.type", String, "CreateTime", "The message.timestamp.type of topics that do not set their own.")
        .rule(OneOf(TIMESTAMP_TYPES)).cluster_wide(),
    Definition::broker("log.retention.bytes", Long, "-1", "The retention.bytes of topics that do not set their own.").cluster_wide().high(),
    Definition::broker("log.retention.check.interval.ms", Long, "300000", "How often segments are checked against the retention limits.")
        .rule(AtLeast(1)),
    Definition::broker("log.retention.hours", Int, "168", "The retention.ms of topics, in hours, where no finer key is set; -1 is no limit.").rule(AtLeast(-1)).high(),
    Definition::broker("log.retention.minutes", Int, "", "The retention.ms of topics, in minutes, where log.retention.ms is not set; -1 is no limit.").null().rule(AtLeast(-1)).high(),
    Definition::broker("log.retention.ms", Long, "", "The retention.ms of topics that do not set their own; -1 is no limit.").null().rule(AtLeast(-1)).cluster_wide().high(),
    Definition::broker("log.roll.hours", Int, "168", "The segment.ms of topics, in hours, where log.roll.ms is not set.").rule(AtLeast(1)).high(),
    Definition::broker("log.roll.jitter.hours", Int, "0", "The segment.jitter.ms of topics, in hours, where log.roll.jitter.ms is not set.").rule(AtLeast(0)).high(),
    Definition::broker("log.roll.jitter.ms", Long, "", "The segment.jitter.ms of topics that do not set their own.").null().rule(AtLeast(0)).cluster_wide().high(),
    Definition::broker("log.roll.ms", Long, "", "The segment.ms of topics that do not set their own.").null().rule(AtLeast(1)).cluster_wide().high(),
    Definition::broker("log.segment.bytes", Int, "1073741824", "The segment.bytes of topics that do not set their own.")
        .rule(AtLeast(1_048_576)).cluster_wide().high(),
    Definition::broker("log.segment.delete.delay.ms", Long, "60000", "The file.delete.delay.ms of topics that do not set their own.")
        .rule(AtLeast(0)).cluster_wide().high(),
    Definition::broker("max.connections", Int, "2147483647", "The most connections of this broker, an equal part of them on each shard; more are closed at once.").rule(AtLeast(0)).cluster_wide(),
    Definition::broker("max.incremental.fetch.session.cache.slots", Int, "1000", "The most incremental fetch sessions that are kept.").rule(AtLeast(0)),
    Definition::broker("max.request.partition.size.limit", Int, "2000", "The most partitions in one answer of DescribeTopicPartitions.").rule(AtLeast(1)),
    Definition::broker("message.max.bytes", Int, "1048588", "The max.message.bytes of topics that do not set their own.").rule(AtLeast(0)).cluster_wide().high(),
    Definition::broker("millrace.admin.listen", String, "127.0.0.1:9644", "Where the admin HTTP server listens (/metrics, /health/live, /health/ready).")
        .rule(HostPortOrEmpty),
    Definition::broker("millrace.checkpoint.bytes", Long, "67108864", "A log's recovery point is written after this much new data.").rule(AtLeast(1_048_576)).low(),
    Definition::broker("millrace.checkpoint.ms", Long, "30000", "A changed log's recovery point is written at least this often.").rule(AtLeast(100)).low(),
    Definition::broker("millrace.cores", String, "", "The cores that run a shard each.").rule(Cores).high(),
    Definition::broker("millrace.disk.reserve.bytes", Long, "67108864", "With less free space than this, produce requests are refused with a retriable error; fetching and deleting go on.")
        .rule(AtLeast(0)),
    Definition::broker("millrace.fetch.sealed", String, "direct", "How closed segments are sent to consumers: sendfile through the page cache, or direct reads with checksums verified.")
        .rule(OneOf(&["sendfile", "direct"])),
    Definition::broker("millrace.journal.bytes.per.shard", Long, "33554432", "The file that acknowledges small appends to several logs by one write, made when it is first needed; 0 does without.")
        .rule(AtLeast(0)).low(),
    Definition::broker("millrace.memory.per.shard.bytes", Long, "268435456", "The memory of one shard for data: up to half of it are append chunks, pending and cached; a quarter is for requests on their way in. The default is less where all shards together would take more than half of what the machine has or the control group allows.").rule(AtLeast(16_777_216)).high(),
    Definition::broker("millrace.metrics.partitions.max", Int, "0", "The most partitions whose log start and end, and high watermark, /metrics tells one by one; the first ones by topic and number, internal topics left out. 0 tells none.")
        .rule(Between(0, 10_000)).low(),
    Definition::broker("millrace.produce.validation", String, "records", "What is looked at before a producer's batch is appended: every record in it, compressed or not, as Kafka does; or only the checksum and the header, which is then believed. Wrong batches break consumers, look-ups by time and retention: choose header only where all producers are known to be right.")
        .rule(OneOf(&["records", "header"])),
    Definition::broker("millrace.read.cache.bytes.per.shard", Long, "-1", "Memory of one shard that keeps what fetches read from disk for the next reader, beside millrace.memory.per.shard.bytes; what is not read again for a minute is given back. -1 is an eighth of what the machine has or the control group allows, for all shards together; 0 keeps nothing.").rule(AtLeast(-1)),
    Definition::broker("millrace.spin.us", Int, "50", "How long a shard looks for work after the last before it sleeps; 0 is not at all.").rule(Between(0, 10_000)),
    Definition::broker("millrace.stall.us", Int, "1000", "A task that holds its shard for longer than this is counted as a stall.").rule(AtLeast(1)).low(),
    Definition::broker("millrace.unlink.pause.ms", Int, "20", "Removed files are unlinked at most one per this time, and large ones bit by bit, 16 MiB per this time, so that removing does not disturb writing.").rule(AtLeast(0)).low(),
    Definition::broker("min.insync.replicas", Int, "1", "The min.insync.replicas of topics that do not set their own.").rule(AtLeast(1)).cluster_wide().high(),
    Definition::broker("node.id", Int, "1", "The number of this broker in its cluster.").rule(AtLeast(0)).high(),
    Definition::broker("num.partitions", Int, "1", "The partitions of topics created without a number.").rule(AtLeast(1)),
    Definition::broker("offset.metadata.max.bytes", Int, "4096", "The longest text a client may commit beside an offset.").rule(AtLeast(0)).high(),
    Definition::broker("offsets.retention.check.interval.ms", Long, "600000", "How often committed offsets are checked for expiry.").rule(AtLeast(1)).high(),
    Definition::broker("offsets.retention.minutes", Int, "10080", "How long committed offsets are kept after their group has become empty.").rule(AtLeast(1)).high(),
    Definition::broker("offsets.topic.num.partitions", Int, "50", "The partitions of __consumer_offsets, fixed when it is created.").rule(AtLeast(1)).high(),
    Definition::broker("offsets.topic.replication.factor", Short, "1", "The replication factor of __consumer_offsets. One node holds one replica.").rule(AtLeast(1)).stored(OneNode).high(),
    Definition::broker("offsets.topic.segment.bytes", Int, "104857600", "The segment.bytes of __consumer_offsets.").rule(AtLeast(1)).high(),
    Definition::broker("producer.id.expiration.check.interval.ms", Int, "600000", "How often producers that have not written for so long are looked for.").rule(AtLeast(1)).low(),
    Definition::broker("producer.id.expiration.ms", Int, "86400000", "How long a producer's sequence numbers are remembered after its last write to a partition.").rule(AtLeast(1)).low(),
    Definition::broker("security.inter.broker.protocol", String, "PLAINTEXT", "Only PLAINTEXT is there yet.").rule(OneOf(&["PLAINTEXT"])),
    Definition::broker("socket.listen.backlog.size", Int, "50", "Connections that may wait to be accepted, per shard.").rule(AtLeast(1)),
    Definition::broker("socket.request.max.bytes", Int, "104857600", "The largest request; a connection that announces a larger one is closed. The default is a quarter of millrace.memory.per.shard.bytes where that had to be lowered.").rule(AtLeast(1)).high(),
    Definition::broker("transaction.max.timeout.ms", Int, "900000", "The longest transaction timeout a producer may ask for.").rule(AtLeast(1)).stored(NoTransactions).high(),
    Definition::broker("transactional.id.expiration.ms", Int, "604800000", "How long an unused transactional id is remembered.").rule(AtLeast(1)).stored(NoTransactions).high(),
];
