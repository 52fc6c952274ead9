//! The stop of a node: answers what was taken, closes the logs, and lets clients read their answers.

use std::rc::Rc;

use runtime::Effects;

use crate::node::shard::Shard;

/// Ends the broker in order; runs on shard 0.
pub async fn take_down<E: Effects>(shard: &Rc<Shard<E>>) {
    shard.call_all(|shard| async move { shard.connections.drain(&shard).await }).await;
    // Nobody can be told any more what becomes of an append.
    shard.call_all(|shard| async move { shard.refuse_appends() }).await;
    let closed = shard.call_all(|shard| async move { shard.logs.close().await }).await;
    let mut clean = true;
    for error in closed.into_iter().filter_map(Result::err) {
        tracing::error!(%error, "the logs could not be closed in order; the next start will recover them");
        clean = false;
    }
    if clean && let Err(error) = shard.identity.log_dir.mark_clean(&shard.effects).await {
        tracing::error!(%error, "the clean-shutdown marker could not be written");
    }
    shard.call_all(|shard| async move { shard.connections.wait_until_closed(&shard).await }).await;
    shard.call_all(|shard| async move { shard.connections.ended.notify_all() }).await;
}
