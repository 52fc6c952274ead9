//! What the controller needs of its node: who it is, and how images reach the shards; and what a shard makes of one.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{Either, LocalBoxFuture, join_all};
use model::NodeId;
use runtime::Effects;

use crate::api::services::ShardServices;
use crate::config::BrokerConfig;
use crate::controller::ControllerHost;
use crate::metadata::{MetadataDelta, MetadataImage};

impl<E: Effects> ControllerHost<E> for Rc<ShardServices<E>> {
    fn effects(&self) -> &E {
        &self.effects
    }

    fn node_id(&self) -> NodeId {
        self.identity.node_id
    }

    fn config(&self) -> Arc<BrokerConfig> {
        ShardServices::config(self)
    }

    async fn publish(
        &self,
        image: &Arc<MetadataImage>,
        delta: &Arc<MetadataDelta>,
    ) -> LocalBoxFuture<'static, ()> {
        let mut followed = Vec::with_capacity(self.placement.shards());
        for target in 0..self.placement.shards() {
            let (image, delta) = (Arc::clone(image), Arc::clone(delta));
            followed.push(if target == self.index {
                Either::Left(self.apply_image(image, &delta))
            } else {
                Either::Right(self.send_call(target, move |shard| shard.apply_image(image, &delta)).await)
            });
        }
        join_all(followed).map(drop).boxed_local()
    }
}

impl<E: Effects> ShardServices<E> {
    /// Takes over a new image, at once; `delta` says what is new in it. The future completes when the logs of this shard are
    /// in line with it.
    pub fn apply_image(
        self: &Rc<Self>,
        image: Arc<MetadataImage>,
        delta: &MetadataDelta,
    ) -> impl Future<Output = ()> + use<E> {
        if delta.broker_configs().next().is_some() {
            self.apply_broker_configs(&image);
        }
        self.current.replace_image(Arc::clone(&image));
        delta.removed_topics().for_each(|topic| self.coordinators.topic_deleted(topic));
        self.replicas.apply_image(image, &self.config(), delta)
    }

    fn apply_broker_configs(&self, image: &MetadataImage) {
        let own = image.broker_configs(Some(self.identity.node_id));
        let config = BrokerConfig::with_dynamic(&self.config(), &image.broker_configs(None), &own);
        if let Some(config) = config {
            self.tell_overridden(&config);
            self.current.replace_config(Arc::new(config));
        }
    }

    /// Logs which settings of the start have ceased to count, once for all shards.
    fn tell_overridden(&self, config: &BrokerConfig) {
        if self.index != 0 {
            return;
        }
        let before = self.config();
        let known = before.overridden();
        for [key, counts, given] in config.overridden().into_iter().filter(|row| !known.contains(row)) {
            tracing::warn!(%key, %counts, %given, "a setting given at start does not count: a client has set it, and that is kept");
        }
    }
}
