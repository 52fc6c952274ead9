//! The real effects: a thin reactor on io_uring, one ring per shard.
//!
//! Invariants: no borrowed memory ever reaches the ring ([`payload`]); a slot outlives its operation
//! ([`reactor`]); what may block runs on helper threads ([`helper`]).

mod address;
mod clock;
mod dir_sync;
mod disk;
mod durable_write;
mod fd;
mod file;
mod helper;
mod net;
mod pace;
mod payload;
mod port;
mod reactor;
mod ring;
mod send_file;
mod slots;
mod timers;

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use clock::UringClock;
pub use disk::UringDisk;
pub(crate) use disk::space;
pub use durable_write::DurableWrite;
pub(crate) use fd::{check, exit_now, pin_to_core};
pub use file::UringFile;
pub use net::{UringListener, UringNet, UringStream};
pub use port::wait_for_port;
pub use reactor::Sleep;

use crate::buffer::BufferPool;
use crate::effects::Effects;
use crate::executor::{self, Executor};
use crate::shards::ShardOptions;
use crate::stats::RuntimeStats;
use durable_write::DurableChooser;
use reactor::{Reactor, ReactorDriver};

/// All effects of one shard, for real. Clones are the same shard; it stays on its thread.
#[derive(Clone)]
pub struct UringEffects {
    shard: Rc<Shard>,
}

struct Shard {
    clock: UringClock,
    disk: UringDisk,
    net: UringNet,
    reactor: Rc<Reactor>,
    executor: Executor,
    buffers: BufferPool,
    random: RefCell<fastrand::Rng>,
}

impl UringEffects {
    /// The counters of this shard.
    #[must_use]
    pub fn stats(&self) -> RuntimeStats {
        let shard = &self.shard;
        let (sqes, enters) = shard.reactor.ring_counters();
        RuntimeStats {
            executor: shard.executor.stats(),
            sqes,
            cqes: shard.reactor.cqes.get(),
            enters,
            wakes: shard.reactor.wakes.get(),
            operations: shard.reactor.slots.borrow().in_flight(),
            helper_queue: helper::queue_len(),
            buffers_used_bytes: shard.buffers.used_bytes(),
            buffers_budget_bytes: shard.buffers.budget_bytes(),
        }
    }

    /// Waits for `duration`.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        use crate::effects::Clock;
        self.shard.clock.sleep_until(self.shard.clock.now() + duration)
    }
}

impl fmt::Debug for UringEffects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringEffects").field("reactor", &self.shard.reactor).finish_non_exhaustive()
    }
}

impl Effects for UringEffects {
    type Clock = UringClock;
    type Disk = UringDisk;
    type Net = UringNet;

    fn clock(&self) -> &UringClock {
        &self.shard.clock
    }

    fn disk(&self) -> &UringDisk {
        &self.shard.disk
    }

    fn net(&self) -> &UringNet {
        &self.shard.net
    }

    fn buffers(&self) -> &BufferPool {
        &self.shard.buffers
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.shard.executor.spawn(task);
    }

    fn random(&self) -> u64 {
        self.shard.random.borrow_mut().u64(..)
    }

    fn hold_open(&self, file: &Arc<fs::File>) -> io::Result<()> {
        self.shard.reactor.hold_open(file)
    }

    async fn compute<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        helper::run(helper::Lane::Compute, move || Ok(job())).await
    }

    async fn send_file(
        &self,
        stream: &UringStream,
        file: &UringFile,
        offset: u64,
        length: u64,
    ) -> io::Result<()> {
        send_file::send_file(&self.shard.buffers, stream, file, offset, length).await
    }
}

/// A shard whose ring is set up, on its own thread, ready to run.
pub(crate) struct PreparedShard {
    effects: UringEffects,
    driver: ReactorDriver,
}

impl PreparedShard {
    /// Sets up the ring of the current thread.
    pub(crate) fn new(options: &ShardOptions) -> io::Result<Self> {
        let reactor = Reactor::new(options.ring_entries)?;
        let executor = Executor::new(reactor.unparker(), options.stall_threshold);
        let durable = Rc::new(DurableChooser::new(options.durable_write));
        let context = file::DiskContext { reactor: Rc::clone(&reactor), durable, pace: Rc::default() };
        file::set_context(Some(context));
        let shard = Shard {
            clock: UringClock { reactor: Rc::clone(&reactor) },
            disk: UringDisk::new(),
            net: UringNet { reactor: Rc::clone(&reactor) },
            reactor: Rc::clone(&reactor),
            executor,
            buffers: BufferPool::new(options.buffer_budget_bytes),
            random: RefCell::new(fastrand::Rng::new()),
        };
        let driver = ReactorDriver { reactor, spin: options.spin };
        Ok(Self { effects: UringEffects { shard: Rc::new(shard) }, driver })
    }

    /// Runs `main` to its end, then waits until the kernel is done with what it left behind.
    pub(crate) fn run<T: 'static, Fut: Future<Output = T> + 'static>(
        mut self,
        main: impl FnOnce(UringEffects) -> Fut,
    ) -> T {
        let executor = self.effects.shard.executor.clone();
        executor::run(&executor, &mut self.driver, main(self.effects.clone()))
    }
}

impl Drop for PreparedShard {
    fn drop(&mut self) {
        file::set_context(None);
        // After a panic the process ends, and what the kernel may still use is better left alone.
        if !std::thread::panicking() {
            self.driver.reactor.drain();
        }
    }
}

#[cfg(test)]
#[path = "uring_test.rs"]
mod tests;
