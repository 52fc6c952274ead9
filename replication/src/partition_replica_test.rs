//! The durability rule holds after every step of any sequence of inputs, judged from outside by a naive
//! list of facts; and each seeded bug is caught by that judge.

use std::collections::{BTreeMap, BTreeSet};

use model::{LeaderEpoch, NodeId, Offset};
use proptest::prelude::*;

use crate::progress::{Mutant, PLANTED};
use crate::{
    Acks, Action, Durability, Input, Millis, PartitionReplica, ReplicaConfig, ReplicationError, Role,
};

const ME: NodeId = NodeId(0);

/// One random step, before the state gives it a meaning.
type Draw = (u8, u8, u8, u8);

/// What an outsider knows who has read every accepted input.
struct Judge {
    replica: PartitionReplica,
    epoch: i32,
    leads: bool,
    ends: BTreeMap<i32, (i64, i64)>,
    isr: BTreeSet<i32>,
    proposed: BTreeSet<i32>,
    m: usize,
    mode: Durability,
}

impl Judge {
    fn new() -> Self {
        let config = ReplicaConfig::new(1, Durability::QuorumFsync);
        Self {
            replica: PartitionReplica::leader(ME, LeaderEpoch(0), Offset(0), Offset(0), config).unwrap(),
            epoch: 0,
            leads: true,
            ends: BTreeMap::from([(0, (0, 0))]),
            isr: BTreeSet::from([0]),
            proposed: BTreeSet::new(),
            m: 1,
            mode: Durability::QuorumFsync,
        }
    }

    /// Gives a draw its meaning: mostly possible inputs, some stale or impossible ones.
    fn input(&self, (kind, a, b, c): Draw) -> Input {
        let own = self.ends[&0];
        let node = i32::from(a % 3) + 1;
        let step = i64::from(b % 5) - 1;
        let members = |bits: u8| (0..4).filter(|n| *n == 0 || bits & (1 << n) != 0).map(NodeId).collect();
        match kind % 20 {
            0..4 => Input::Appended { log_end: Offset(own.0 + step) },
            4..8 => Input::Durable { durable_end: Offset(own.1 + step.min(own.0 + 1 - own.1)) },
            8..13 => {
                let (log_end, durable_end) = self.ends.get(&node).copied().unwrap_or((0, 0));
                let log_end = (log_end + step * 2).min(own.0).max(0);
                let durable_end = (durable_end + i64::from(c % 5)).min(log_end + i64::from(c == 255));
                let epoch = LeaderEpoch(self.epoch - i32::from(a > 230));
                Input::FollowerProgress {
                    node: NodeId(node),
                    epoch,
                    log_end: Offset(log_end),
                    durable_end: Offset(durable_end),
                }
            }
            13 => Input::IsrProposed { isr: members(a) },
            14 | 15 => Input::IsrChanged { isr: members(a) },
            16 if a < 128 => {
                let mode = [Durability::QuorumFsync, Durability::AllFsync, Durability::Kafka];
                let mode = mode[usize::from(c % 8).saturating_sub(5)];
                Input::ConfigChanged(ReplicaConfig::new(usize::from(b % 3) + 1, mode))
            }
            17 if a < 64 => Input::BecomeFollower { epoch: self.next_epoch(b), leader: Some(NodeId(node)) },
            17 => Input::Truncated { log_end: Offset(own.0 - step - 1) },
            18 => {
                let high_watermark = Offset(self.replica.high_watermark().0 + step);
                Input::LeaderHighWatermark { epoch: LeaderEpoch(self.epoch), high_watermark }
            }
            _ if !self.leads || a < 20 => Input::BecomeLeader { epoch: self.next_epoch(b), isr: members(c) },
            _ => Input::Appended { log_end: Offset(own.0 + 1) },
        }
    }

