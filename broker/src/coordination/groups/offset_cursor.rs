//! How far a pass over all offsets has come: it looks at a bounded number of them in each step.

/// Where a pass over all offsets goes on, in order of group, topic and partition. The default is the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct OffsetCursor {
    /// The first group.
    pub(super) group: String,
    /// Only what comes behind this topic and partition of that group.
    after: Option<(String, i32)>,
}

impl OffsetCursor {
    /// Goes on behind an offset.
    pub(super) fn behind(group: &str, topic: &str, partition: i32) -> Self {
        Self { group: group.to_owned(), after: Some((topic.to_owned(), partition)) }
    }

    /// Goes on with the next group.
    pub(super) fn behind_group(group: &str) -> Self {
        // The first string in order that is greater.
        Self { group: format!("{group}\0"), after: None }
    }

    /// Behind which of a group's offsets to go on; `None` for all of them.
    pub(super) fn after_in(&self, group: &str) -> Option<(&str, i32)> {
        let (topic, partition) = self.after.as_ref().filter(|_| self.group == group)?;
        Some((topic, *partition))
    }
}

/// Between two steps of a pass, for others.
pub(super) const PASS_PAUSE_MS: u64 = 1;

/// Offsets and groups that a pass looks at in one step.
pub(super) const LOOKED_AT_MAX: usize = 1_000;
