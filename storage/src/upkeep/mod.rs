//! What happens to logs beside appends and reads: sealing, checkpoints, retention, removal of files, cuts at their end.

pub(crate) mod maintenance;
pub(crate) mod producer_expiry;
pub(crate) mod removal;
pub(crate) mod retention;
pub(crate) mod space;
pub(crate) mod truncate;
pub(crate) mod unused_reads;

use std::rc::Rc;
use std::time::Duration;

use runtime::{Clock, Effects};

use crate::Log;
use crate::shard::StorageShard;

/// Does `work` to all logs of the shard, one after the other, every `pause_ms` until it closes.
async fn every<E: Effects>(shard: Rc<StorageShard<E>>, pause_ms: u64, work: impl AsyncFn(&Rc<Log<E>>)) {
    let pause = Duration::from_millis(pause_ms.max(1));
    // Keeps only a weak hold while it sleeps: the pause may be longer than the shard lives.
    let clock = shard.effects.clock().clone();
    let weak = Rc::downgrade(&shard);
    drop(shard);
    loop {
        clock.sleep_until(clock.now() + pause).await;
        let Some(shard) = weak.upgrade() else { return };
        if shard.closing.get() {
            return;
        }
        let logs: Vec<Rc<Log<E>>> = shard.logs.borrow().values().cloned().collect();
        for log in &logs {
            work(log).await;
        }
    }
}
