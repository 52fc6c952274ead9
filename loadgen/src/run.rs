//! Sets a run up from the command line, drives it and reports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::acked::{AckedChecker, AckedWriter};
use crate::batch::{BatchShape, BatchTemplate, ProducerIdentity};
use crate::cli::{ConsumeArgs, EndToEndArgs, FetchArgs, LoadArgs, ProduceArgs, RunArgs};
use crate::clock::{Nanos, nanos};
use crate::consumer::{Audit, Consumer, ConsumerSpec, ReadRange};
use crate::control::{Control, LogEnd, TopicLeaders, resolve};
use crate::engine::{Engine, Plan};
use crate::fetch_request::{FETCH_KEY, FETCH_VERSION, FetchLimits};
use crate::meter::Meter;
use crate::pacer::FetchPace;
use crate::produce_request::{PRODUCE_KEY, PRODUCE_VERSION, ProduceShape};
use crate::producer::{Ledger, Producer, ProducerSpec};
use crate::report::Report;
use crate::verify::Verifier;

/// `loadgen produce`.
pub(crate) fn produce(args: &ProduceArgs) -> Result<Report> {
    let mut control = Control::connect(resolve(&args.run.bootstrap)?)?;
    let leaders = control.ensure_topic(&args.run.topic, args.run.partitions)?;
    let run = fastrand::u64(..);
    let producers = connect_producers(&args.run, &args.load, &leaders, &mut control, run)?;
    let plan = plan(&args.run, Some(&args.load), DURATION_S);
    let mut engine = Engine::new(plan, producers, Vec::new(), ledger(Some(&args.load))?, Audit::default())?;
    let (opened, closed) = engine.run()?;
    let meter = engine.ledger.meter;
    let offered_rate = args.load.rate;
    Ok(Report {
        mode: "produce",
        run,
        offered_rate,
        meter,
        opened,
        closed,
        violations: None,
        acked_checked: None,
    })
}

/// `loadgen consume`.
pub(crate) fn consume(args: &ConsumeArgs) -> Result<Report> {
    let mut control = Control::connect(resolve(&args.run.bootstrap)?)?;
    // One that waits for what will be written may come first; what is to be read must be there.
    let topic = &args.run.topic;
    ensure!(args.from_end || control.leaders(topic)?.is_some(), "there is no topic {topic} to read");
    let leaders = control.ensure_topic(topic, args.run.partitions)?;
    let extent = match (args.from_end, args.repeat) {
        (true, _) => Extent::Arriving,
        (false, repeat) => Extent::Stored { repeat },
    };
    let consumers = connect_consumers(
        &args.run,
        &args.fetch,
        &leaders,
        args.connections,
        args.in_flight,
        extent,
        args.rate,
    )?;
    let acked = args.check_acked.as_deref().map(AckedChecker::open).transpose()?;
    let acked_checked = acked.as_ref().map(AckedChecker::records);
    let gaps_allowed = args.allow_gaps || acked.is_some();
    let verifier = (!args.fetch.no_verify).then(|| Verifier::new(gaps_allowed));
    let audit = Audit { verifier, acked, ..Audit::default() };
    let endless = args.repeat || args.from_end;
    let plan = plan(&args.run, None, if endless { DURATION_S } else { CONSUME_DURATION_S });
    let mut engine = Engine::new(plan, Vec::new(), consumers, ledger(None)?, audit)?;
    let (opened, closed) = engine.run()?;
    let Engine { audit, ledger, .. } = engine;
    let violations = judge(audit, args.expect_records);
    let meter = ledger.meter;
    Ok(Report {
        mode: "consume",
        run: 0,
        offered_rate: None,
        meter,
        opened,
        closed,
        violations,
        acked_checked,
    })
}

/// `loadgen e2e`.
pub(crate) fn end_to_end(args: &EndToEndArgs) -> Result<Report> {
    let mut control = Control::connect(resolve(&args.run.bootstrap)?)?;
    let leaders = control.ensure_topic(&args.run.topic, args.run.partitions)?;
    ensure!(args.load.acks != 0, "end-to-end runs count acknowledged records: use --acks 1 or all");
    let run = fastrand::u64(..);
    let connections = args.consumer_connections;
    let consumers =
        connect_consumers(&args.run, &args.fetch, &leaders, connections, 1, Extent::Arriving, None)?;
    let producers = connect_producers(&args.run, &args.load, &leaders, &mut control, run)?;
    let verifier = (!args.fetch.no_verify).then(|| Verifier::new(false));
    let audit = Audit { verifier, end_to_end: Some(run), ..Audit::default() };
    let plan = plan(&args.run, Some(&args.load), DURATION_S);
    let mut ledger = ledger(Some(&args.load))?;
    ledger.meter.arrivals_expected = true;
    let mut engine = Engine::new(plan, producers, consumers, ledger, audit)?;
    let (opened, closed) = engine.run()?;
    let Engine { audit, ledger, .. } = engine;
    let meter = ledger.meter;
    let violations = judge(audit, Some(meter.acked_records_in_all));
    let offered_rate = args.load.rate;
    Ok(Report { mode: "e2e", run, offered_rate, meter, opened, closed, violations, acked_checked: None })
}

