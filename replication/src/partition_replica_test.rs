//! The rule for the high watermark holds after every step of any sequence of inputs, judged from outside by a naive
//! list of facts, and each planted bug that breaks it is caught by that judge. What only several replicas
//! and their controller can show together stands in tests/model.

use std::collections::{BTreeMap, BTreeSet};

use model::{BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, Offset, PartitionEpoch};
use proptest::prelude::*;

use crate::mutant::{Mutant, plant};
use crate::{
    Acks, Action, AttachAt, Durability, Input, Millis, PartitionRecord, PartitionReplica, ReplicaConfig,
    ReplicationError, Role,
};

const ME: NodeId = NodeId(0);

/// One random step, before the state gives it a meaning.
type Draw = (u8, u8, u8, u8);

fn directory(node: i32) -> DirectoryId {
    model::Uuid([u8::try_from(node).unwrap() + 1; 16])
}

/// A record of a partition with the replicas 0 to 3.
fn record(epoch: i32, partition_epoch: i32, leader: Option<i32>, isr: &BTreeSet<i32>) -> PartitionRecord {
    let replicas = (0..4).map(|node| (NodeId(node), directory(node))).collect();
    PartitionRecord {
        isr: isr.iter().copied().map(NodeId).collect(),
        leader: leader.map(NodeId),
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: PartitionEpoch(partition_epoch),
        ..PartitionRecord::new(replicas, ME, ReplicaConfig::default())
    }
}

/// What an outsider knows who has read every accepted input.
struct Judge {
    replica: PartitionReplica,
    record: PartitionRecord,
    view: i32,
    ends: BTreeMap<i32, (i64, Option<i64>)>,
    durable: i64,
    asked: BTreeSet<i32>,
    config: ReplicaConfig,
}

impl Judge {
    fn new() -> Self {
        let config = ReplicaConfig::new(1, Durability::QuorumFsync);
        let none = LeaderEpoch::NONE;
        let (zero, isr) = (Offset::ZERO, BTreeSet::from([0]));
        let mut judge = Self {
            replica: PartitionReplica::recovered(ME, zero, zero, none, zero, config).unwrap(),
            record: record(0, 0, Some(0), &isr),
            view: -1,
            ends: BTreeMap::new(),
            durable: 0,
            asked: BTreeSet::new(),
            config,
        };
        let image = Input::Image { record: judge.record.clone(), config };
        judge.replica.step(image.clone(), Millis(0)).unwrap();
        judge.learn(&image);
        judge
    }

    fn leads(&self) -> bool {
        self.replica.role() == Role::Leader
    }

    fn image(&self, epoch: i32, leader: Option<i32>, members: u8, config: ReplicaConfig) -> Input {
        let mut isr: BTreeSet<i32> = (0..4).filter(|node| members & (1 << node) != 0).collect();
        isr.extend(leader);
        Input::Image { record: record(epoch, self.record.partition_epoch.0 + 1, leader, &isr), config }
    }

