//! The whole: brokers, the controller, messages under way, and what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use model::{BrokerEpoch, NodeId, Offset};
use replication::{
    Action, BrokerState, Brokers, Durability, Input, IsrProposal, Millis, PartitionRecord, ReplicaConfig,
    ReplicationError, Role, Settle, plant,
};

use crate::Ablation;
use crate::broker::{Broker, Rec, directory, index};

pub(crate) const NODES: usize = 3;
/// Records that a log may get.
pub(crate) const RECORDS_MAX: usize = 4;
/// Messages under way at once.
const MESSAGES_MAX: usize = 6;

/// A message under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// A follower's progress, to one incarnation of its leader.
    Progress { to: NodeId, to_epoch: BrokerEpoch, input: Input },
    /// A leader's wish for an ISR.
    AlterIsr { from: NodeId, proposal: IsrProposal },
    /// A leader's word that former in-sync replicas may be forgotten.
    Settle { from: NodeId, settle: Settle },
}

/// One partition, its brokers and its controller.
#[derive(Debug, Clone)]
pub struct World {
    pub(crate) brokers: Vec<Broker>,
    pub(crate) record: PartitionRecord,
    pub(crate) registered: Brokers,
    pub(crate) config: ReplicaConfig,
    pub(crate) messages: Vec<Message>,
    pub(crate) acknowledged: Vec<Rec>,
    pub(crate) records: u32,
    pub(crate) elections: u32,
    disks: u8,
    incarnations: i64,
    pub(crate) ablation: Option<Ablation>,
}

impl World {
    /// All brokers up and the partition empty: on one of them, or on all.
    pub fn new(replicas: usize, config: ReplicaConfig, ablation: Option<Ablation>) -> Self {
        plant(match ablation {
            Some(Ablation::Planted(mutant)) => Some(mutant),
            _ => None,
        });
        let nodes = || (0..NODES).map(|node| NodeId(i32::try_from(node).unwrap_or(0)));
        let members: BTreeMap<_, _> = nodes().take(replicas).map(|node| (node, directory(node, 0))).collect();
        let mut world = Self {
            brokers: nodes().map(Broker::new).collect(),
            record: PartitionRecord::new(members, NodeId(0), config),
            registered: Brokers::new(),
            config,
            messages: Vec::new(),
            acknowledged: Vec::new(),
            records: 0,
            elections: 0,
            disks: 0,
            incarnations: 0,
            ablation,
        };
        for node in 0..NODES {
            let epoch = world.next_incarnation(node);
            let node_id = world.brokers[node].node;
            world.registered.insert(node_id, BrokerState { epoch, is_fenced: false });
            world.brokers[node].start(config);
        }
        world
    }

    pub(crate) fn next_incarnation(&mut self, node: usize) -> BrokerEpoch {
        self.incarnations += 1;
        self.brokers[node].epoch = BrokerEpoch(self.incarnations);
        self.brokers[node].epoch
    }

    pub(crate) fn next_disk(&mut self) -> u8 {
        self.disks += 1;
        self.disks
    }

    pub(crate) fn send(&mut self, message: Message) {
        if self.messages.len() < MESSAGES_MAX && !self.messages.contains(&message) {
            self.messages.push(message);
        }
    }

    /// Whether the broker's metadata reaches to its own registration: without that it takes no image.
    pub(crate) fn is_registered(&self, node: usize) -> bool {
        let broker = &self.brokers[node];
        self.registered.get(&broker.node).is_some_and(|state| state.epoch == broker.epoch)
    }

    /// The broker that leads in the eyes of `node`, in the same epoch, if it runs.
    pub(crate) fn leader_of(&self, node: usize) -> Option<usize> {
        let replica = &self.brokers[node].memory.as_ref()?.replica;
        let leads = |other: &Broker| {
            other.memory.as_ref().is_some_and(|memory| {
                memory.replica.role() == Role::Leader && memory.replica.epoch() == replica.epoch()
            })
        };
        self.brokers.iter().position(leads).filter(|leader| *leader != node)
    }

    /// Steps a replica and carries out what follows.
    ///
    /// # Errors
    /// What must never happen.
    pub(crate) fn tell(&mut self, node: usize, input: Input) -> Result<bool, String> {
        let Some(memory) = self.brokers[node].memory.as_mut() else { return Ok(false) };
        let actions = match memory.replica.step(input.clone(), Millis(0)) {
            Ok(actions) => actions,
            Err(error) if is_passing(&error) => return Ok(false),
            Err(error) => return Err(format!("broker {node} refuses {input:?}: {error}")),
        };
        memory.replica.check_invariants();
        for action in actions {
            self.act(node, action)?;
        }
        Ok(true)
    }

