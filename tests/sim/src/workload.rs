//! What clients and operators do to a server: a script drawn from a seed of its own, so that it is the same
//! whatever the disk does.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use model::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, RecordBatchBuilder, Sequence,
    TopicPartition, Uuid,
};
use runtime::{Clock, Effects};
use storage::{AppendError, AppendOrigin, CommitMode, CutCommitted, StorageError, TruncateError};

use crate::invariants::Broken;
use crate::oracle::{Clients, Oracle};
use crate::server::{Server, SimLog, config};

/// A batch of `count` records of `size` bytes each.
pub(crate) fn batch(id: ProducerId, sequence: i32, count: i32, size: usize, now_ms: i64) -> Bytes {
    let mut builder = RecordBatchBuilder::new(Offset(0)).producer(id, ProducerEpoch(0), Sequence(sequence));
    for record in 0..count {
        // Every record differs from every other.
        let mut value = format!("producer {id} sequence {} ", sequence + record).into_bytes();
        let mut rng = fastrand::Rng::with_seed(u64::from((sequence + record).unsigned_abs()));
        value.resize_with(value.len().max(size), || rng.u8(..));
        builder = builder.record(now_ms, None, Some(&value));
    }
    builder.build()
}

/// Appends a batch and tells the oracle.
pub(crate) async fn append(
    server: &Server,
    log: &Rc<SimLog>,
    oracle: &Rc<Oracle>,
    id: ProducerId,
    count: i32,
    size: usize,
) -> Result<(), Broken> {
    let now = server.effects.clock().unix_ms();
    let bytes = batch(id, oracle.producer(id).next_sequence, count, size, now);
    server.manager.admitted(bytes.len()).await;
    let epoch = log.latest_epoch().unwrap_or(LeaderEpoch(0));
    match log.append(&bytes, AppendOrigin::Client, epoch, now) {
        Ok(info) if info.duplicate => {
            Err(Broken::Wrong(format!("a new batch of {id} taken for a duplicate")))
        }
        Ok(info) => {
            oracle.sent(id, info.first_offset, info.last_offset, bytes);
            Ok(())
        }
        // A full disk refuses in time; nothing was stored.
        Err(AppendError::DiskFull { .. }) => Ok(()),
        Err(error) => Err(Broken::Stuck(error.to_string())),
    }
}

/// How a script ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything is flushed and the server goes on.
    Flushed,
    /// A clean shutdown.
    Closed,
}

/// Does `steps` things to the server.
pub(crate) async fn work(
    server: &Server,
    clients: &Clients,
    script_seed: u64,
    steps: usize,
    ending: Ending,
    commit_mode: CommitMode,
) -> Result<(), Broken> {
    let mut rng = fastrand::Rng::with_seed(script_seed);
    for _ in 0..steps {
        let number = rng.usize(0..server.logs.len());
        step(server, clients, number, &mut rng, commit_mode).await?;
    }
    for (log, oracle) in server.logs.iter().zip(&clients.oracles) {
        log.flush().await.map_err(stuck)?;
        if oracle.known().acked < log.log_end_offset() {
            return Err(Broken::Stuck("flushed and not acknowledged".into()));
        }
        log.check_invariants();
    }
    if ending == Ending::Closed {
        server.manager.close().await.map_err(stuck)?;
        server.dir.mark_clean(&server.effects).await.map_err(stuck)?;
    }
    Ok(())
}