    /// Gives a draw its meaning: mostly possible inputs, some stale or impossible ones.
    fn input(&self, (kind, a, b, c): Draw) -> Input {
        let own = (self.replica.log_end().0, self.replica.durable_end().0);
        let node = i32::from(a % 3) + 1;
        let step = i64::from(b % 5) - 1;
        let epoch = self.record.leader_epoch.0;
        match kind % 20 {
            0..3 => Input::Appended { log_end: Offset(own.0 + step) },
            3..6 => Input::Durable { durable_end: Offset(own.1 + step.min(own.0 + 1 - own.1)) },
            6 | 7 => Input::ViewWritten { view: LeaderEpoch(epoch.min(self.view + 1 + i32::from(a % 2))) },
            8..13 => {
                let (log_end, durable_end) = self.ends.get(&node).copied().unwrap_or((0, None));
                let log_end = (log_end + step * 2).min(own.0 + i64::from(c == 254)).max(0);
                let durable_end =
                    (durable_end.unwrap_or(0) + i64::from(c % 5)).min(log_end + i64::from(c == 255));
                Input::FollowerProgress {
                    node: NodeId(node),
                    broker_epoch: BrokerEpoch(i64::from(b > 240)),
                    epoch: LeaderEpoch(epoch - i32::from(a > 230)),
                    log_end: Offset(log_end),
                    durable_end: (c % 16 != 0).then_some(Offset(durable_end)),
                }
            }
            13 => Input::ProposeIsr {
                isr: (0..4).filter(|n| *n == 0 || a & (1 << n) != 0).map(NodeId).collect(),
            },
            14 | 15 if self.leads() => self.image(epoch, Some(0), a, self.config),
            16 if a < 128 => {
                let mode = [Durability::QuorumFsync, Durability::AllFsync, Durability::Kafka];
                let mode = mode[usize::from(c % 8).saturating_sub(5)];
                let leader = self.record.leader.map(|leader| leader.0);
                let isr = self.record.isr.iter().map(|node| 1 << node.0).sum();
                self.image(epoch, leader, isr, ReplicaConfig::new(usize::from(b % 3) + 1, mode))
            }
            17 if a < 64 => self.image(epoch + i32::from(!b.is_multiple_of(4)), Some(node), c, self.config),
            17 => Input::Attached {
                epoch: LeaderEpoch(epoch),
                epoch_start: Offset(own.0 + i64::from(c % 3)),
                at: AttachAt::End(Offset((own.0 - step - 1).max(0))),
            },
            18 if a < 100 => Input::Truncated { log_end: self.replica.log_end() },
            18 => {
                let high_watermark = Offset(self.replica.high_watermark().0 + step);
                Input::LeaderHighWatermark { epoch: LeaderEpoch(epoch), high_watermark }
            }
            _ if !self.leads() || a < 20 => {
                self.image(epoch + i32::from(!b.is_multiple_of(4)), Some(0), c, self.config)
            }
            _ => Input::Appended { log_end: Offset(own.0 + 1) },
        }
    }

    fn step(&mut self, draw: Draw) -> Result<(), String> {
        let input = self.input(draw);
        let before = self.replica.clone();
        match self.replica.step(input.clone(), Millis(0)) {
            Err(_) if format!("{before:?}") == format!("{:?}", self.replica) => Ok(()),
            Err(error) => Err(format!("{input:?} was refused ({error}) and still changed something")),
            Ok(actions) => {
                self.learn(&input);
                self.judge(&before, &input, &actions).map_err(|broken| {
                    format!("{broken}, by {input:?}\nbefore: {before:?}\nafter: {:?}", self.replica)
                })
            }
        }
    }

    fn learn(&mut self, input: &Input) {
        match input {
            Input::Durable { durable_end } => self.durable = durable_end.0,
            Input::ViewWritten { view } => self.view = self.view.max(view.0),
            Input::Attached { at: AttachAt::End(end), .. } => self.durable = self.durable.min(end.0),
            // What a follower said under another leader is no fact about this epoch.
            Input::FollowerProgress { node, epoch, log_end, durable_end, .. }
                if *epoch == self.record.leader_epoch =>
            {
                self.ends.insert(node.0, (log_end.0, durable_end.map(|end| end.0)));
            }
            Input::ProposeIsr { isr } => self.asked.extend(isr.iter().map(|node| node.0)),
            Input::Image { record, config } => {
                if record.leader_epoch > self.record.leader_epoch {
                    self.ends.clear();
                }
                (self.record, self.config) = (record.clone(), *config);
                self.asked.clear();
            }
            _ => {}
        }
        let has_view = self.view == self.record.leader_epoch.0;
        self.ends.insert(0, (self.replica.log_end().0, has_view.then_some(self.durable)));
    }

    /// Whether records below `offset` may be acknowledged, counted head by head.
    fn may_acknowledge(&self, offset: i64) -> bool {
        let isr: BTreeSet<i32> = self.record.isr.iter().map(|node| node.0).collect();
        let reached = |node: &i32| self.ends.get(node).is_some_and(|ends| ends.0 >= offset) || offset == 0;
        let durable =
            |node: &&i32| self.ends.get(node).and_then(|ends| ends.1).is_some_and(|end| end >= offset);
        let is_durable = match self.config.durability {
            Durability::Kafka => self.durable >= offset,
            Durability::AllFsync => isr.union(&self.asked).all(|node| durable(&node)),
            Durability::QuorumFsync => isr.iter().filter(durable).count() >= self.config.copies(isr.len()),
        };
        isr.len() >= self.config.min_insync_replicas() && isr.union(&self.asked).all(reached) && is_durable
    }

