//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

use crate::batch::Keys;
use crate::codec::Compression;

/// Load generator and judge for any Kafka broker.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about, max_term_width = 110)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write records, saturating or at a fixed rate, and measure acknowledgement latency.
    Produce(ProduceArgs),
    /// Read records, measure throughput and verify count, order and checksums.
    Consume(ConsumeArgs),
    /// Write and read in one process; measure latency from intended send to arrival, and verify.
    E2e(EndToEndArgs),
    /// Create a topic.
    CreateTopic(CreateTopicArgs),
    /// Delete a topic.
    DeleteTopic(DeleteTopicArgs),
    /// Wait for the first Metadata answer and print how long it took.
    Probe(ProbeArgs),
    /// Serve a broker that acknowledges without storing: the generator's own ceiling.
    NullBroker(NullBrokerArgs),
}

/// Options of every run.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Broker to ask for the partition leaders.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap: String,
    /// Topic; created if it does not exist.
    #[arg(long, default_value = "loadgen")]
    pub(crate) topic: String,
    /// Partitions to use; also the number a new topic gets (1 if not given).
    #[arg(long)]
    pub(crate) partitions: Option<u32>,
    /// Longest measured window in seconds [default: 10, consume: 600].
    #[arg(long)]
    pub(crate) duration: Option<f64>,
    /// End after this many records in the measured window.
    #[arg(long)]
    pub(crate) records: Option<u64>,
    /// Seconds before the measured window.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) warmup: f64,
    /// Process of the broker: report its CPU, memory and disk writes in the measured window.
    #[arg(long)]
    pub(crate) broker_pid: Option<u32>,
    /// Print one JSON line instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write an HdrHistogram percentile file.
    #[arg(long, value_name = "FILE")]
    pub(crate) hdr: Option<PathBuf>,
    /// Print a progress line per second even without a terminal.
    #[arg(long)]
    pub(crate) progress: bool,
    /// A connection closed by the broker ends the run in good order (crash tests).
    #[arg(long)]
    pub(crate) until_disconnect: bool,
}

/// What is written.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    /// Bytes of a record's value (at least 40).
    #[arg(long, default_value = "1000", value_parser = parse_size)]
    pub(crate) record_size: usize,
    /// Fill batches up to this size [default: 64k; with --rate one record per batch].
    #[arg(long, value_parser = parse_size)]
    pub(crate) batch_bytes: Option<usize>,
    /// Records per batch, instead of --batch-bytes.
    #[arg(long, conflicts_with = "batch_bytes")]
    pub(crate) batch_records: Option<usize>,
    /// Batches (each of another partition) per request.
    #[arg(long, default_value_t = 1)]
    pub(crate) partitions_per_request: usize,
    /// 0, 1 or all.
    #[arg(long, default_value = "all", value_parser = parse_acks)]
    pub(crate) acks: i16,
    /// none, sequential or random:N.
    #[arg(long, default_value = "none")]
    pub(crate) keys: Keys,
    /// Codec of the batches.
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) compression: Compression,
    /// Producing connections; each writes to its own share of the partitions.
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// Every connection writes to all partitions.
    #[arg(long)]
    pub(crate) shared_partitions: bool,
    /// Requests in flight per connection [default: 5; with --rate 100].
    #[arg(long)]
    pub(crate) in_flight: Option<usize>,
    /// Open loop at this many records per second over all connections; without it, saturating.
    #[arg(long)]
    pub(crate) rate: Option<u64>,
    /// With --rate: stay awake this many microseconds before a send is due.
    #[arg(long, default_value_t = 50)]
    pub(crate) spin_us: u64,
    /// Ask for producer ids and number the batches (at most 5 in flight).
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// List acknowledged batches here: partition, base offset, first and last sequence, run, producer.
    #[arg(long, value_name = "FILE")]
    pub(crate) acked_file: Option<PathBuf>,
}

/// How records are read.
#[derive(Debug, Clone, Args)]
pub(crate) struct FetchArgs {
    /// Bytes per fetch response.
    #[arg(long, default_value = "8m", value_parser = parse_size)]
    pub(crate) fetch_bytes: usize,
    /// Bytes per partition in a fetch response.
    #[arg(long, default_value = "1m", value_parser = parse_size)]
    pub(crate) partition_bytes: usize,
    /// Milliseconds that the broker may wait for the first byte.
    #[arg(long, default_value_t = 500)]
    pub(crate) fetch_wait_ms: i32,
    /// Do not verify what is read.
    #[arg(long)]
    pub(crate) no_verify: bool,
}

/// `produce`.
#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    /// Options of every run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// What is written.
    #[command(flatten)]
    pub(crate) load: LoadArgs,
}

