//! Where each leader epoch of a log starts (KIP-101), for OffsetForLeaderEpoch and truncation.

use model::{LeaderEpoch, Offset};

/// The epochs of one log.
///
/// Invariant: epochs rise strictly, start offsets do not fall.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeaderEpochCache {
    epochs: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochCache {
    /// From a checkpoint, without what lies at or behind `log_end` or breaks the order.
    pub(crate) fn new(epochs: Vec<(LeaderEpoch, Offset)>, log_end: Offset) -> Self {
        let mut cache = Self::default();
        for (epoch, start) in epochs {
            if start < log_end {
                cache.assign(epoch, start);
            }
        }
        cache
    }

    /// Notes that `epoch` starts at `start`; returns whether that is news.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch.0 < 0 || self.epochs.last().is_some_and(|&(e, s)| epoch <= e || start < s) {
            return false;
        }
        self.epochs.push((epoch, start));
        true
    }

    pub(crate) fn latest(&self) -> Option<LeaderEpoch> {
        self.epochs.last().map(|&(epoch, _)| epoch)
    }

    pub(crate) fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.epochs
    }

    /// The largest epoch at or below `epoch`, and where it ends (Kafka's `LeaderEpochFileCache.endOffsetFor`).
    pub(crate) fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> (LeaderEpoch, Offset) {
        const UNDEFINED: (LeaderEpoch, Offset) = (LeaderEpoch::NONE, Offset(-1));
        if epoch == LeaderEpoch::NONE {
            return UNDEFINED;
        }
        if self.latest() == Some(epoch) {
            return (epoch, log_end);
        }
        let higher = self.epochs.partition_point(|&(e, _)| e <= epoch);
        let Some(&(_, end)) = self.epochs.get(higher) else { return UNDEFINED };
        match higher.checked_sub(1) {
            Some(floor) => (self.epochs[floor].0, end),
            None => (epoch, end),
        }
    }

    /// Forgets epochs that end at or below the new log start; the one that holds it now starts there.
    /// Returns whether anything changed.
    pub(crate) fn truncate_from_start(&mut self, log_start: Offset) -> bool {
        let below = self.epochs.partition_point(|&(_, start)| start <= log_start);
        let Some(last) = below.checked_sub(1) else { return false };
        if last == 0 && self.epochs[0].1 == log_start {
            return false;
        }
        self.epochs.drain(..last);
        self.epochs[0].1 = log_start;
        true
    }

    /// Forgets epochs that begin at or behind the new log end. Returns whether anything changed.
    pub(crate) fn truncate_from_end(&mut self, log_end: Offset) -> bool {
        let before = self.epochs.len();
        self.epochs.retain(|&(_, start)| start < log_end);
        self.epochs.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> LeaderEpochCache {
        let epochs = [(2, 0), (4, 10), (7, 30)];
        LeaderEpochCache::new(epochs.map(|(e, o)| (LeaderEpoch(e), Offset(o))).to_vec(), Offset(50))
    }

    #[test]
    fn end_offsets_are_kafkas() {
        let cache = sample();
        // (asked, epoch answered, end offset answered), as LeaderEpochFileCache.endOffsetFor.
        for (asked, epoch, end) in
            [(-1, -1, -1), (1, 1, 0), (2, 2, 10), (3, 2, 10), (4, 4, 30), (6, 4, 30), (7, 7, 50), (8, -1, -1)]
        {
            let expect = (LeaderEpoch(epoch), Offset(end));
            assert_eq!(cache.end_offset_for(LeaderEpoch(asked), Offset(50)), expect, "{asked}");
        }
        let empty = LeaderEpochCache::default();
        assert_eq!(empty.end_offset_for(LeaderEpoch(0), Offset(0)), (LeaderEpoch::NONE, Offset(-1)));
    }

    #[test]
    fn the_start_moves_with_the_log() {
        let mut cache = sample();
        assert!(cache.truncate_from_start(Offset(20)));
        assert_eq!(cache.entries()[0], (LeaderEpoch(4), Offset(20)));
        assert!(!cache.truncate_from_start(Offset(20)));
    }

    #[test]
    fn epochs_end_with_the_log() {
        for (end, left, changed) in
            [(50, 3, false), (31, 3, false), (30, 2, true), (1, 1, true), (0, 0, true)]
        {
            let mut cache = sample();
            assert_eq!(
                (cache.truncate_from_end(Offset(end)), cache.entries().len()),
                (changed, left),
                "{end}"
            );
        }
    }

    #[test]
    fn only_news_is_assigned() {
        let mut cache = sample();
        for (epoch, start, news) in
            [(7, 40, false), (6, 40, false), (-1, 40, false), (8, 20, false), (9, 40, true)]
        {
            assert_eq!(cache.assign(LeaderEpoch(epoch), Offset(start)), news, "{epoch} {start}");
        }
    }
}