    fn judge(&self, before: &PartitionReplica, input: &Input, actions: &[Action]) -> Result<(), String> {
        let replica = &self.replica;
        let want = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        let (old, new) = (before.high_watermark().0, replica.high_watermark().0);
        want(new >= old, "the high watermark went back")?;
        want(new <= replica.log_end().0, "acknowledged records were cut off")?;
        want(replica.acked_offset(Acks::Leader).0 == self.durable, "acks=1 before the leader has it")?;
        want(replica.acked_offset(Acks::All).0 == new, "acks=all is not the high watermark")?;
        let told = actions.contains(&Action::HighWatermarkAdvanced(Offset(new)));
        want(told == (new > old), "an advance was not told, or told without being one")?;
        let wants_view = actions.iter().any(|action| matches!(action, Action::WriteView(_)));
        want(
            !wants_view || replica.epoch_start().is_some_and(|start| self.durable >= start.0),
            "a view too early",
        )?;
        let cuts = matches!(input, Input::Attached { at: AttachAt::End(end), .. } if *end < before.log_end());
        want(
            cuts == actions.iter().any(|action| matches!(action, Action::Truncate(_))),
            "a cut was not told",
        )?;
        if self.leads() {
            want(new == old || self.may_acknowledge(new), "acknowledged against the durability rule")?;
            want(
                !(new + 1..=replica.log_end().0).any(|offset| self.may_acknowledge(offset)),
                "what may be acknowledged is not",
            )?;
        }
        replica.check_invariants();
        Ok(())
    }
}

fn run(script: &[Draw]) -> Result<(), String> {
    let mut judge = Judge::new();
    script.iter().try_for_each(|draw| judge.step(*draw))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_durability_rule_holds_after_every_step(script in prop::collection::vec(any::<Draw>(), 0..120)) {
        prop_assert_eq!(run(&script), Ok(()));
    }
}

#[test]
fn every_planted_bug_is_caught() {
    let caught = |mutant: Option<Mutant>| {
        plant(mutant);
        let mut rng = fastrand::Rng::with_seed(7);
        let mut draw = || (rng.u8(..), rng.u8(..), rng.u8(..), rng.u8(..));
        let found = (0..3_000).find_map(|_| run(&(0..120).map(|_| draw()).collect::<Vec<_>>()).err());
        plant(None);
        found
    };
    assert_eq!(caught(None), None, "without a bug nothing is reported");
    for (mutant, broken) in [
        (Mutant::AckBeforeDurable, "against the durability rule"),
        (Mutant::AckBeforeReplicated, "against the durability rule"),
        (Mutant::CountsOneTooFew, "against the durability rule"),
        (Mutant::NotFrozen, "against the durability rule"),
        (Mutant::ForgetsProposedIsr, "against the durability rule"),
        (Mutant::CountsProposedDurable, "against the durability rule"),
        (Mutant::ReportsBeforeView, "against the durability rule"),
        (Mutant::IgnoresEpoch, "against the durability rule"),
        (Mutant::GoesBack, "went back"),
        (Mutant::CutsAcknowledged, "went back"),
    ] {
        let report = caught(Some(mutant)).unwrap_or_else(|| panic!("{mutant:?} was not caught"));
        assert!(report.contains(broken), "{mutant:?}: {report}");
    }
}

/// A leader in epoch 3 with the ISR, whose log was `start` long before.
fn leader(start: i64, isr: &[i32], m: usize, durability: Durability) -> PartitionReplica {
    let config = ReplicaConfig::new(m, durability);
    let end = Offset(start);
    let mut replica = PartitionReplica::recovered(ME, end, end, LeaderEpoch(2), Offset(0), config).unwrap();
    let record = record(3, 1, Some(0), &isr.iter().copied().collect());
    let actions = replica.step(Input::Image { record, config }, Millis(0)).unwrap();
    assert_eq!(
        actions.first(),
        Some(&Action::WriteView(LeaderEpoch(3))),
        "its log is durable, so the view is due"
    );
    replica
}