    fn next_epoch(&self, b: u8) -> LeaderEpoch {
        LeaderEpoch(self.epoch + i32::from(!b.is_multiple_of(4)))
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
        let plain = |isr: &BTreeSet<NodeId>| isr.iter().map(|node| node.0).collect::<BTreeSet<i32>>();
        let mut own = self.ends[&0];
        match input {
            Input::Appended { log_end } => own.0 = log_end.0,
            Input::Durable { durable_end } => own.1 = durable_end.0,
            Input::Truncated { log_end } => own = (own.0.min(log_end.0), own.1.min(log_end.0)),
            Input::FollowerProgress { node, epoch, log_end, durable_end } => {
                // What a follower said under another leader is no fact about this epoch.
                if epoch.0 == self.epoch {
                    self.ends.insert(node.0, (log_end.0, durable_end.0));
                }
            }
            Input::IsrProposed { isr } => self.proposed = plain(isr),
            Input::IsrChanged { isr } => (self.isr, self.proposed) = (plain(isr), BTreeSet::new()),
            Input::BecomeLeader { epoch, isr } => {
                (self.epoch, self.leads, self.isr) = (epoch.0, true, plain(isr));
                self.proposed.clear();
                self.ends.clear();
            }
            Input::BecomeFollower { epoch, .. } => {
                (self.epoch, self.leads) = (epoch.0, false);
                self.isr.clear();
                self.proposed.clear();
                self.ends.clear();
            }
            Input::LeaderHighWatermark { .. } => {}
            Input::ConfigChanged(config) => {
                (self.m, self.mode) = (config.min_insync_replicas(), config.durability);
            }
        }
        self.ends.insert(0, own);
    }

    /// Whether records below `offset` may be acknowledged, counted head by head.
    fn may_acknowledge(&self, offset: i64) -> bool {
        let reached = |node: &i32| self.ends.get(node).is_some_and(|ends| ends.0 >= offset) || offset == 0;
        self.isr.len() >= self.m
            && self.isr.union(&self.proposed).all(reached)
            && self.is_durable_enough(offset)
    }

    fn is_durable_enough(&self, offset: i64) -> bool {
        let holds = |node: &&i32| self.ends.get(node).is_some_and(|ends| ends.1 >= offset) || offset == 0;
        match self.mode {
            Durability::Kafka => self.ends[&0].1 >= offset,
            Durability::AllFsync => self.isr.union(&self.proposed).all(|node| holds(&node)),
            Durability::QuorumFsync => self.isr.iter().filter(holds).count() >= self.m,
        }
    }

    fn judge(&self, before: &PartitionReplica, input: &Input, actions: &[Action]) -> Result<(), String> {
        let replica = &self.replica;
        let want = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        let (old, new) = (before.high_watermark().0, replica.high_watermark().0);
        want(new >= old, "the high watermark went back")?;
        want(new <= self.ends[&0].0, "acknowledged records were cut off")?;
        want(replica.acked_offset(Acks::Leader).0 == self.ends[&0].1, "acks=1 before the leader has it")?;
        want(replica.acked_offset(Acks::All).0 == new, "acks=all is not the high watermark")?;
        let told = actions.contains(&Action::HighWatermarkAdvanced(Offset(new)));
        want(told == (new > old), "an advance was not told, or told without being one")?;
        if self.leads {
            want(new == old || self.may_acknowledge(new), "acknowledged against the durability rule")?;
            want(
                !(new + 1..=self.ends[&0].0).any(|offset| self.may_acknowledge(offset)),
                "what may be acknowledged is not",
            )?;
            self.judge_shrink(before, input)?;
        }
        replica.check_invariants();
        Ok(())
    }