    pub(crate) fn act(&mut self, node: usize, action: Action) -> Result<(), String> {
        let from = self.brokers[node].node;
        let Some(memory) = self.brokers[node].memory.as_mut() else { return Ok(()) };
        match action {
            Action::WriteView(view) => memory.view_write = Some(view),
            Action::Truncate(end) | Action::Reset(end) => {
                memory.log.truncate(index(end));
                memory.cut = Some(end);
            }
            Action::AlterIsr(proposal) => self.send(Message::AlterIsr { from, proposal }),
            Action::Settle(settle) => self.send(Message::Settle { from, settle }),
            Action::HighWatermarkAdvanced(end) => {
                if memory.replica.role() == Role::Leader {
                    return self.acknowledge(node, end);
                }
            }
            Action::LeaderAckAdvanced(_) => {}
        }
        Ok(())
    }

    fn acknowledge(&mut self, node: usize, end: Offset) -> Result<(), String> {
        let memory = self.brokers[node].memory.as_ref().expect("it has just acted");
        let prefix = &memory.log[..index(end)];
        let common = prefix.len().min(self.acknowledged.len());
        if prefix[..common] != self.acknowledged[..common] {
            return Err(format!(
                "broker {node} acknowledges {prefix:?}, before it was {:?}",
                self.acknowledged
            ));
        }
        if prefix.len() > common {
            self.acknowledged = prefix.to_vec();
        }
        self.check_leader()
    }

    /// The leader on record has all that was acknowledged, as soon as it knows that it leads.
    pub(crate) fn check_leader(&self) -> Result<(), String> {
        self.record.check_invariants();
        let Some(leader) = self.record.leader else { return Ok(()) };
        let Some(broker) = self.brokers.iter().find(|broker| broker.node == leader) else { return Ok(()) };
        let Some(memory) = &broker.memory else { return Ok(()) };
        let acts =
            memory.replica.role() == Role::Leader && memory.replica.epoch() == self.record.leader_epoch;
        if acts && !memory.log.starts_with(&self.acknowledged) {
            return Err(format!(
                "leader {leader} has {:?}, acknowledged is {:?}",
                memory.log, self.acknowledged
            ));
        }
        Ok(())
    }

    /// Ends a broker: what is in memory is gone, and messages to it are.
    pub(crate) fn kill(&mut self, node: usize) {
        let broker = &mut self.brokers[node];
        let Some(memory) = broker.memory.take() else { return };
        broker.old_image = Some((memory.replica.record().clone(), memory.replica.config()));
        let epoch = broker.epoch;
        self.messages.retain(|message| match message {
            Message::Progress { to_epoch, .. } => *to_epoch != epoch,
            Message::AlterIsr { .. } | Message::Settle { .. } => true,
        });
    }

    /// Registers the broker's newest incarnation with the controller, which fences it at first.
    pub(crate) fn register(&mut self, node: usize) {
        let broker = &mut self.brokers[node];
        let (id, epoch, directory) = (broker.node, broker.epoch, broker.disk.directory);
        let before = self.registered.get(&id).map(|before| before.epoch);
        let marker = broker.disk.clean_marker.take();
        let is_clean = marker.is_some() && marker == before;
        self.registered.insert(id, BrokerState { epoch, is_fenced: true });
        self.record.register(id, directory, is_clean, &self.registered, self.config);
        if self.record.leader == Some(id) {
            // Only where a planted bug lets it keep the leadership.
            self.registered.insert(id, BrokerState { epoch, is_fenced: false });
        }
    }

    pub(crate) fn members(&self) -> BTreeSet<NodeId> {
        self.record.replicas.keys().copied().collect()
    }

    pub(crate) fn set_config(&mut self, min_insync_replicas: usize, durability: Durability) {
        self.config = ReplicaConfig::new(min_insync_replicas, durability);
        self.record.configure(self.config);
    }
}

/// Errors that a message meets which comes too late, or a broker that is not there yet.
const fn is_passing(error: &ReplicationError) -> bool {
    matches!(
        error,
        ReplicationError::NotLeader { .. }
            | ReplicationError::NotFollower { .. }
            | ReplicationError::WrongEpoch { .. }
            | ReplicationError::StaleRecord { .. }
            | ReplicationError::StaleBrokerEpoch { .. }
            | ReplicationError::NotReplica { .. }
            | ReplicationError::NotReconciled { .. }
            | ReplicationError::BeingCut { .. }
            | ReplicationError::WentBack { .. }
            | ReplicationError::NotCaughtUp { .. }
            | ReplicationError::ViewNotWritten { .. }
    )
}