fn told(node: i32, log_end: i64, durable_end: i64) -> Input {
    Input::FollowerProgress {
        node: NodeId(node),
        broker_epoch: BrokerEpoch(7),
        epoch: LeaderEpoch(3),
        log_end: Offset(log_end),
        durable_end: Some(Offset(durable_end)),
    }
}

const VIEW: Input = Input::ViewWritten { view: LeaderEpoch(3) };

#[test]
fn on_one_node_the_high_watermark_is_what_is_durable() {
    for durability in [Durability::QuorumFsync, Durability::AllFsync, Durability::Kafka] {
        let config = ReplicaConfig::new(1, durability);
        let record = PartitionRecord::sole(ME, directory(0), LeaderEpoch(3), config);
        let mut replica = PartitionReplica::sole(ME, record, Offset(12), Offset(10), config).unwrap();
        assert_eq!((replica.role(), replica.high_watermark()), (Role::Leader, Offset(10)));
        assert_eq!(replica.step(Input::Appended { log_end: Offset(15) }, Millis(1)), Ok(vec![]));
        let actions = replica.step(Input::Durable { durable_end: Offset(12) }, Millis(2)).unwrap();
        let expect = [Action::LeaderAckAdvanced(Offset(12)), Action::HighWatermarkAdvanced(Offset(12))];
        assert_eq!(actions, expect, "{durability:?}: no view to write, nothing to settle");
        let (record, config) = (replica.record().clone(), ReplicaConfig::new(1, Durability::AllFsync));
        assert_eq!(replica.step(Input::Image { record, config }, Millis(2)), Ok(vec![]));
    }
}

#[test]
fn three_replicas_acknowledge_by_the_formula() {
    // (m, mode), the ends of leader and followers, and the high watermark.
    type Row = ((usize, Durability), [(i64, i64); 3], i64);
    const ROWS: [Row; 8] = [
        ((2, Durability::QuorumFsync), [(100, 100), (100, 90), (100, 10)], 90),
        ((2, Durability::QuorumFsync), [(100, 10), (100, 100), (100, 100)], 100),
        ((2, Durability::QuorumFsync), [(100, 100), (100, 100), (60, 60)], 60),
        ((1, Durability::QuorumFsync), [(100, 100), (100, 90), (100, 10)], 90),
        ((3, Durability::QuorumFsync), [(100, 100), (100, 90), (100, 10)], 10),
        ((1, Durability::AllFsync), [(100, 100), (100, 90), (100, 10)], 10),
        ((1, Durability::Kafka), [(100, 70), (100, 0), (90, 0)], 70),
        ((4, Durability::QuorumFsync), [(100, 100), (100, 100), (100, 100)], 0),
    ];
    for ((m, durability), ends, expect) in ROWS {
        let mut replica = leader(0, &[0, 1, 2], m, durability);
        let own = ends[0];
        for input in [
            VIEW,
            Input::Appended { log_end: Offset(own.0) },
            Input::Durable { durable_end: Offset(own.1) },
            told(1, ends[1].0, ends[1].1),
            told(2, ends[2].0, ends[2].1),
        ] {
            replica.step(input, Millis(0)).unwrap();
        }
        assert_eq!(replica.high_watermark(), Offset(expect), "m={m} {durability:?} {ends:?}");
        assert_eq!(replica.is_under_min_isr(), m > 3);
    }
}

#[test]
fn an_isr_is_settled_when_it_holds_what_the_epoch_started_with() {
    let mut replica = leader(100, &[0, 2], 2, Durability::QuorumFsync);
    // The record still names all four directories, from before a shrink. The high watermark is 0, the epoch's start 100.
    for input in [VIEW, told(2, 100, 99)] {
        let actions = replica.step(input, Millis(0)).unwrap();
        assert!(!actions.iter().any(|action| matches!(action, Action::Settle(_))), "{actions:?}");
    }
    let actions = replica.step(told(2, 100, 100), Millis(0)).unwrap();
    let settle =
        crate::Settle { leader_epoch: LeaderEpoch(3), partition_epoch: PartitionEpoch(1), copies: 2 };
    assert_eq!(actions, [Action::Settle(settle), Action::HighWatermarkAdvanced(Offset(100))]);
    assert_eq!(replica.step(told(2, 100, 100), Millis(0)), Ok(vec![]), "told once");
    assert_eq!(replica.unanswered(), Some(Action::Settle(settle)), "until it is answered");
    let mut settled = record(3, 2, Some(0), &BTreeSet::from([0, 2]));
    settled.durable.among = BTreeSet::from([directory(0), directory(2)]);
    settled.durable.copies = 2;
    replica.step(Input::Image { record: settled, config: replica.config() }, Millis(0)).unwrap();
    assert_eq!(replica.unanswered(), None);
}

