//! Blocks of producer ids.

use super::super::error::ControllerError;
use super::super::image::MetadataImage;
use super::super::records::MetadataRecord;
use super::{Command, Decision, Facts};

/// Producer ids that a shard takes at a time (Kafka's block size).
pub const PRODUCER_ID_BLOCK: i64 = 1_000;

/// Takes a block of [`PRODUCER_ID_BLOCK`] producer ids out of the pool; yields the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocateProducerIds;

impl Command for AllocateProducerIds {
    type Outcome = i64;

    fn decide(self, image: &MetadataImage, _facts: &Facts) -> Result<Decision<i64>, ControllerError> {
        let first = image.next_producer_id();
        let records = vec![MetadataRecord::ProducerIds { next: first + PRODUCER_ID_BLOCK }];
        Ok(Decision { records, outcome: first })
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_image::facts;
    use super::*;

    #[test]
    fn blocks_do_not_overlap() {
        let mut image = MetadataImage::default();
        for expected in [0, 1_000, 2_000] {
            let decision = AllocateProducerIds.decide(&image, &facts(1)).expect("there are ids");
            assert_eq!(decision.outcome, expected);
            image = image.with(&decision.records);
        }
    }
}
