//! Topics that go.

use model::TopicId;

use super::super::error::ControllerError;
use super::super::image::MetadataImage;
use super::super::records::MetadataRecord;
use super::{Command, Decision, Facts};

/// Deletes topics by id; one that is gone already needs nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteTopics {
    /// Their ids, each once.
    pub ids: Vec<TopicId>,
}

impl Command for DeleteTopics {
    type Outcome = ();

    fn decide(self, image: &MetadataImage, _facts: &Facts) -> Result<Decision<()>, ControllerError> {
        let ids = self.ids.into_iter().filter(|id| image.topic_by_id(*id).is_some());
        let records = ids.map(|topic_id| MetadataRecord::RemoveTopic { topic_id }).collect();
        Ok(Decision { records, outcome: () })
    }
}

#[cfg(test)]
mod tests {
    use model::Uuid;

    use super::super::test_image::{applied, counted, facts};
    use super::*;

    #[test]
    fn only_what_is_there_goes() {
        let image = applied(&MetadataImage::default(), 1, &[counted("a", 1, 1), counted("b", 1, 1)]);
        let id = image.topic("a").expect("created").id;
        let command = DeleteTopics { ids: vec![Uuid([99; 16]), id] };
        let decision = command.clone().decide(&image, &facts(1)).expect("nothing is refused");
        assert_eq!(decision.records, [MetadataRecord::RemoveTopic { topic_id: id }]);
        let image = image.with(&decision.records);
        image.check_invariants();
        assert!(image.topic("a").is_none() && image.topic("b").is_some() && image.was_removed(id));
        assert_eq!(command.decide(&image, &facts(1)).expect("nothing is refused").records, []);
    }
}