#[test]
fn who_was_asked_into_the_isr_counts_until_a_newer_record_comes() {
    let mut replica = leader(0, &[0], 1, Durability::QuorumFsync);
    replica.step(told(1, 0, 0), Millis(0)).unwrap();
    let isr = BTreeSet::from([ME, NodeId(1)]);
    let early = replica.step(Input::ProposeIsr { isr: isr.clone() }, Millis(0));
    assert!(matches!(early, Err(ReplicationError::ViewNotWritten { .. })));
    replica.step(VIEW, Millis(0)).unwrap();
    let proposed = replica.step(Input::ProposeIsr { isr }, Millis(0)).unwrap();
    let [Action::AlterIsr(proposal)] = &proposed[..] else { panic!("{proposed:?}") };
    assert_eq!(proposal.isr, BTreeMap::from([(ME, None), (NodeId(1), Some(BrokerEpoch(7)))]));
    // The present ISR, asked for again to void that: it counts all the same.
    replica.step(Input::ProposeIsr { isr: BTreeSet::from([ME]) }, Millis(0)).unwrap();
    replica.step(Input::Appended { log_end: Offset(5) }, Millis(0)).unwrap();
    replica.step(Input::Durable { durable_end: Offset(5) }, Millis(0)).unwrap();
    assert_eq!(replica.high_watermark(), Offset(0));
    let record = record(3, 2, Some(0), &BTreeSet::from([0]));
    replica.step(Input::Image { record, config: replica.config() }, Millis(0)).unwrap();
    assert_eq!(replica.high_watermark(), Offset(5));
}

#[test]
fn who_comes_back_with_less_is_not_asked_in_again() {
    let mut replica = leader(10, &[0], 1, Durability::QuorumFsync);
    for input in [VIEW, told(1, 10, 10), Input::ProposeIsr { isr: BTreeSet::from([ME, NodeId(1)]) }] {
        replica.step(input, Millis(0)).unwrap();
    }
    let Input::FollowerProgress { node, epoch, .. } = told(1, 0, 0) else { unreachable!() };
    let (broker_epoch, log_end, durable_end) = (BrokerEpoch(8), Offset(3), Some(Offset(3)));
    let back = Input::FollowerProgress { node, broker_epoch, epoch, log_end, durable_end };
    replica.step(back, Millis(0)).unwrap();
    let Some(Action::AlterIsr(proposal)) = replica.unanswered() else { panic!("it is not answered") };
    assert_eq!(proposal.isr, BTreeMap::from([(ME, None)]));
    let stale = replica.step(told(1, 10, 10), Millis(0));
    assert!(matches!(stale, Err(ReplicationError::StaleBrokerEpoch { .. })));
}