/// Which records consumers read.
#[derive(Debug, Clone, Copy)]
enum Extent {
    /// From the start to the present end.
    Stored { repeat: bool },
    /// From the present end on.
    Arriving,
}

fn judge(audit: Audit, expected: Option<u64>) -> Option<crate::verify::Violations> {
    let mut verifier = audit.verifier?;
    if let Some(acked) = audit.acked {
        acked.finish(&mut verifier);
    }
    Some(verifier.finish(expected))
}

fn ledger(load: Option<&LoadArgs>) -> Result<Ledger> {
    let acked = load.and_then(|load| load.acked_file.as_deref());
    Ok(Ledger { meter: Meter::new()?, budget: u64::MAX, acked: acked.map(AckedWriter::open).transpose()? })
}

fn plan(run: &RunArgs, load: Option<&LoadArgs>, duration_s: f64) -> Plan {
    // With a record count the duration is only a safety net.
    let duration_s =
        run.duration.unwrap_or(if run.records.is_some() { CONSUME_DURATION_S } else { duration_s });
    Plan {
        warmup: seconds_arg(run.warmup),
        duration: seconds_arg(duration_s),
        rate: load.and_then(|load| load.rate),
        records: run.records,
        spin: load.map_or(0, |load| load.spin_us * 1_000),
        broker_pid: run.broker_pid,
        progress: run.progress,
        until_disconnect: run.until_disconnect,
    }
}

fn seconds_arg(seconds: f64) -> Nanos {
    nanos(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4))
}

fn connect_producers(
    run: &RunArgs,
    load: &LoadArgs,
    leaders: &TopicLeaders,
    control: &mut Control,
    run_id: u64,
) -> Result<Vec<Producer>> {
    control.require(PRODUCE_KEY, "Produce", PRODUCE_VERSION)?;
    ensure!(load.connections > 0, "at least one connection");
    let in_flight_max = load.in_flight.unwrap_or(if load.rate.is_some() { 100 } else { 5 }).max(1);
    let in_flight_max = if load.idempotent { in_flight_max.min(5) } else { in_flight_max };
    let assignments = assign(&leaders.partitions, load.connections, load.shared_partitions);
    let mut producers = Vec::with_capacity(assignments.len());
    for ((address, partitions), number) in assignments.into_iter().zip(0..) {
        let identity = if load.idempotent { control.init_producer_id()? } else { ProducerIdentity::NONE };
        let shape = produce_shape(run, load, partitions.len());
        let spec = ProducerSpec { address, number, run: run_id, partitions, shape, in_flight_max, identity };
        producers.push(Producer::connect(spec)?);
    }
    Ok(producers)
}

fn produce_shape(run: &RunArgs, load: &LoadArgs, partitions: usize) -> ProduceShape {
    let value_len = load.record_size.max(crate::record::TRAILER_LEN);
    let records = match (load.batch_records, load.batch_bytes) {
        (Some(records), _) => records.max(1),
        (None, Some(bytes)) => BatchTemplate::records_for(bytes, value_len, load.keys),
        (None, None) if load.rate.is_some() => 1,
        (None, None) => BatchTemplate::records_for(BATCH_BYTES, value_len, load.keys),
    };
    ProduceShape {
        topic: run.topic.clone(),
        acks: load.acks,
        batches: load.partitions_per_request.clamp(1, partitions),
        batch: BatchShape { records, value_len, keys: load.keys },
        compression: load.compression,
    }
}

