//! Changes that are proposed and not committed yet, with the images that they will make. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use model::Offset;

use crate::metadata::{MetadataImage, MetadataRecord};

/// A change that was proposed.
pub(super) struct Proposed<T> {
    /// It is committed when everything below is.
    pub(super) end: Offset,
    /// With this change and all before it.
    pub(super) image: Arc<MetadataImage>,
    /// What changes; nothing if somebody only waits for the changes before.
    pub(super) records: Vec<MetadataRecord>,
    /// Who waits for it.
    pub(super) waiting: T,
}

/// Changes under way, in the order of the log.
///
/// Invariant: their ends do not fall.
pub(super) struct InFlight<T> {
    committed: Arc<MetadataImage>,
    changes: VecDeque<Proposed<T>>,
}

impl<T> InFlight<T> {
    /// None, behind an image that is committed.
    pub(super) fn new(committed: MetadataImage) -> Self {
        Self { committed: Arc::new(committed), changes: VecDeque::new() }
    }

    /// The image of all that is committed.
    pub(super) fn committed(&self) -> &Arc<MetadataImage> {
        &self.committed
    }

    /// The image of all that was proposed: the next decision goes by it.
    pub(super) fn newest(&self) -> &Arc<MetadataImage> {
        self.changes.back().map_or(&self.committed, |change| &change.image)
    }

    /// Where the last change ends.
    pub(super) fn newest_end(&self) -> Option<Offset> {
        self.changes.back().map(|change| change.end)
    }

    /// Where the first change ends.
    pub(super) fn next_end(&self) -> Option<Offset> {
        self.changes.front().map(|change| change.end)
    }

    /// Takes up a change that was decided on [`InFlight::newest`].
    pub(super) fn push(&mut self, change: Proposed<T>) {
        assert!(self.newest_end() <= Some(change.end), "changes are proposed in order");
        self.changes.push_back(change);
    }

    /// The first change is committed.
    pub(super) fn commit_next(&mut self) -> Option<Proposed<T>> {
        let change = self.changes.pop_front()?;
        self.committed = Arc::clone(&change.image);
        Some(change)
    }

    /// Gives up all changes: the newest image is the committed one again.
    pub(super) fn discard(&mut self) -> VecDeque<Proposed<T>> {
        std::mem::take(&mut self.changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn propose(in_flight: &mut InFlight<i64>, end: i64) {
        let records = vec![MetadataRecord::ProducerIds { next: end }];
        let image = Arc::new(in_flight.newest().with(&records));
        in_flight.push(Proposed { end: Offset(end), image, records, waiting: end });
    }

    fn ids(in_flight: &InFlight<i64>) -> (i64, i64) {
        (in_flight.committed().next_producer_id(), in_flight.newest().next_producer_id())
    }

    #[test]
    fn decisions_go_by_what_is_proposed() {
        let mut in_flight = InFlight::new(MetadataImage::default());
        assert_eq!((ids(&in_flight), in_flight.next_end()), ((0, 0), None));
        propose(&mut in_flight, 5);
        propose(&mut in_flight, 7);
        assert_eq!((ids(&in_flight), in_flight.next_end()), ((0, 7), Some(Offset(5))));
        assert_eq!(in_flight.commit_next().map(|change| change.waiting), Some(5));
        assert_eq!((ids(&in_flight), in_flight.newest_end()), ((5, 7), Some(Offset(7))));
        assert_eq!(in_flight.commit_next().map(|change| change.waiting), Some(7));
        assert_eq!(ids(&in_flight), (7, 7));
        assert!(in_flight.commit_next().is_none());
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let mut in_flight = InFlight::new(MetadataImage::default());
        for end in [5, 7, 9] {
            propose(&mut in_flight, end);
        }
        in_flight.commit_next();
        let waiting: Vec<i64> = in_flight.discard().into_iter().map(|change| change.waiting).collect();
        assert_eq!((waiting, ids(&in_flight)), (vec![7, 9], (5, 5)));
        propose(&mut in_flight, 8);
        assert_eq!(ids(&in_flight), (5, 8));
    }
}