#[test]
fn what_cannot_be_true_is_refused() {
    type Row = (Input, fn(&ReplicationError) -> bool);
    let epoch = LeaderEpoch(3);
    let config = ReplicaConfig::new(1, Durability::QuorumFsync);
    let image = |record| Input::Image { record, config };
    let isr = BTreeSet::from([0]);
    let at = AttachAt::End(Offset(1));
    let rows: [Row; 12] = [
        (Input::Appended { log_end: Offset(9) }, |e| matches!(e, ReplicationError::WentBack { .. })),
        (Input::Durable { durable_end: Offset(7) }, |e| matches!(e, ReplicationError::WentBack { .. })),
        (Input::Durable { durable_end: Offset(11) }, |e| {
            matches!(e, ReplicationError::DurableBeyondLogEnd { .. })
        }),
        (Input::Attached { epoch, epoch_start: Offset(1), at }, |e| {
            matches!(e, ReplicationError::NotFollower { .. })
        }),
        (Input::Truncated { log_end: Offset(9) }, |e| matches!(e, ReplicationError::NotAskedToCut { .. })),
        (told(1, 5, 6), |e| matches!(e, ReplicationError::DurableBeyondLogEnd { .. })),
        (told(1, 11, 6), |e| matches!(e, ReplicationError::AheadOfLeader { .. })),
        (told(9, 5, 5), |e| matches!(e, ReplicationError::NotReplica { .. })),
        (Input::ProposeIsr { isr: BTreeSet::from([NodeId(1)]) }, |e| {
            matches!(e, ReplicationError::LeaderNotInIsr { .. })
        }),
        (Input::ProposeIsr { isr: BTreeSet::from([ME, NodeId(1)]) }, |e| {
            matches!(e, ReplicationError::NotCaughtUp { .. })
        }),
        (image(record(3, 1, Some(1), &isr)), |e| matches!(e, ReplicationError::StaleRecord { .. })),
        (image(record(2, 2, Some(1), &isr)), |e| matches!(e, ReplicationError::StaleRecord { .. })),
    ];
    for (input, is_expected) in rows {
        let mut replica = leader(10, &[0], 1, Durability::QuorumFsync);
        replica.step(VIEW, Millis(0)).unwrap();
        replica.step(told(1, 3, 3), Millis(0)).unwrap();
        let error = replica.step(input.clone(), Millis(0)).unwrap_err();
        assert!(is_expected(&error), "{input:?}: {error}");
    }
}

#[test]
fn settings_that_change_the_copies_come_with_a_newer_record() {
    let mut replica = leader(0, &[0, 1, 2], 1, Durability::QuorumFsync);
    let config = ReplicaConfig::new(3, Durability::QuorumFsync);
    let refused = replica.step(Input::Image { record: replica.record().clone(), config }, Millis(0));
    assert!(matches!(refused, Err(ReplicationError::StaleRecord { .. })));
}

/// A follower in epoch 3 of node 1, not attached yet; its log is `log_end` long, `high_watermark` was written down.
fn follower(log_end: i64, high_watermark: i64) -> PartitionReplica {
    let config = ReplicaConfig::default();
    let (end, high_watermark) = (Offset(log_end), Offset(high_watermark));
    let mut replica =
        PartitionReplica::recovered(ME, end, end, LeaderEpoch(1), high_watermark, config).unwrap();
    let record = record(3, 1, Some(1), &BTreeSet::from([0, 1]));
    assert_eq!(replica.step(Input::Image { record, config }, Millis(0)), Ok(vec![]));
    replica
}

fn attached(end: i64, epoch_start: i64) -> Input {
    let at = AttachAt::End(Offset(end));
    Input::Attached { epoch: LeaderEpoch(3), epoch_start: Offset(epoch_start), at }
}

fn high_watermark(offset: i64) -> Input {
    Input::LeaderHighWatermark { epoch: LeaderEpoch(3), high_watermark: Offset(offset) }
}

#[test]
fn a_follower_agrees_with_its_leader_before_it_believes_it() {
    let mut replica = follower(10, 4);
    assert_eq!(replica.role(), Role::Reconciling { leader: Some(NodeId(1)) });
    for early in [high_watermark(9), Input::Appended { log_end: Offset(11) }] {
        let refused = replica.step(early, Millis(0));
        assert!(matches!(refused, Err(ReplicationError::NotReconciled { .. })));
    }
    let refused = replica.step(attached(3, 8), Millis(0));
    assert!(matches!(refused, Err(ReplicationError::TruncatesAcknowledged { .. })));
    assert_eq!(replica.step(attached(6, 8), Millis(0)), Ok(vec![Action::Truncate(Offset(6))]));
    assert!(matches!(
        replica.step(high_watermark(6), Millis(0)),
        Err(ReplicationError::NotReconciled { .. })
    ));
    assert!(matches!(replica.step(attached(6, 8), Millis(0)), Err(ReplicationError::BeingCut { .. })));
    assert_eq!(replica.step(Input::Truncated { log_end: Offset(6) }, Millis(0)), Ok(vec![]));
    assert_eq!(replica.role(), Role::Follower { leader: NodeId(1) });
    let expect = vec![Action::HighWatermarkAdvanced(Offset(6))];
    assert_eq!(replica.step(high_watermark(9), Millis(0)), Ok(expect), "only what it has");
    assert_eq!(replica.step(high_watermark(5), Millis(0)), Ok(vec![]));
    assert!(matches!(replica.step(told(1, 1, 1), Millis(0)), Err(ReplicationError::NotLeader { .. })));
}