async fn step(
    server: &Server,
    clients: &Clients,
    number: usize,
    rng: &mut fastrand::Rng,
    commit_mode: CommitMode,
) -> Result<(), Broken> {
    let (log, oracle) = (&server.logs[number], &clients.oracles[number]);
    log.update_high_watermark(log.durable_end());
    let id = ProducerId(i64::from(rng.u8(1..4)));
    match rng.u8(0..100) {
        0..40 => append(server, log, oracle, id, 1, rng.usize(1..600)).await,
        40..52 => append(server, log, oracle, id, rng.i32(1..4), rng.usize(1_000..5_000)).await,
        52..60 => {
            for _ in 0..rng.u8(2..12) {
                append(server, log, oracle, id, 1, rng.usize(1..100)).await?;
            }
            Ok(())
        }
        60..66 => together(server, clients, id, rng).await,
        66..75 => log.flush().await.map_err(stuck),
        75..78 => cut(server, log, oracle, rng).await,
        78..88 => {
            pause(server, Duration::from_micros(rng.u64(10..30_000))).await;
            Ok(())
        }
        88..90 => {
            log.assign_epoch(LeaderEpoch(log.latest_epoch().map_or(0, |epoch| epoch.0 + 1)));
            Ok(())
        }
        90..97 => {
            let keep = rng.u64(1..40_000);
            log.set_config(storage::LogConfig {
                retention_bytes: Some(keep),
                ..config(clients, commit_mode)
            });
            Ok(())
        }
        _ => create_and_delete(server, clients, rng, commit_mode).await,
    }
}

/// Cuts a log somewhere at its end, as a follower does; waits for a full disk.
async fn cut(
    server: &Server,
    log: &Rc<SimLog>,
    oracle: &Rc<Oracle>,
    rng: &mut fastrand::Rng,
) -> Result<(), Broken> {
    let (start, end) = (log.log_start_offset().0, log.log_end_offset().0);
    let mut offset = Offset(rng.i64(start.max(end - 30)..=end));
    let mut expected = oracle.cutting(offset);
    let found = loop {
        match log.truncate_to(offset, CutCommitted::Allow).await {
            Ok(end) => break end,
            Err(TruncateError::Storage(error)) if error.is_passing() => {
                pause(server, Duration::from_millis(50)).await;
            }
            // Retention was quicker.
            Err(TruncateError::BelowLogStart { log_start, .. }) => {
                offset = log_start;
                expected = oracle.cutting(offset);
            }
            Err(error) => return Err(Broken::Stuck(error.to_string())),
        }
    };
    log.check_invariants();
    oracle.cut(found, log.durable_end());
    if found == expected {
        Ok(())
    } else {
        Err(Broken::Wrong(format!("cut at {offset}, the log ends at {found} and not at {expected}")))
    }
}

/// Appends to all logs at once, a few times.
async fn together(
    server: &Server,
    clients: &Clients,
    id: ProducerId,
    rng: &mut fastrand::Rng,
) -> Result<(), Broken> {
    for _ in 0..rng.u8(8..24) {
        for (log, oracle) in server.logs.iter().zip(&clients.oracles) {
            append(server, log, oracle, id, 1, rng.usize(1..200)).await?;
            if rng.u8(0..3) == 0 {
                pause(server, Duration::from_micros(rng.u64(1..40))).await;
            }
        }
        pause(server, Duration::from_micros(rng.u64(1..300))).await;
    }
    Ok(())
}

/// A topic that comes and goes.
async fn create_and_delete(
    server: &Server,
    clients: &Clients,
    rng: &mut fastrand::Rng,
    commit_mode: CommitMode,
) -> Result<(), Broken> {
    let number = PartitionId(rng.i32(0..1_000_000));
    let tp = TopicPartition::new("short-lived", number);
    let log = match server.manager.open_log(tp.clone(), Uuid([99; 16]), config(clients, commit_mode)).await {
        Ok(log) => log,
        Err(error) if error.is_disk_full() => return Ok(()),
        Err(error) => return Err(stuck(error)),
    };
    let oracle = Rc::new(Oracle::default());
    for _ in 0..rng.u8(0..5) {
        append(server, &log, &oracle, ProducerId(9), 1, 300).await?;
    }
    drop(log);
    server.manager.delete_log(&tp).await.map_err(stuck)?;
    clients.deleted.borrow_mut().insert(tp);
    Ok(())
}

async fn pause(server: &Server, time: Duration) {
    let clock = server.effects.clock();
    clock.sleep_until(clock.now() + time).await;
}

fn stuck(error: StorageError) -> Broken {
    Broken::Stuck(error.to_string())
}
