//! Forgets producers that have not written for `producer.id.expiration.ms`, in logs that are written and in those at rest.

use std::rc::Rc;

use model::ProducerId;
use runtime::{Clock, Effects};

use crate::Log;
use crate::shard::StorageShard;
use crate::upkeep::every;

/// Goes over all logs of the shard every now and then until it closes, a few producers at a time.
pub(crate) async fn run<E: Effects>(shard: Rc<StorageShard<E>>) {
    let pause_ms = shard.options.producer_expiry_check_ms;
    every(shard, pause_ms, async |log| log.expire_producers().await).await;
}

impl<E: Effects> Log<E> {
    /// Forgets the log's expired producers. Their snapshots lose them with the next checkpoint; what is loaded from an older
    /// one is looked through as well.
    async fn expire_producers(&self) {
        let expiration_ms = self.shard.options.producer_id_expiration_ms;
        let mut from = Some(ProducerId(i64::MIN));
        while let Some(id) = from {
            let now_ms = self.shard.effects.clock().unix_ms();
            from = self.state.borrow_mut().producers.expire_some(id, now_ms, expiration_ms);
            runtime::yield_now().await;
        }
    }
}
