//! What the controller needs of its node: who it is, and how images reach the shards.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{Either, LocalBoxFuture, join_all};
use model::{NodeId, TopicId};
use runtime::Effects;

use super::shard::Shard;
use crate::config::BrokerConfig;
use crate::controller::ControllerHost;
use crate::metadata::MetadataImage;

impl<E: Effects> ControllerHost<E> for Rc<Shard<E>> {
    fn effects(&self) -> &E {
        &self.effects
    }

    fn node_id(&self) -> NodeId {
        self.identity.node_id
    }

    fn config(&self) -> Arc<BrokerConfig> {
        Shard::config(self)
    }

    async fn publish(&self, image: &Arc<MetadataImage>, changed: &[TopicId]) -> LocalBoxFuture<'static, ()> {
        let mut followed = Vec::with_capacity(self.identity.placement.shards());
        for target in 0..self.identity.placement.shards() {
            let (image, changed) = (Arc::clone(image), changed.to_vec());
            followed.push(if target == self.index {
                Either::Left(self.apply_image(image, changed))
            } else {
                Either::Right(self.send_call(target, move |shard| shard.apply_image(image, changed)).await)
            });
        }
        join_all(followed).map(drop).boxed_local()
    }
}
