//! Asking the owners of many partitions: one message for each shard and piece of the request, so that however much is asked,
//! neither the messages in flight nor the time between two yields grow with it.

use std::rc::Rc;

use futures_util::future::join_all;
use model::{LeaderEpoch, PartitionId, TopicId};
use net::protocol::ErrorCode;
use runtime::{Effects, yield_now};

use crate::api::errors::partition_error_code;
use crate::api::services::ShardServices;
use crate::mesh::fan_out::{FanOut, Placed};
use crate::replicas::Partition;

/// What is asked of one partition.
pub(super) struct Asked<Q> {
    /// Whose it is, or why it cannot be asked.
    pub(super) of: Result<(TopicId, PartitionId), ErrorCode>,
    /// The leader epoch that the client knows, [`LeaderEpoch::NONE`] if none.
    pub(super) leader_epoch: LeaderEpoch,
    /// The question.
    pub(super) question: Q,
}

/// Asks each partition its question on the shard that owns it; the answers come in the order of the questions.
pub(super) async fn ask_owners<E, Q, A, F, Fut>(
    shard: &Rc<ShardServices<E>>,
    questions: impl Iterator<Item = Asked<Q>>,
    ask: F,
) -> Vec<Result<A, ErrorCode>>
where
    E: Effects,
    Q: Send + 'static,
    A: Send + 'static,
    F: Fn(Rc<Partition<E>>, Q) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<A, ErrorCode>>,
{
    let mut questions = questions.peekable();
    let mut answers = Vec::new();
    while questions.peek().is_some() {
        let mut fan_out = FanOut::default();
        for Asked { of, leader_epoch, question } in questions.by_ref().take(PIECE) {
            match of {
                Ok((topic_id, id)) => {
                    fan_out.ask(shard.owner(topic_id, id), (topic_id, id, leader_epoch, question));
                }
                Err(code) => fan_out.answer(Err(code)),
            }
        }
        let ask = ask.clone();
        let answer_all = |shard, asked| async move { answer_all(&shard, asked, ask).await };
        answers.extend(fan_out.call(shard, answer_all).await);
        yield_now().await;
    }
    answers
}

async fn answer_all<E, Q, A, F, Fut>(
    shard: &Rc<ShardServices<E>>,
    asked: Vec<Placed<(TopicId, PartitionId, LeaderEpoch, Q)>>,
    ask: F,
) -> Vec<Placed<Result<A, ErrorCode>>>
where
    E: Effects,
    F: Fn(Rc<Partition<E>>, Q) -> Fut,
    Fut: Future<Output = Result<A, ErrorCode>>,
{
    let ask = &ask;
    join_all(asked.into_iter().map(|Placed { place, what: (topic_id, id, leader_epoch, question) }| {
        let partition = shard.replicas.led(topic_id, id, leader_epoch);
        async move {
            let what = match partition {
                Ok(partition) => ask(partition, question).await,
                Err(error) => Err(partition_error_code(&error)),
            };
            Placed { place, what }
        }
    }))
    .await
}

/// Partitions asked at once.
const PIECE: usize = 128;
