//! What to make of a request that names something twice. Kafka has two answers: it refuses what is named twice by itself
//! and handles the rest, or it takes the last.

use std::collections::{BTreeMap, BTreeSet};

/// How often each thing is named in a request.
pub(super) fn times_named<T: Ord>(named: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut times = BTreeMap::new();
    for one in named {
        *times.entry(one).or_default() += 1;
    }
    times
}

/// What a request names several times, by the places in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Repeated {
    superseded: BTreeSet<usize>,
    last: BTreeSet<usize>,
}

impl Repeated {
    /// Finds what is named several times. A request that names one thing only costs nothing.
    pub(super) fn of<T: Ord>(named: impl IntoIterator<Item = T>) -> Self {
        let mut named = named.into_iter();
        let (Some(first), Some(second)) = (named.next(), named.next()) else { return Self::default() };
        let mut places: Vec<(T, usize)> = [first, second].into_iter().chain(named).zip(0..).collect();
        places.sort_unstable();
        let mut repeated = Self::default();
        for pair in places.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            repeated.superseded.insert(pair[0].1);
            repeated.last.remove(&pair[0].1);
            repeated.last.insert(pair[1].1);
        }
        repeated
    }

    /// Whether what stands at `place` is named again further on.
    pub(super) fn is_superseded(&self, place: usize) -> bool {
        self.superseded.contains(&place)
    }

    /// Whether what stands at `place` has been named before, and is not named again.
    pub(super) fn is_last(&self, place: usize) -> bool {
        self.last.contains(&place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_supersedes_all_before_it() {
        for (named, superseded, last) in [
            (&[][..], &[][..], &[][..]),
            (&["a"], &[], &[]),
            (&["b", "a"], &[], &[]),
            (&["a", "a"], &[0], &[1]),
            (&["a", "b", "a", "c", "a", "b"], &[0, 1, 2], &[4, 5]),
        ] {
            let repeated = Repeated::of(named);
            assert_eq!(repeated.superseded.iter().copied().collect::<Vec<_>>(), superseded, "{named:?}");
            assert_eq!(repeated.last.iter().copied().collect::<Vec<_>>(), last, "{named:?}");
        }
    }
}