#[test]
fn a_view_is_written_when_the_log_has_what_the_epoch_starts_with() {
    let mut replica = follower(10, 4);
    for input in [attached(10, 12), Input::Appended { log_end: Offset(12) }] {
        assert_eq!(replica.step(input, Millis(0)), Ok(vec![]));
    }
    let due = replica.step(Input::Durable { durable_end: Offset(12) }, Millis(0));
    assert_eq!(due, Ok(vec![Action::WriteView(LeaderEpoch(3))]));
    assert_eq!((replica.view(), replica.reported_durable_end()), (LeaderEpoch(1), None));
    replica.step(VIEW, Millis(0)).unwrap();
    assert_eq!((replica.view(), replica.reported_durable_end()), (LeaderEpoch(3), Some(Offset(12))));
}

#[test]
fn no_view_while_a_cut_is_not_durable() {
    let mut replica = follower(10, 4);
    // The epoch starts where the logs part: all of that is durable, but what is behind it still is, too.
    assert_eq!(replica.step(attached(6, 6), Millis(0)), Ok(vec![Action::Truncate(Offset(6))]));
    let due = replica.step(Input::Truncated { log_end: Offset(6) }, Millis(0));
    assert_eq!(due, Ok(vec![Action::WriteView(LeaderEpoch(3))]));
}

#[test]
fn a_log_that_ends_below_the_leaders_first_record_starts_over() {
    let mut replica = follower(10, 4);
    let at = AttachAt::LogStart(Offset(50));
    let reset = Input::Attached { epoch: LeaderEpoch(3), epoch_start: Offset(60), at };
    let actions = replica.step(reset, Millis(0)).unwrap();
    assert_eq!(actions, [Action::Reset(Offset(50)), Action::HighWatermarkAdvanced(Offset(50))]);
    replica.step(Input::Truncated { log_end: Offset(50) }, Millis(0)).unwrap();
    assert_eq!((replica.role(), replica.log_end()), (Role::Follower { leader: NodeId(1) }, Offset(50)));
}

#[test]
fn a_leader_keeps_what_it_knows_to_be_acknowledged() {
    let mut replica = follower(10, 4);
    let record = record(4, 2, Some(0), &BTreeSet::from([0, 1]));
    replica.step(Input::Image { record, config: replica.config() }, Millis(9)).unwrap();
    assert_eq!((replica.role(), replica.high_watermark()), (Role::Leader, Offset(4)));
    assert_eq!((replica.epoch_start(), replica.isr().len()), (Some(Offset(10)), 2));
    assert_eq!(replica.progress(ME).unwrap().caught_up_at, Millis(9));
}

#[test]
fn behind_a_power_cut_the_log_may_end_below_the_high_watermark() {
    let replica = follower(3, 4);
    assert_eq!(replica.high_watermark(), Offset(3), "the rest is on other disks");
}

#[test]
fn without_a_leader_a_replica_reports_its_stable_log() {
    let mut replica = leader(10, &[0], 1, Durability::QuorumFsync);
    replica.step(VIEW, Millis(0)).unwrap();
    replica.step(Input::Appended { log_end: Offset(14) }, Millis(0)).unwrap();
    assert_eq!(replica.recovery_report(), None);
    let record = record(5, 2, None, &BTreeSet::new());
    replica.step(Input::Image { record, config: replica.config() }, Millis(0)).unwrap();
    let report = replica.recovery_report().unwrap();
    assert_eq!((report.epoch, report.view, report.log_end), (LeaderEpoch(5), LeaderEpoch(3), Offset(10)));
    assert_eq!(report.directory, directory(0));
}