fn connect_consumers(
    run: &RunArgs,
    fetch: &FetchArgs,
    leaders: &TopicLeaders,
    connections: usize,
    in_flight_max: usize,
    extent: Extent,
    rate: Option<u64>,
) -> Result<Vec<Consumer>> {
    let limits = FetchLimits {
        wait_ms_max: fetch.fetch_wait_ms,
        bytes_min: 1,
        bytes_max: i32::try_from(fetch.fetch_bytes).context("--fetch-bytes is too large")?,
        partition_bytes_max: i32::try_from(fetch.partition_bytes)
            .context("--partition-bytes is too large")?,
    };
    // More connections than partitions would read the same records twice.
    let connections = connections.clamp(1, leaders.partitions.len().max(1));
    let mut consumers = Vec::new();
    let assignments = assign(&leaders.partitions, connections, false);
    let rate = rate.map(|rate| rate / u64::try_from(assignments.len()).unwrap_or(u64::MAX).max(1));
    for (address, partitions) in assignments {
        let mut control = Control::connect(address)?;
        control.require(FETCH_KEY, "Fetch", FETCH_VERSION)?;
        let (partitions, repeat) = read_ranges(&mut control, &run.topic, &partitions, extent)?;
        let topic = run.topic.clone();
        consumers.push(Consumer::connect(ConsumerSpec {
            address,
            topic,
            partitions,
            in_flight_max,
            limits,
            repeat,
            pace: FetchPace::new(rate),
        })?);
    }
    Ok(consumers)
}

fn read_ranges(
    control: &mut Control,
    topic: &str,
    partitions: &[u32],
    extent: Extent,
) -> Result<(Vec<ReadRange>, bool)> {
    let latest = control.list_offsets(topic, partitions, LogEnd::Latest)?;
    let ranges = match extent {
        Extent::Arriving => partitions
            .iter()
            .zip(latest)
            .map(|(&partition, start)| ReadRange { partition, start, end: None })
            .collect(),
        Extent::Stored { .. } => {
            let earliest = control.list_offsets(topic, partitions, LogEnd::Earliest)?;
            let bounds = earliest.into_iter().zip(latest);
            let ranges = partitions.iter().zip(bounds);
            ranges.map(|(&partition, (start, end))| ReadRange { partition, start, end: Some(end) }).collect()
        }
    };
    Ok((ranges, matches!(extent, Extent::Stored { repeat: true })))
}

/// Deals the partitions to connections, each connection to one leader. A leader with more connections than partitions
/// gets several connections per partition; there are never fewer connections than leaders.
fn assign(partitions: &[(u32, SocketAddr)], connections: usize, shared: bool) -> Vec<(SocketAddr, Vec<u32>)> {
    let mut by_leader: BTreeMap<SocketAddr, Vec<u32>> = BTreeMap::new();
    for &(partition, leader) in partitions {
        by_leader.entry(leader).or_default().push(partition);
    }
    let leaders = by_leader.len().max(1);
    let connections = connections.max(leaders);
    let mut assignments = Vec::with_capacity(connections);
    for (leader_index, (address, owned)) in by_leader.into_iter().enumerate() {
        let count = (connections - leader_index).div_ceil(leaders);
        for connection in 0..count {
            let share = match (shared, count <= owned.len()) {
                (true, _) => owned.clone(),
                (false, true) => owned.iter().skip(connection).step_by(count).copied().collect(),
                (false, false) => vec![owned[connection % owned.len()]],
            };
            assignments.push((address, share));
        }
    }
    assignments
}

const DURATION_S: f64 = 10.0;
const CONSUME_DURATION_S: f64 = 600.0;
const BATCH_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn leader(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn partitions_are_dealt_to_connections() {
        let one: Vec<_> = (0..4).map(|p| (p, leader(1))).collect();
        let two: Vec<_> = (0..4).map(|p| (p, leader(if p < 3 { 1 } else { 2 }))).collect();
        let check = |partitions: &[(u32, SocketAddr)], connections, shared, expect: &[(u16, &[u32])]| {
            let expect: Vec<_> = expect.iter().map(|(port, owned)| (leader(*port), owned.to_vec())).collect();
            assert_eq!(assign(partitions, connections, shared), expect);
        };
        check(&one, 1, false, &[(1, &[0, 1, 2, 3])]);
        check(&one, 3, false, &[(1, &[0, 3]), (1, &[1]), (1, &[2])]);
        check(&one, 5, false, &[(1, &[0]), (1, &[1]), (1, &[2]), (1, &[3]), (1, &[0])]);
        check(&one, 2, true, &[(1, &[0, 1, 2, 3]), (1, &[0, 1, 2, 3])]);
        check(&two, 1, false, &[(1, &[0, 1, 2]), (2, &[3])]);
        check(&two, 3, false, &[(1, &[0, 2]), (1, &[1]), (2, &[3])]);
    }
}