    /// After a shrink the old ISR stays on record until the new one holds what was acknowledged.
    fn judge_shrink(&self, before: &PartitionReplica, input: &Input) -> Result<(), String> {
        let shrinks = matches!(input, Input::IsrChanged { isr } if !isr.is_superset(before.isr()));
        let is_due =
            (shrinks || before.isr_before_shrink().is_some()) && self.replica.epoch() == before.epoch();
        let is_settled = self.mode == Durability::Kafka
            || (self.isr.len() >= self.m && self.is_durable_enough(self.replica.high_watermark().0));
        match self.replica.isr_before_shrink() {
            None if is_due && !is_settled => Err("an unsettled shrink was forgotten".into()),
            Some(_) if is_settled => Err("a settled shrink is still on record".into()),
            _ => Ok(()),
        }
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
fn every_seeded_bug_is_caught() {
    let caught = |mutant: Option<Mutant>| {
        PLANTED.set(mutant);
        let mut rng = fastrand::Rng::with_seed(7);
        let mut draw = || (rng.u8(..), rng.u8(..), rng.u8(..), rng.u8(..));
        let found = (0..3_000).find_map(|_| run(&(0..120).map(|_| draw()).collect::<Vec<_>>()).err());
        PLANTED.set(None);
        found
    };
    assert_eq!(caught(None), None, "without a bug nothing is reported");
    for (mutant, broken) in [
        (Mutant::AckBeforeDurable, "against the durability rule"),
        (Mutant::AckBeforeReplicated, "against the durability rule"),
        (Mutant::CountsOneTooFew, "against the durability rule"),
        (Mutant::NotFrozen, "against the durability rule"),
        (Mutant::ForgetsProposedIsr, "against the durability rule"),
        (Mutant::IgnoresEpoch, "against the durability rule"),
        (Mutant::GoesBack, "went back"),
        (Mutant::ForgetsShrink, "shrink was forgotten"),
        (Mutant::CutsAcknowledged, "were cut off"),
    ] {
        let report = caught(Some(mutant)).unwrap_or_else(|| panic!("{mutant:?} was not caught"));
        assert!(report.contains(broken), "{mutant:?}: {report}");
    }
}

fn leader(log_end: i64, durable_end: i64, m: usize, durability: Durability) -> PartitionReplica {
    let config = ReplicaConfig::new(m, durability);
    PartitionReplica::leader(ME, LeaderEpoch(3), Offset(log_end), Offset(durable_end), config).unwrap()
}

fn isr(nodes: &[i32]) -> BTreeSet<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

fn told(node: i32, log_end: i64, durable_end: i64) -> Input {
    let (log_end, durable_end) = (Offset(log_end), Offset(durable_end));
    Input::FollowerProgress { node: NodeId(node), epoch: LeaderEpoch(3), log_end, durable_end }
}

#[test]
fn on_one_node_the_high_watermark_is_what_is_durable() {
    for durability in [Durability::QuorumFsync, Durability::AllFsync, Durability::Kafka] {
        let mut replica = leader(10, 10, 1, durability);
        assert_eq!(replica.high_watermark(), Offset(10));
        assert_eq!(replica.step(Input::Appended { log_end: Offset(15) }, Millis(1)), Ok(vec![]));
        let actions = replica.step(Input::Durable { durable_end: Offset(12) }, Millis(2)).unwrap();
        let expect = [Action::LeaderAckAdvanced(Offset(12)), Action::HighWatermarkAdvanced(Offset(12))];
        assert_eq!(actions, expect, "{durability:?}");
    }
}

#[test]
fn three_replicas_acknowledge_by_the_formula() {
    // (m, mode), the ends of leader and followers, and the high watermark.
    type Row = ((usize, Durability), [(i64, i64); 3], i64);
    const ROWS: [Row; 7] = [
        ((2, Durability::QuorumFsync), [(100, 100), (100, 90), (100, 10)], 90),
        ((2, Durability::QuorumFsync), [(100, 10), (100, 100), (100, 100)], 100),
        ((2, Durability::QuorumFsync), [(100, 100), (100, 100), (60, 60)], 60),
        ((3, Durability::QuorumFsync), [(100, 100), (100, 90), (100, 10)], 10),
        ((1, Durability::AllFsync), [(100, 100), (100, 90), (100, 10)], 10),
        ((1, Durability::Kafka), [(100, 70), (100, 0), (90, 0)], 70),
        ((4, Durability::QuorumFsync), [(100, 100), (100, 100), (100, 100)], 0),
    ];
    for ((m, durability), ends, expect) in ROWS {
        let mut replica = leader(0, 0, m, durability);
        let own = ends[0];
        for input in [
            Input::IsrChanged { isr: isr(&[0, 1, 2]) },
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
fn a_shrink_is_settled_when_the_new_isr_holds_what_was_acknowledged() {
    let mut replica = leader(0, 0, 2, Durability::QuorumFsync);
    for input in [
        Input::IsrChanged { isr: isr(&[0, 1, 2]) },
        Input::Appended { log_end: Offset(100) },
        told(1, 100, 100),
        Input::Durable { durable_end: Offset(100) },
        told(2, 100, 20),
        Input::IsrChanged { isr: isr(&[0, 2]) },
    ] {
        replica.step(input, Millis(0)).unwrap();
    }
    // 1 and the leader made 100 durable; in the new ISR only the leader has.
    assert_eq!(replica.high_watermark(), Offset(100));
    assert_eq!(replica.isr_before_shrink(), Some(&isr(&[0, 1, 2])));
    assert_eq!(replica.step(told(2, 100, 99), Millis(0)), Ok(vec![]));
    assert_eq!(replica.step(told(2, 100, 100), Millis(0)), Ok(vec![Action::IsrSettled]));
    assert_eq!(replica.isr_before_shrink(), None);
}

#[test]
fn what_cannot_be_true_is_refused() {
    type Row = (Input, fn(&ReplicationError) -> bool);
    let epoch = LeaderEpoch(3);
    let rows: [Row; 9] = [
        (Input::Appended { log_end: Offset(9) }, |e| matches!(e, ReplicationError::WentBack { .. })),
        (Input::Durable { durable_end: Offset(7) }, |e| matches!(e, ReplicationError::WentBack { .. })),
        (Input::Durable { durable_end: Offset(11) }, |e| {
            matches!(e, ReplicationError::DurableBeyondLogEnd { .. })
        }),
        (Input::Truncated { log_end: Offset(9) }, |e| matches!(e, ReplicationError::LeaderTruncates { .. })),
        (told(1, 5, 6), |e| matches!(e, ReplicationError::DurableBeyondLogEnd { .. })),
        (Input::IsrChanged { isr: isr(&[1]) }, |e| matches!(e, ReplicationError::LeaderNotInIsr { .. })),
        (Input::IsrProposed { isr: isr(&[0, 1]) }, |e| matches!(e, ReplicationError::NotCaughtUp { .. })),
        (Input::BecomeFollower { epoch, leader: None }, |e| matches!(e, ReplicationError::WrongEpoch { .. })),
        (
            Input::FollowerProgress {
                node: NodeId(1),
                epoch: LeaderEpoch(2),
                log_end: Offset(10),
                durable_end: Offset(10),
            },
            |e| matches!(e, ReplicationError::WrongEpoch { .. }),
        ),
    ];
    for (input, is_expected) in rows {
        let error = leader(10, 8, 1, Durability::QuorumFsync).step(input.clone(), Millis(0)).unwrap_err();
        assert!(is_expected(&error), "{input:?}: {error}");
    }
}

#[test]
fn a_follower_keeps_what_it_knows_to_be_acknowledged() {
    let config = ReplicaConfig::default();
    let epoch = LeaderEpoch(3);
    let mut replica =
        PartitionReplica::follower(ME, epoch, Offset(10), Offset(10), Offset(4), config).unwrap();
    let tell = |high_watermark| Input::LeaderHighWatermark { epoch, high_watermark: Offset(high_watermark) };
    assert_eq!(replica.step(tell(6), Millis(0)), Ok(vec![Action::HighWatermarkAdvanced(Offset(6))]));
    assert_eq!(replica.step(tell(5), Millis(0)), Ok(vec![]));
    replica.step(Input::Truncated { log_end: Offset(6) }, Millis(0)).unwrap();
    let refused = replica.step(Input::Truncated { log_end: Offset(5) }, Millis(0));
    assert!(matches!(refused, Err(ReplicationError::TruncatesAcknowledged { .. })));
    assert!(matches!(replica.step(told(1, 1, 1), Millis(0)), Err(ReplicationError::NotLeader { .. })));
    let members = isr(&[0, 1]);
    replica.step(Input::BecomeLeader { epoch: LeaderEpoch(4), isr: members.clone() }, Millis(9)).unwrap();
    assert_eq!(
        (replica.role(), replica.high_watermark(), replica.isr()),
        (Role::Leader, Offset(6), &members)
    );
    assert_eq!(replica.progress(ME).unwrap().caught_up_at, Millis(9));
    assert!(PartitionReplica::follower(ME, epoch, Offset(3), Offset(3), Offset(4), config).is_err());
}
