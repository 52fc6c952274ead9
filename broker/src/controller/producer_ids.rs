//! Producer ids that this shard may give away, taken from the controller in blocks.

use std::cell::Cell;

use futures_util::lock::Mutex;
use model::ProducerId;

use crate::metadata::ControllerError;
use crate::metadata::decide::PRODUCER_ID_BLOCK;

/// The shard's block. Lives on every shard.
#[derive(Debug, Default)]
pub struct ProducerIds {
    next: Cell<i64>,
    end: Cell<i64>,
    refill: Mutex<()>,
}

impl ProducerIds {
    /// A producer id that nobody else has or will ever get. `next_block` yields the first id of a block of
    /// [`PRODUCER_ID_BLOCK`] that are this shard's alone.
    ///
    /// # Errors
    /// What `next_block` says.
    pub async fn allocate(
        &self,
        next_block: impl AsyncFnOnce() -> Result<i64, ControllerError>,
    ) -> Result<ProducerId, ControllerError> {
        let _one_at_a_time = self.refill.lock().await;
        if self.next.get() == self.end.get() {
            let first = next_block().await?;
            self.next.set(first);
            self.end.set(first + PRODUCER_ID_BLOCK);
        }
        let id = self.next.get();
        self.next.set(id + 1);
        Ok(ProducerId(id))
    }
}
