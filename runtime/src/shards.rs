//! One pinned thread per shard, each with its own executor, ring and memory.

use std::io;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::uring::{DurableWrite, PreparedShard, UringEffects};

/// The process's exit code after a panic on a shard, where panics unwind: its siblings must not serve on without it. In a
/// release build a panic aborts the process at once.
pub const EXIT_SHARD_PANICKED: i32 = 70;

/// How one shard runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardOptions {
    /// The core to stay on; none: wherever the kernel puts the thread.
    pub core: Option<usize>,
    /// Entries of the submission queue; the completion queue has four times as many.
    pub ring_entries: u32,
    /// Aligned memory that the shard may use.
    pub buffer_budget_bytes: usize,
    /// How long to look for work before sleeping; zero: sleep at once.
    pub spin: Duration,
    /// Polls that take longer are counted as stalls.
    pub stall_threshold: Duration,
    /// How writes become durable.
    pub durable_write: DurableWrite,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self {
            core: None,
            ring_entries: 1024,
            buffer_budget_bytes: 512 << 20,
            spin: Duration::from_micros(50),
            stall_threshold: Duration::from_millis(1),
            durable_write: DurableWrite::default(),
        }
    }
}

/// Shards at work.
#[derive(Debug)]
pub struct RunningShards {
    threads: Vec<JoinHandle<()>>,
}

impl RunningShards {
    /// Waits until the main future of every shard has ended.
    pub fn join(self) {
        for thread in self.threads {
            // A shard that panics ends the process, so there is nothing to report here.
            let _ended = thread.join();
        }
    }
}

/// Starts one thread per element of `options` and runs `main(shard, effects)` on each until it ends. Returns
/// when all of them are ready.
///
/// # Errors
/// If a thread, its ring or its place on a core cannot be had; no `main` has run then.
pub fn run_shards<F, Fut>(options: Vec<ShardOptions>, main: F) -> io::Result<RunningShards>
where
    F: Fn(usize, UringEffects) -> Fut + Send + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let mut threads = Vec::new();
    let mut starts = Vec::new();
    for (shard, options) in options.into_iter().enumerate() {
        let main = main.clone();
        let (ready, is_ready) = mpsc::channel();
        let (start, may_start) = mpsc::channel::<()>();
        let work = move || {
            let _guard = AbortOnPanic;
            match prepare(&options) {
                Ok(prepared) => {
                    // Both ends fail only if the starting thread has given up; then nothing is to be done.
                    if ready.send(Ok(())).is_ok() && may_start.recv().is_ok() {
                        prepared.run(|effects| main(shard, effects));
                    }
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        threads.push(Builder::new().name(format!("shard-{shard}")).spawn(work)?);
        is_ready.recv().map_err(|_| io::Error::other("a shard ended while it was set up"))??;
        starts.push(start);
    }
    for start in starts {
        start.send(()).map_err(|_| io::Error::other("a shard ended before it was started"))?;
    }
    Ok(RunningShards { threads })
}

fn prepare(options: &ShardOptions) -> io::Result<PreparedShard> {
    if let Some(core) = options.core {
        crate::uring::pin_to_core(core)?;
    }
    PreparedShard::new(options).map_err(|error| explain(&error))
}

/// Adds what the checks of the machine have to say.
fn explain(error: &io::Error) -> io::Error {
    let findings: Vec<_> = crate::probe::start().iter().map(ToString::to_string).collect();
    let message = format!("cannot set up io_uring: {error}\n{}", findings.join("\n"));
    io::Error::new(error.kind(), message.trim_end().to_owned())
}

/// Ends the process when it is dropped by a panic. With `panic = "abort"` the panic itself does.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // At once: destructors of a process in this state are not to be trusted.
            crate::uring::exit_now(EXIT_SHARD_PANICKED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Every shard runs, on the core it was given, and join waits for all of them.
    #[test]
    fn all_shards_run_to_their_end() {
        let count = Arc::new(AtomicUsize::new(0));
        let options = ShardOptions { core: Some(0), ring_entries: 8, ..ShardOptions::default() };
        let counter = Arc::clone(&count);
        let shards = run_shards(vec![options; 3], move |shard, effects| {
            let counter = Arc::clone(&counter);
            async move {
                effects.sleep(Duration::from_micros(10)).await;
                counter.fetch_add(shard + 1, Ordering::Relaxed);
            }
        });
        shards.unwrap().join();
        assert_eq!(count.load(Ordering::Relaxed), 6);
    }

    /// A core that is not there is an error, and nothing runs.
    #[test]
    fn a_missing_core_is_an_error() {
        let options =
            vec![ShardOptions::default(), ShardOptions { core: Some(1000), ..ShardOptions::default() }];
        let error = run_shards(options, |_, _| async { panic!("must not run") }).unwrap_err();
        assert!(error.to_string().contains("core 1000"), "{error}");
    }

    /// A panic on one shard ends the process while its sibling sleeps.
    #[test]
    fn a_panic_ends_the_process() {
        const MARK: &str = "MILLRACE_TEST_PANIC";
        if std::env::var_os(MARK).is_some() {
            let shards = run_shards(vec![ShardOptions::default(); 2], |shard, _| async move {
                assert_ne!(shard, 1, "as intended");
                std::future::pending().await
            });
            shards.unwrap().join();
        }
        let name = "shards::tests::a_panic_ends_the_process";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", name]).env(MARK, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(EXIT_SHARD_PANICKED), "{output:?}");
    }
}
