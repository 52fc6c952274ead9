//! Proves that the log works on a real file system through io_uring, stopped cleanly and not, and that a
//! second broker is refused. `MILLRACE_TEST_DIR` keeps the directory, for a look with Kafka's own tools.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use model::Offset;
use runtime::{ShardOptions, UringEffects, run_shards};
use storage::{LOCK_PATIENCE, LogConfig, LogManagerOptions, SealedRead, StorageError};
use support::{append, append_durably, batch, idempotent, read_all, start_in};

/// Runs `test` on a real shard; a panic in it ends the process, which is a failed test too.
fn on_shard<F, Fut, T>(test: F) -> T
where
    F: Fn(UringEffects) -> Fut + Send + Clone + 'static,
    Fut: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (send, receive) = mpsc::channel();
    let options = vec![ShardOptions { buffer_budget_bytes: 64 << 20, ..ShardOptions::default() }];
    let shards = run_shards(options, move |_, effects| {
        let (test, send) = (test.clone(), send.clone());
        async move {
            let _ = send.send(test(effects).await);
        }
    });
    shards.expect("shards start").join();
    receive.recv().expect("the test ran")
}

fn directory(name: &str) -> PathBuf {
    let base = std::env::var_os("MILLRACE_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let path = base.join(format!("millrace-storage-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

fn cleanup(path: &Path) {
    if std::env::var_os("MILLRACE_TEST_DIR").is_none() {
        let _ = std::fs::remove_dir_all(path);
    }
}

#[test]
fn a_log_on_a_real_disk_comes_back() {
    let path = directory("real");
    let config = LogConfig { segment_bytes: 200_000, ..LogConfig::default() };
    for life in 0..4u64 {
        let (path, config) = (path.clone(), config.clone());
        on_shard(move |effects| {
            let (path, config) = (path.clone(), config.clone());
            async move {
                let sealed_read = if life % 2 == 0 { SealedRead::Direct } else { SealedRead::Sendfile };
                let options = LogManagerOptions {
                    sealed_read,
                    producer_id_expiration_ms: u64::MAX,
                    ..LogManagerOptions::default()
                };
                // The unclean life before the last never lets go of its lock, since its process goes on.
                let lock = (life < 3).then_some(LOCK_PATIENCE);
                let broker = start_in(effects.clone(), &path, options.clone(), lock).await.unwrap();
                let second = start_in(effects.clone(), &path, options, Some(Duration::ZERO)).await;
                assert!(matches!(second.err(), Some(StorageError::Locked { .. })));
                assert_eq!(broker.dir.was_clean(), life == 1 || life == 2);
                let log = broker.log(0, &config).await;
                let per_life = 121;
                assert_eq!(log.log_end_offset(), Offset(i64::try_from(life * per_life).unwrap()));
                for i in 0..per_life - 1 {
                    let sent = batch(
                        life * 1000 + i,
                        1,
                        usize::try_from(i * 61).unwrap() % 9000,
                        1_000 + i64::try_from(life * 1000 + i).unwrap(),
                    );
                    if i % 3 == 0 {
                        append_durably(&log, &sent).await;
                    } else {
                        append(&log, &sent).unwrap();
                    }
                }
                append_durably(&log, &idempotent(3, i32::try_from(life).unwrap(), 1)).await;
                assert_eq!(
                    read_all(&log, Offset(0), 40_000).await.unwrap().len(),
                    usize::try_from((life + 1) * per_life).unwrap()
                );
                assert!(log.segment_count() > 1);
                if life != 2 {
                    broker.stop().await;
                }
            }
        });
    }
    cleanup(&path);
}