/// `consume`.
#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    /// Options of every run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// How records are read.
    #[command(flatten)]
    pub(crate) fetch: FetchArgs,
    /// Consuming connections; each reads its own share of the partitions.
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// Fetches in flight per connection, each for its own share of the connection's partitions.
    #[arg(long, default_value_t = 2)]
    pub(crate) in_flight: usize,
    /// Start at the end of the log instead of its beginning, and read what arrives.
    #[arg(long)]
    pub(crate) from_end: bool,
    /// At the end of a partition start again at its beginning, until --duration (default 10 s) has passed.
    #[arg(long, conflicts_with_all = ["from_end", "check_acked"])]
    pub(crate) repeat: bool,
    /// Read at most this many records per second over all connections; without it, as fast as possible.
    #[arg(long)]
    pub(crate) rate: Option<u64>,
    /// How many records the topic must hold; fewer or more fail the run.
    #[arg(long)]
    pub(crate) expect_records: Option<u64>,
    /// Every batch listed in this file must be found again at its offset, in order, once.
    #[arg(long, value_name = "FILE", conflicts_with = "no_verify")]
    pub(crate) check_acked: Option<PathBuf>,
    /// Sequences may be missing (writes of unknown outcome); implied by --check-acked.
    #[arg(long)]
    pub(crate) allow_gaps: bool,
}

/// `e2e`.
#[derive(Debug, Args)]
pub(crate) struct EndToEndArgs {
    /// Options of every run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// What is written.
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// How records are read.
    #[command(flatten)]
    pub(crate) fetch: FetchArgs,
    /// Consuming connections.
    #[arg(long, default_value_t = 1)]
    pub(crate) consumer_connections: usize,
}

/// `create-topic`.
#[derive(Debug, Args)]
pub(crate) struct CreateTopicArgs {
    /// Broker.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap: String,
    /// Name.
    #[arg(long, default_value = "loadgen")]
    pub(crate) topic: String,
    /// Number of partitions.
    #[arg(long, default_value_t = 1)]
    pub(crate) partitions: u32,
    /// Replication factor.
    #[arg(long, default_value_t = 1)]
    pub(crate) replication: i16,
    /// KEY=VALUE, may be repeated.
    #[arg(long = "config", value_parser = parse_pair)]
    pub(crate) configs: Vec<(String, String)>,
}

/// `delete-topic`.
#[derive(Debug, Args)]
pub(crate) struct DeleteTopicArgs {
    /// Broker.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap: String,
    /// Name.
    #[arg(long)]
    pub(crate) topic: String,
}

/// `probe`.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// Broker.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap: String,
    /// Also wait until every partition of this topic has a leader.
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// Start of the time measured, in nanoseconds of the Unix epoch (`date +%s%N`) [default: now].
    #[arg(long)]
    pub(crate) since_ns: Option<u64>,
    /// Give up after this many seconds.
    #[arg(long, default_value_t = 60.0)]
    pub(crate) timeout: f64,
}

/// `null-broker`.
#[derive(Debug, Args)]
pub(crate) struct NullBrokerArgs {
    /// Address to serve.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) listen: String,
    /// Partitions that every topic has.
    #[arg(long, default_value_t = 6)]
    pub(crate) partitions: u32,
    /// Verify the checksum of every batch, as a real broker must.
    #[arg(long)]
    pub(crate) check_crc: bool,
    /// Bytes of made-up records per partition in a Fetch response: the ceiling of fetching.
    #[arg(long, default_value = "1m", value_parser = parse_size)]
    pub(crate) fetch_bytes: usize,
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "sequential" => Ok(Self::Sequential),
            Some(("random", many)) => {
                many.parse().map(Self::Random).map_err(|error| format!("{many:?}: {error}"))
            }
            _ => Err("one of none, sequential, random:N".into()),
        }
    }
}

/// A number of bytes, with an optional k, m or g (powers of 1,024).
fn parse_size(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(['k', 'm', 'g']);
    let unit = match &lower[digits.len()..] {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        other => return Err(format!("unknown unit {other:?}")),
    };
    let number: usize = digits.parse().map_err(|error| format!("{digits:?}: {error}"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text} is too large"))
}

fn parse_acks(text: &str) -> Result<i16, String> {
    match text {
        "0" => Ok(0),
        "1" => Ok(1),
        "all" | "-1" => Ok(-1),
        _ => Err("one of 0, 1, all".into()),
    }
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE wanted")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        for (text, expect) in
            [("0", Some(0)), ("64k", Some(65_536)), ("2M", Some(2 << 20)), ("1g", Some(1 << 30))]
        {
            assert_eq!(parse_size(text).ok(), expect);
        }
        for text in ["", "k", "1kk", "-1", "99999999999g"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_and_acks_are_parsed() {
        assert_eq!("random:50".parse(), Ok(Keys::Random(50)));
        assert_eq!(("none".parse(), "sequential".parse()), (Ok(Keys::None), Ok(Keys::Sequential)));
        assert!("random".parse::<Keys>().is_err() && "random:x".parse::<Keys>().is_err());
        assert_eq!((parse_acks("all"), parse_acks("0")), (Ok(-1), Ok(0)));
        assert!(parse_acks("2").is_err());
    }
}
