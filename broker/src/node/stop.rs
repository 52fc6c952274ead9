//! The stop of a node: answers what was taken, closes the logs, and lets clients read their answers.

use std::rc::Rc;

use runtime::Effects;

use crate::api::services::ShardServices;
use crate::node::shard::Shard;

/// Ends the broker in order; runs on shard 0.
pub async fn take_down<E: Effects>(shard: &Rc<Shard<E>>) {
    shard
        .call_all(|shard| async move {
            begin_stop(&shard.services);
            shard.connections.drain(&shard.services).await;
        })
        .await;
    // Nobody can be told any more what becomes of an append.
    shard.call_all(|shard| async move { shard.services.current.refuse_appends() }).await;
    let closed = shard.call_all(|shard| async move { shard.services.logs.close().await }).await;
    let mut clean = true;
    for error in closed.into_iter().filter_map(Result::err) {
        tracing::error!(%error, "the logs could not be closed in order; the next start will recover them");
        clean = false;
    }
    let ShardServices { logs, effects, .. } = &*shard.services;
    if clean && let Err(error) = logs.dir().mark_clean(effects).await {
        tracing::error!(%error, "the clean-shutdown marker could not be written");
    }
    shard.call_all(|shard| async move { shard.connections.wait_until_closed(&shard.services).await }).await;
    shard.call_all(|shard| async move { shard.connections.ended.notify_all() }).await;
}

fn begin_stop<E: Effects>(services: &ShardServices<E>) {
    services.current.stop();
    services.replicas.stop();
    // Members that wait for a rebalance would otherwise hold up the end.
    services.coordinators.stop();
}
