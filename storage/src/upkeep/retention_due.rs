//! Retention of logs that are due before its turn.

use std::rc::Rc;

use runtime::Effects;

use crate::shard::StorageShard;
use crate::upkeep::retention;

/// Runs until the shard closes.
pub(crate) async fn run<E: Effects>(shard: Rc<StorageShard<E>>) {
    while !shard.closing.get() {
        shard.retention_due.wait().await;
        let due = shard.retention_due.take(&shard.logs.borrow());
        for log in due {
            if shard.closing.get() {
                return;
            }
            retention::apply(&log).await;
        }
    }
}
