//! Names of topics by what they look like in a metric, where dots are underscores.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

/// The names that have dots or underscores: no others can be taken for each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AlikeNames(RedBlackTreeMapSync<String, Vec<Arc<str>>>);

impl AlikeNames {
    /// Takes up a topic's name.
    pub(super) fn insert(&mut self, name: &Arc<str>) {
        let Some(plain) = plain(name) else { return };
        match self.0.get_mut(&plain) {
            Some(names) if names.contains(name) => {}
            Some(names) => names.push(Arc::clone(name)),
            None => self.0.insert_mut(plain, vec![Arc::clone(name)]),
        }
    }

    /// Forgets the name of a topic that is removed.
    pub(super) fn remove(&mut self, name: &str) {
        let Some(plain) = plain(name) else { return };
        let Some(names) = self.0.get_mut(&plain) else { return };
        names.retain(|known| **known != *name);
        if names.is_empty() {
            self.0.remove_mut(&plain);
        }
    }

    /// A name that looks the same as this one and is another.
    pub(super) fn other_than(&self, name: &str) -> Option<&Arc<str>> {
        self.0.get(&plain(name)?)?.iter().find(|known| ***known != *name)
    }

    /// Checks that it has the names that it should have.
    pub(super) fn check_invariants<'a>(&self, names: impl Iterator<Item = &'a Arc<str>>) {
        let mut expected = Self::default();
        names.for_each(|name| expected.insert(name));
        let sorted = |index: &Self| {
            let mut names: Vec<_> = index.0.values().flatten().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(sorted(self), sorted(&expected), "names that can be taken for others");
        assert_eq!(self.0.size(), expected.0.size(), "what they look like");
    }
}

fn plain(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
