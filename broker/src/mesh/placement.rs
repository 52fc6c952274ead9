//! Which shard owns which partition. The same on every shard, and from start to start with as many shards.

use model::{PartitionId, TopicId};

/// The placement of partitions on shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    shards: usize,
}

impl Placement {
    /// The placement on so many shards.
    #[must_use]
    pub const fn new(shards: usize) -> Self {
        Self { shards }
    }

    /// How many shards there are.
    #[must_use]
    pub const fn shards(&self) -> usize {
        self.shards
    }

    /// The shard that owns a partition: partitions of one topic go around all shards, topics start at different ones.
    #[must_use]
    pub fn owner(&self, topic_id: TopicId, partition: PartitionId) -> usize {
        let bits = u128::from_be_bytes(topic_id.0);
        let hash = (bits ^ (bits >> 64)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let sum = (hash & 0x7fff_ffff) + u128::from(partition.0.unsigned_abs());
        usize::try_from(sum % self.shards as u128).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Uuid;

    /// How many topics have their partition 0 on each shard.
    fn first_partitions(shards: usize, topics: u128) -> Vec<usize> {
        let mut counts = vec![0; shards];
        for topic in 1..=topics {
            // As good as random, and always the same.
            let bits = topic.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let id = Uuid::from_random(bits.to_be_bytes());
            counts[Placement::new(shards).owner(id, PartitionId(0))] += 1;
        }
        counts
    }

    #[test]
    fn partitions_of_a_topic_go_around_all_shards() {
        for shards in [1, 2, 3, 7] {
            let placement = Placement::new(shards);
            let owner = |index| placement.owner(Uuid::from_random([9; 16]), PartitionId(index));
            for index in 0..20 {
                assert_eq!(owner(index + 1), (owner(index) + 1) % shards, "{shards} {index}");
            }
        }
    }

    #[test]
    fn topics_begin_on_different_shards() {
        let counts = first_partitions(4, 200);
        assert!(counts.iter().all(|count| (30..70).contains(count)), "{counts:?}");
    }
}
