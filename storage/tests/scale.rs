//! Measures, on demand, what the targets of DESIGN.md section 11 say about storage alone; prints, never asserts on
//! time. `cargo test --release -p millrace-storage --test scale -- --ignored --nocapture --test-threads 1`
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use model::{LeaderEpoch, Offset, PartitionId, TopicPartition};
use runtime::{ShardOptions, UringEffects, run_shards};
use storage::{AppendOrigin, LogConfig, LogManagerOptions};
use support::{Broker, batch, builder, start_in, topic_id};

fn on_shard<F, Fut>(test: F)
where
    F: Fn(UringEffects) -> Fut + Send + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let options = vec![ShardOptions::default()];
    run_shards(options, move |_, effects| test(effects)).expect("shards start").join();
}

fn directory(name: &str) -> PathBuf {
    let base = std::env::var_os("MILLRACE_TEST_DIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    base.join(format!("millrace-scale-{name}"))
}

fn partition(n: i32) -> TopicPartition {
    TopicPartition::new("many", PartitionId(n))
}

async fn broker(effects: &UringEffects, path: &std::path::Path) -> Broker<UringEffects> {
    start_in(effects.clone(), path, LogManagerOptions::default(), None).await.unwrap()
}

#[test]
#[ignore = "measures"]
fn ten_thousand_partitions() {
    let path = directory("partitions");
    let _ = std::fs::remove_dir_all(&path);
    for life in ["create", "clean", "unclean"] {
        let path = path.clone();
        on_shard(move |effects| {
            let path = path.clone();
            async move {
                let started = Instant::now();
                let broker = broker(&effects, &path).await;
                println!(
                    "{life}: directory opened in {:?}, clean {}",
                    started.elapsed(),
                    broker.dir.was_clean()
                );
                let left = Rc::new(std::cell::Cell::new(0));
                let manager = &broker.manager;
                let mut next = 0;
                while next < 10_000 {
                    for n in next..next + 100 {
                        left.set(left.get() + 1);
                        let (manager, left) = (Rc::clone(manager), Rc::clone(&left));
                        runtime::Effects::spawn(&effects, async move {
                            manager.open_log(partition(n), topic_id(), LogConfig::default()).await.unwrap();
                            left.set(left.get() - 1);
                        });
                    }
                    next += 100;
                    while left.get() > 0 {
                        support::pause(&effects, 1).await;
                    }
                }
                println!("{life}: 10,000 logs open after {:?}", started.elapsed());
                let started = Instant::now();
                for log in manager.logs() {
                    log.append(&batch(1, 1, 100, 1_000), AppendOrigin::Client, LeaderEpoch(0), 1_000)
                        .unwrap();
                }
                for log in manager.logs() {
                    log.flush().await.unwrap();
                }
                println!("{life}: one batch to each, durable, after {:?}", started.elapsed());
                support::pause(&effects, 15_000).await;
                println!("{life}: chunk bytes {}", manager.stats().chunk_bytes);
                if life != "clean" {
                    let started = Instant::now();
                    broker.stop().await;
                    println!("{life}: closed in {:?}", started.elapsed());
                }
            }
        });
    }
    let _ = std::fs::remove_dir_all(&path);
}

#[test]
#[ignore = "measures"]
fn appends_and_restart() {
    let path = directory("restart");
    let _ = std::fs::remove_dir_all(&path);
    let bytes = 5u64 << 30;
    for life in ["fill", "after a kill"] {
        let path = path.clone();
        on_shard(move |effects| {
            let path = path.clone();
            async move {
                let started = Instant::now();
                let broker = broker(&effects, &path).await;
                let mut logs = Vec::new();
                for n in 0..6 {
                    let log = broker.manager.open_log(partition(n), topic_id(), LogConfig::default()).await;
                    logs.push(log.unwrap());
                }
                println!(
                    "{life}: six logs open in {:?}, end {}",
                    started.elapsed(),
                    logs[0].log_end_offset()
                );
                if life != "fill" {
                    return;
                }
                let sent = builder(1, 64, 1_000, 1_000).build();
                let started = Instant::now();
                let mut appended = 0;
                while appended < bytes {
                    for log in &logs {
                        broker.manager.admitted(sent.len()).await;
                        log.append(&sent, AppendOrigin::Client, LeaderEpoch(0), 1_000).unwrap();
                        appended += u64::try_from(sent.len()).unwrap();
                    }
                    while broker.manager.stats().durable_lag_bytes > 32 << 20 {
                        support::pause(&effects, 1).await;
                    }
                    runtime::yield_now().await;
                }
                for log in &logs {
                    log.flush().await.unwrap();
                }
                let stats = broker.manager.stats();
                println!(
                    "{life}: {appended} bytes durable in {:?}; written {}, prewritten {}, {} writes, mean {} ns",
                    started.elapsed(),
                    stats.bytes_written,
                    stats.bytes_prewritten,
                    stats.commit_write_ns.count,
                    stats.commit_write_ns.sum / stats.commit_write_ns.count
                );
            }
        });
    }
    let _ = std::fs::remove_dir_all(&path);
}

#[test]
#[ignore = "measures"]
fn one_batch_at_a_time() {
    let path = directory("latency");
    let _ = std::fs::remove_dir_all(&path);
    on_shard(move |effects| {
        let path = path.clone();
        async move {
            let broker = broker(&effects, &path).await;
            for size in [100, 4_000, 16_000, 64_000] {
                let n = i32::try_from(size).unwrap();
                let log =
                    broker.manager.open_log(partition(n), topic_id(), LogConfig::default()).await.unwrap();
                let sent = batch(1, 1, size, 1_000);
                let mut times: Vec<Duration> = Vec::new();
                for _ in 0..3_000 {
                    let started = Instant::now();
                    log.append(&sent, AppendOrigin::Client, LeaderEpoch(0), 1_000).unwrap();
                    log.flush().await.unwrap();
                    times.push(started.elapsed());
                }
                times.sort();
                println!("{size} bytes: p50 {:?}, p99 {:?}, end {}", times[1500], times[2970], Offset(3000));
            }
        }
    });
    let _ = std::fs::remove_dir_all(directory("latency"));
}
