//! One broker of the model: a disk, and what is in memory while it runs.

use model::{BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, Offset};
use replication::{PartitionReplica, ReplicaConfig};

/// A record: the epoch in which it was appended, and a number that no other has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rec {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) number: u32,
}

/// What survives a power cut.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) directory: DirectoryId,
    pub(crate) log: Vec<Rec>,
    pub(crate) view: LeaderEpoch,
    pub(crate) high_watermark: Offset,
    /// The incarnation that stopped cleanly.
    pub(crate) clean_marker: Option<BrokerEpoch>,
}

impl Disk {
    pub(crate) fn new(directory: DirectoryId) -> Self {
        Self {
            directory,
            log: Vec::new(),
            view: LeaderEpoch::NONE,
            high_watermark: Offset::ZERO,
            clean_marker: None,
        }
    }
}

/// What runs.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    pub(crate) replica: PartitionReplica,
    pub(crate) log: Vec<Rec>,
    /// Writes that are under way.
    pub(crate) view_write: Option<LeaderEpoch>,
    pub(crate) cut: Option<Offset>,
}

/// One broker.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    pub(crate) node: NodeId,
    pub(crate) disk: Disk,
    pub(crate) memory: Option<Memory>,
    /// Of the newest registration.
    pub(crate) epoch: BrokerEpoch,
    /// The record that its last incarnation knew.
    pub(crate) old_image: Option<(replication::PartitionRecord, ReplicaConfig)>,
}

impl Broker {
    pub(crate) fn new(node: NodeId) -> Self {
        let directory = directory(node, 0);
        Self { node, disk: Disk::new(directory), memory: None, epoch: BrokerEpoch(0), old_image: None }
    }

    /// Starts with what the disk has.
    pub(crate) fn start(&mut self, config: ReplicaConfig) {
        let log = self.disk.log.clone();
        let end = offset(log.len());
        let Disk { view, high_watermark, .. } = self.disk;
        let replica = PartitionReplica::recovered(self.node, end, end, view, high_watermark, config)
            .expect("all that is on a disk is durable");
        self.memory = Some(Memory { replica, log, view_write: None, cut: None });
    }
}

/// The `generation`-th disk of a node.
pub(crate) fn directory(node: NodeId, generation: u8) -> DirectoryId {
    let mut bytes = [0; 16];
    bytes[0] = u8::try_from(node.0).unwrap_or(u8::MAX) + 1;
    bytes[1] = generation;
    model::Uuid(bytes)
}

pub(crate) fn offset(index: usize) -> Offset {
    Offset(i64::try_from(index).unwrap_or(i64::MAX))
}

pub(crate) fn index(offset: Offset) -> usize {
    usize::try_from(offset.0).unwrap_or(0)
}
