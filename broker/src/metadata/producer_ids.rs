//! Producer ids that this shard may give away, taken from the controller in blocks.

use std::cell::Cell;
use std::rc::Rc;

use futures_util::lock::Mutex;
use model::ProducerId;
use runtime::Effects;

use super::decide::{AllocateProducerIds, PRODUCER_ID_BLOCK};
use crate::metadata::ControllerError;
use crate::node::shard::Shard;

/// The shard's block. Lives on every shard.
#[derive(Debug, Default)]
pub struct ProducerIds {
    next: Cell<i64>,
    end: Cell<i64>,
    refill: Mutex<()>,
}

impl ProducerIds {
    /// A producer id that nobody else has or will ever get.
    ///
    /// # Errors
    /// The controller could not record a new block.
    pub async fn allocate<E: Effects>(&self, shard: &Rc<Shard<E>>) -> Result<ProducerId, ControllerError> {
        let _one_at_a_time = self.refill.lock().await;
        if self.next.get() == self.end.get() {
            let first = shard
                .call_controller(|shard, controller| async move {
                    controller.change(&shard, AllocateProducerIds, false, None).await
                })
                .await?;
            self.next.set(first);
            self.end.set(first + PRODUCER_ID_BLOCK);
        }
        let id = self.next.get();
        self.next.set(id + 1);
        Ok(ProducerId(id))
    }
}
