//! A member of a classic group.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::api::Protocol;
use crate::coordination::runner::RequestToken;

/// What a group knows of a member. Its id is its key in the group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub(super) group_instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    /// In the member's order of preference.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// The JoinGroup that waits for the rebalance to complete. Set by the group only, which counts them.
    pub(super) awaiting_join: Option<RequestToken>,
    /// The SyncGroup that waits for the leader's assignment.
    pub(super) awaiting_sync: Option<RequestToken>,
    /// Whether the member has not seen a generation yet: then its client does not send heartbeats.
    pub(super) is_new: bool,
}

impl Member {
    /// A member of which only the protocols are known.
    pub(super) fn new(protocols: Vec<Protocol>) -> Self {
        Self {
            group_instance_id: None,
            client_id: String::new(),
            client_host: String::new(),
            session_timeout_ms: 0,
            rebalance_timeout_ms: 0,
            protocols,
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        }
    }

    /// What the member says in `protocol`, empty if it does not speak it.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let spoken = self.protocols.iter().find(|spoken| spoken.name == protocol);
        spoken.map(|spoken| spoken.metadata.clone()).unwrap_or_default()
    }

    /// The names of its protocols, each once.
    pub(super) fn protocol_names(&self) -> BTreeSet<&str> {
        self.protocols.iter().map(|protocol| protocol.name.as_str()).collect()
    }

    /// The protocol it prefers among `candidates`.
    pub(super) fn vote<'a>(&'a self, candidates: &BTreeSet<&str>) -> Option<&'a str> {
        self.protocols.iter().map(|protocol| protocol.name.as_str()).find(|name| candidates.contains(name))
    }

    /// Whether its silence is no sign of death: it waits for us.
    pub(super) const fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}
