//! All effects of one simulated shard.

use std::fs;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::clock::SimClock;
use super::disk::{SimDisk, SimFile};
use super::net::{SimNet, SimStream};
use super::state::Boot;
use super::world::SimWorld;
use crate::buffer::BufferPool;
use crate::effects::{Clock, Effects, Stream};

/// The effects of one shard of one life of a node. After the node has stopped, nothing asked of them is
/// ever answered.
#[derive(Clone)]
pub struct SimEffects {
    world: SimWorld,
    boot: Boot,
    clock: SimClock,
    disk: SimDisk,
    net: SimNet,
    buffers: BufferPool,
}

impl SimEffects {
    pub(super) fn new(world: SimWorld, boot: Boot) -> Self {
        let shared = &world.shared;
        Self {
            clock: SimClock::new(shared.clone(), Some(boot)),
            disk: SimDisk::new(shared.clone(), boot),
            net: SimNet::new(shared.clone(), boot),
            buffers: BufferPool::new(BUFFERS_BYTES),
            boot,
            world,
        }
    }

    /// Another shard of the same node: the same disk and addresses, its own memory.
    #[must_use]
    pub fn shard(&self) -> Self {
        Self { buffers: BufferPool::new(BUFFERS_BYTES), ..self.clone() }
    }

    /// The same shard with a budget of aligned memory of this many bytes.
    #[must_use]
    pub fn with_buffers(&self, budget_bytes: usize) -> Self {
        Self { buffers: BufferPool::new(budget_bytes), ..self.clone() }
    }

    /// The world that this shard is part of.
    #[must_use]
    pub const fn world(&self) -> &SimWorld {
        &self.world
    }

    pub(super) const fn boot(&self) -> Boot {
        self.boot
    }
}

impl Effects for SimEffects {
    type Clock = SimClock;
    type Disk = SimDisk;
    type Net = SimNet;

    fn clock(&self) -> &SimClock {
        &self.clock
    }

    fn disk(&self) -> &SimDisk {
        &self.disk
    }

    fn net(&self) -> &SimNet {
        &self.net
    }

    fn buffers(&self) -> &BufferPool {
        &self.buffers
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if self.world.shared.lock().is_alive(self.boot) {
            self.world.executor.spawn(self.boot, task);
        }
    }

    fn random(&self) -> u64 {
        self.world.shared.lock().rng.u64(..)
    }

    /// A simulated node's operations end with its life.
    fn hold_open(&self, _file: &Arc<fs::File>) -> io::Result<()> {
        Ok(())
    }

    async fn compute<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let takes = Duration::from_nanos(self.random() % COMPUTE_NS_MAX);
        self.clock.sleep_until(self.clock.now() + takes).await;
        Ok(job())
    }

    async fn send_file(
        &self,
        stream: &SimStream,
        file: &SimFile,
        offset: u64,
        length: u64,
    ) -> io::Result<()> {
        let end = offset + length;
        let mut at = offset;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(SEND_FILE_PIECE);
            let piece = file.read_range(at, wanted).await?;
            if piece.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            at += piece.len() as u64;
            stream.send(vec![piece.into()]).await?;
        }
        Ok(())
    }
}

/// Aligned memory of a shard unless the test says otherwise.
const BUFFERS_BYTES: usize = 256 << 20;
/// Bytes that one step of `send_file` moves.
const SEND_FILE_PIECE: usize = 64 << 10;
/// What a job that computes may take, in virtual time.
const COMPUTE_NS_MAX: u64 = 10_000_000;
