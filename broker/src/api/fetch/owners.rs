//! Which shard owns what a fetch asks for, and what is said about the partitions that no shard has.

use model::{LeaderEpoch, Offset, PartitionId, TopicId};
use net::protocol::ErrorCode;
use runtime::Effects;

use crate::api::fetch::session::{FetchWish, Trouble};
use crate::api::services::ShardServices;
use crate::mesh::fan_out::ByShard;
use crate::metadata::MetadataImage;

/// What one request asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Every partition once.
    pub wishes: &'a [FetchWish],
    /// Whether topics are named by id.
    pub by_id: bool,
    /// The request goes on in a session: what was told in it is known.
    pub again: bool,
}

/// One partition of a request, on its way to the shard that owns it.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its place among the wishes.
    pub slot: usize,
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionId,
    /// The first offset wanted.
    pub fetch_offset: Offset,
    /// At most so many bytes.
    pub max_bytes: usize,
    /// The leader epoch that the client knows.
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch of the last record that the client has.
    pub last_fetched_epoch: LeaderEpoch,
    /// What the client knows to be wrong with it.
    pub told: Option<Trouble>,
}

/// Who owns the partitions of a request.
#[derive(Debug, Default)]
pub struct Owners {
    /// Partitions, by the shard that owns them.
    pub by_shard: ByShard<Item>,
    /// Places of those that no shard has, and why.
    pub none: Vec<(usize, ErrorCode)>,
}

impl Asked<'_> {
    /// Finds the owner of every partition.
    pub fn find_owners<E: Effects>(&self, shard: &ShardServices<E>) -> Owners {
        let image = shard.image();
        let mut owners = Owners::default();
        for (slot, wish) in self.wishes.iter().enumerate() {
            let topic_id = match self.topic(&image, wish) {
                Ok(topic_id) => topic_id,
                Err(code) => {
                    owners.none.push((slot, code));
                    continue;
                }
            };
            let item = Item {
                slot,
                topic_id,
                partition: wish.partition,
                fetch_offset: Offset(wish.fetch_offset),
                max_bytes: usize::try_from(wish.max_bytes).unwrap_or(0),
                current_leader_epoch: LeaderEpoch(wish.current_leader_epoch),
                last_fetched_epoch: LeaderEpoch(wish.last_fetched_epoch),
                told: wish.told,
            };
            owners.by_shard.push(shard.owner(topic_id, wish.partition), item);
        }
        owners
    }

    /// The topic that has the partition. A session remembers the name of a topic that is gone: whoever has the name now is
    /// another topic.
    fn topic(&self, image: &MetadataImage, wish: &FetchWish) -> Result<TopicId, ErrorCode> {
        let (topic, otherwise) = if self.by_id {
            match image.topic_by_id(wish.topic_id) {
                Some(topic) => (Some(topic), ErrorCode::None),
                None if wish.topic.is_empty() => return Err(ErrorCode::UnknownTopicId),
                None => (image.topic(&wish.topic), ErrorCode::InconsistentTopicId),
            }
        } else {
            (image.topic(&wish.topic), ErrorCode::None)
        };
        let topic = topic.filter(|topic| topic.partition(wish.partition).is_some());
        match (topic, otherwise) {
            (None, _) => Err(ErrorCode::UnknownTopicOrPartition),
            (Some(topic), ErrorCode::None) => Ok(topic.id),
            (Some(_), other) => Err(other),
        }
    }

    /// Whether the client has to hear at once that nobody has the partition of `slot`, since it does not know. Outside of
    /// a session the broker cannot tell what it knows: such a partition then waits with the others, if there are any, lest
    /// the client asks for it as fast as it can.
    pub fn is_news(&self, slot: usize, code: ErrorCode, is_alone: bool) -> bool {
        if self.again { self.wishes[slot].told != Some(Trouble::Error(code)) } else { is_alone }
    }
}
