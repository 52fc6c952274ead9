//! What is left to do when records are durable, or have failed.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::api::{Protocol, Response};
use super::group::ClassicGroup;
use crate::coordination::runner::{AppendToken, RequestToken};

/// An append that is under way.
#[derive(Debug)]
pub(super) struct Completion {
    /// Goes out once the records are durable; its failed form if they are not.
    pub(super) reply: Option<(RequestToken, Response)>,
    /// The change of state that waits.
    pub(super) change: Change,
}

/// A generation of one life of a group: a group that was deleted and made anew counts from 1 again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) created_by: Option<AppendToken>,
    pub(super) id: i32,
}

/// A change of state that waits for its records, or one that is undone when they fail.
#[derive(Debug)]
pub(super) enum Change {
    /// None.
    None,
    /// A group was created by a join; without its record it does not exist.
    Created {
        /// The group.
        group: String,
    },
    /// The leader's assignment takes effect.
    Assigned {
        /// The group.
        group: String,
        /// The assignment is void if the group has moved on.
        generation: Generation,
        /// By member id.
        assignments: BTreeMap<String, Bytes>,
    },
    /// A static member came back under a new id without a rebalance.
    Rejoined(Box<StaticRejoin>),
    /// Offsets were committed or deleted.
    Offsets {
        /// Of which group.
        group: String,
        /// Of which topics and partitions.
        changed: Vec<(String, i32)>,
    },
    /// Groups and offsets were deleted.
    Deleted {
        /// The groups as they were, to be put back on failure.
        groups: Vec<ClassicGroup>,
        /// Group, topic and partition.
        offsets: Vec<(String, String, i32)>,
    },
}

/// What it takes to answer a static member that came back, or to undo its return.
#[derive(Debug)]
pub(super) struct StaticRejoin {
    pub(super) group: String,
    pub(super) generation: Generation,
    pub(super) old_member_id: String,
    pub(super) new_member_id: String,
    /// Before the return.
    pub(super) old_leader: Option<String>,
    pub(super) old_protocols: Vec<Protocol>,
    /// Session and rebalance timeout before the return.
    pub(super) old_timeouts_ms: (i32, i32),
    pub(super) supports_skip_assignment: bool,
}

impl Completion {
    /// Nothing to do.
    pub(super) const NOTHING: Self = Self { reply: None, change: Change::None };
}
