//! Giving up what the read cache keeps and nobody needs.

use std::rc::Rc;
use std::time::Duration;

use runtime::{Clock, Effects};

use crate::shard::StorageShard;

/// How often that is looked at.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Runs until the shard closes.
pub(crate) async fn run<E: Effects>(shard: Rc<StorageShard<E>>) {
    while !shard.closing.get() {
        shard.read_cache.used().await;
        let clock = shard.effects.clock();
        clock.sleep_until(clock.now() + LOOK_PAUSE).await;
        shard.read_cache.give_up_unused(shard.now_ms());
    }
}
