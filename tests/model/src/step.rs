//! What can happen next. A step is data, so that a run can be replayed and shortened.

use std::collections::BTreeSet;

use replication::{AttachAt, BrokerState, Durability, Input, RecoveryReport, Role};

use crate::Ablation;
use crate::broker::{Disk, Rec, directory, index, offset};
use crate::world::{Message, NODES, RECORDS_MAX, World};

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A leader appends a record.
    Append(usize),
    /// All that is in memory becomes durable.
    Flush(usize),
    /// A view that is being written becomes durable.
    FinishView(usize),
    /// A cut becomes durable.
    FinishCut(usize),
    /// A broker applies the newest metadata.
    Image(usize),
    /// A follower compares its log with the leader's.
    Attach(usize),
    /// A follower copies a record, and hears the high watermark.
    Copy(usize),
    /// A follower says how far it is.
    Report(usize),
    /// A leader asks for a node to join or leave the ISR, or (itself) for the ISR as it is.
    Propose(usize, usize),
    /// A leader asks the controller again.
    Ask(usize),
    /// A message arrives; it may be on its way a second time.
    Deliver(usize, bool),
    /// A message is lost.
    Lose(usize),
    /// The controller takes a broker for dead.
    Fence(usize),
    /// The controller hears of a broker again.
    Unfence(usize),
    /// The leadership moves.
    Move(usize),
    /// The power of one broker is cut.
    Cut(usize),
    /// The power of all is cut.
    CutAll,
    /// A broker stops cleanly.
    Stop(usize),
    /// A broker's disk is replaced by an empty one, with its power cut.
    LoseDisk(usize),
    /// A broker starts and registers.
    Start(usize),
    /// `min.insync.replicas` changes, and the mode.
    Configure(usize, bool),
    /// The partition gets replicas on all brokers.
    Spread,
    /// The controller hears reports from these brokers (bits) and elects behind a blackout.
    Recover(usize),
}

impl World {
    /// Does a step; `false` if it can't be done now.
    ///
    /// # Errors
    /// What must never happen, in words.
    pub(crate) fn do_step(&mut self, step: Step) -> Result<bool, String> {
        let epoch = self.record.leader_epoch;
        let is_done = self.try_step(step)?;
        self.elections += u32::from(self.record.leader_epoch > epoch);
        if is_done {
            self.check_leader()?;
        }
        Ok(is_done)
    }

    fn try_step(&mut self, step: Step) -> Result<bool, String> {
        match step {
            Step::Append(node) => self.append(node),
            Step::Flush(node) => self.flush(node),
            Step::FinishView(node) => self.finish_view(node),
            Step::FinishCut(node) => self.finish_cut(node),
            Step::Image(node) => self.image(node),
            Step::Attach(node) => self.attach(node),
            Step::Copy(node) => self.copy(node),
            Step::Report(node) => Ok(self.report(node)),
            Step::Propose(leader, node) => self.propose(leader, node),
            Step::Ask(node) => self.ask(node),
            Step::Deliver(which, again) => self.deliver(which, again),
            Step::Lose(which) => Ok(self.lose(which)),
            Step::Fence(node) => Ok(self.fence(node)),
            Step::Unfence(node) => Ok(self.unfence(node)),
            Step::Move(node) => {
                let to = self.brokers[node].node;
                Ok(self.record.leader != Some(to) && self.record.move_leader(to, &self.registered).is_ok())
            }
            Step::Cut(node) => Ok(self.cut(node)),
            Step::CutAll => Ok((0..NODES).map(|node| self.cut(node)).fold(false, |any, one| any | one)),
            Step::Stop(node) => Ok(self.stop(node)),
            Step::LoseDisk(node) => Ok(self.lose_disk(node)),
            Step::Start(node) => self.start(node),
            Step::Configure(min, all) => Ok(self.reconfigure(min, all)),
            Step::Spread => Ok(self.spread()),
            Step::Recover(bits) => Ok(self.recover(bits)),
        }
    }

    fn append(&mut self, node: usize) -> Result<bool, String> {
        let records = self.records;
        let Some(memory) = self.brokers[node].memory.as_mut() else { return Ok(false) };
        // Behind a cut that is not durable nothing is appended, as in storage.
        let may_append = memory.replica.role() == Role::Leader && memory.cut.is_none();
        if !may_append || memory.log.len() >= RECORDS_MAX {
            return Ok(false);
        }
        memory.log.push(Rec { epoch: memory.replica.epoch(), number: records });
        let log_end = offset(memory.log.len());
        self.records += 1;
        self.tell(node, Input::Appended { log_end })
    }

    fn flush(&mut self, node: usize) -> Result<bool, String> {
        let broker = &mut self.brokers[node];
        let Some(memory) = broker.memory.as_mut() else { return Ok(false) };
        if memory.cut.is_some() || memory.replica.durable_end() == memory.replica.log_end() {
            return Ok(false);
        }
        broker.disk.log.clone_from(&memory.log);
        broker.disk.high_watermark = memory.replica.high_watermark();
        let durable_end = offset(memory.log.len());
        self.tell(node, Input::Durable { durable_end })
    }

    fn finish_view(&mut self, node: usize) -> Result<bool, String> {
        let broker = &mut self.brokers[node];
        let Some(view) = broker.memory.as_mut().and_then(|memory| memory.view_write.take()) else {
            return Ok(false);
        };
        broker.disk.view = broker.disk.view.max(view);
        self.tell(node, Input::ViewWritten { view })
    }

    fn finish_cut(&mut self, node: usize) -> Result<bool, String> {
        let broker = &mut self.brokers[node];
        let Some(log_end) = broker.memory.as_mut().and_then(|memory| memory.cut.take()) else {
            return Ok(false);
        };
        broker.disk.log.truncate(index(log_end));
        self.tell(node, Input::Truncated { log_end })
    }

    fn image(&mut self, node: usize) -> Result<bool, String> {
        let Some(memory) = self.brokers[node].memory.as_ref() else { return Ok(false) };
        let is_known = memory.replica.record() == &self.record;
        if is_known || !self.is_registered(node) {
            return Ok(false);
        }
        let (record, config) = (self.record.clone(), self.config);
        self.tell(node, Input::Image { record, config })
    }

    fn attach(&mut self, node: usize) -> Result<bool, String> {
        let Some(leader) = self.leader_of(node) else { return Ok(false) };
        let (Some(memory), Some(other)) = (&self.brokers[node].memory, &self.brokers[leader].memory) else {
            return Ok(false);
        };
        if !matches!(memory.replica.role(), Role::Reconciling { .. }) {
            return Ok(false);
        }
        let common = memory.log.iter().zip(&other.log).take_while(|(mine, theirs)| mine == theirs).count();
        let input = Input::Attached {
            epoch: other.replica.epoch(),
            epoch_start: other.replica.epoch_start().unwrap_or_default(),
            at: AttachAt::End(offset(common)),
        };
        self.tell(node, input)
    }

    fn copy(&mut self, node: usize) -> Result<bool, String> {
        let Some(leader) = self.leader_of(node) else { return Ok(false) };
        let Some(theirs) = self.brokers[leader].memory.clone() else { return Ok(false) };
        let Some(memory) = self.brokers[node].memory.as_mut() else { return Ok(false) };
        if !matches!(memory.replica.role(), Role::Follower { .. }) {
            return Ok(false);
        }
        let mut is_done = false;
        if let Some(record) = theirs.log.get(memory.log.len()) {
            memory.log.push(*record);
            let log_end = offset(memory.log.len());
            is_done = self.tell(node, Input::Appended { log_end })?;
        }
        let (epoch, high_watermark) = (theirs.replica.epoch(), theirs.replica.high_watermark());
        let before = self.brokers[node].memory.as_ref().map(|memory| memory.replica.high_watermark());
        self.tell(node, Input::LeaderHighWatermark { epoch, high_watermark })?;
        let after = self.brokers[node].memory.as_ref().map(|memory| memory.replica.high_watermark());
        Ok(is_done || after > before)
    }

    fn report(&mut self, node: usize) -> bool {
        let Some(leader) = self.leader_of(node) else { return false };
        let broker = &self.brokers[node];
        let Some(memory) = &broker.memory else { return false };
        if !matches!(memory.replica.role(), Role::Follower { .. }) {
            return false;
        }
        let input = Input::FollowerProgress {
            node: broker.node,
            broker_epoch: broker.epoch,
            epoch: memory.replica.epoch(),
            log_end: memory.replica.log_end(),
            durable_end: memory.replica.reported_durable_end(),
        };
        let (to, to_epoch) = (self.brokers[leader].node, self.brokers[leader].epoch);
        let count = self.messages.len();
        self.send(Message::Progress { to, to_epoch, input });
        self.messages.len() > count
    }

    fn propose(&mut self, leader: usize, node: usize) -> Result<bool, String> {
        let other = self.brokers[node].node;
        let Some(memory) = &self.brokers[leader].memory else { return Ok(false) };
        if memory.replica.role() != Role::Leader {
            return Ok(false);
        }
        let mut isr = memory.replica.isr().clone();
        if leader != node && !isr.remove(&other) {
            isr.insert(other);
        }
        self.tell(leader, Input::ProposeIsr { isr })
    }

    fn ask(&mut self, node: usize) -> Result<bool, String> {
        let memory = self.brokers[node].memory.as_ref();
        let Some(action) = memory.and_then(|memory| memory.replica.unanswered()) else { return Ok(false) };
        let count = self.messages.len();
        self.act(node, action)?;
        Ok(self.messages.len() > count)
    }

    fn deliver(&mut self, which: usize, again: bool) -> Result<bool, String> {
        if self.messages.is_empty() {
            return Ok(false);
        }
        let which = which % self.messages.len();
        let message = if again { self.messages[which].clone() } else { self.messages.remove(which) };
        match message {
            Message::Progress { to, input, .. } => {
                let leader = self.brokers.iter().position(|broker| broker.node == to).unwrap_or(0);
                self.tell(leader, input)
            }
            Message::AlterIsr { from, proposal } => {
                Ok(self.record.alter_isr(from, &proposal, &self.registered, self.config).is_ok())
            }
            Message::Settle { from, settle } => Ok(self.record.settle(from, settle).is_ok()),
        }
    }

    fn lose(&mut self, which: usize) -> bool {
        if self.messages.is_empty() {
            return false;
        }
        let which = which % self.messages.len();
        self.messages.remove(which);
        true
    }

    pub(crate) fn set_fenced(&mut self, node: usize, is_fenced: bool) -> bool {
        let id = self.brokers[node].node;
        let Some(state) = self.registered.get_mut(&id) else { return false };
        if state.is_fenced == is_fenced {
            return false;
        }
        *state = BrokerState { is_fenced, ..*state };
        true
    }

    fn fence(&mut self, node: usize) -> bool {
        let is_done = self.set_fenced(node, true);
        if is_done {
            self.record.fence(self.brokers[node].node, &self.registered, self.config);
        }
        is_done
    }

    fn unfence(&mut self, node: usize) -> bool {
        // A broker is unfenced by its own heartbeat.
        let is_up = self.brokers[node].memory.is_some() && self.is_registered(node);
        let is_done = is_up && self.set_fenced(node, false);
        if is_done {
            self.record.unfence(&self.registered, self.config);
        }
        is_done
    }

    fn cut(&mut self, node: usize) -> bool {
        let is_up = self.brokers[node].memory.is_some();
        self.kill(node);
        is_up
    }

    fn stop(&mut self, node: usize) -> bool {
        let broker = &mut self.brokers[node];
        let Some(memory) = &broker.memory else { return false };
        if memory.replica.durable_end() != memory.replica.log_end() || memory.cut.is_some() {
            return false;
        }
        broker.disk.high_watermark = memory.replica.high_watermark();
        broker.disk.clean_marker = Some(broker.epoch);
        self.kill(node);
        true
    }

    fn lose_disk(&mut self, node: usize) -> bool {
        if self.brokers[node].disk.log.is_empty() {
            return false;
        }
        self.kill(node);
        let generation = self.next_disk();
        self.brokers[node].disk = Disk::new(directory(self.brokers[node].node, generation));
        true
    }

    fn start(&mut self, node: usize) -> Result<bool, String> {
        if self.brokers[node].memory.is_some() {
            let is_late = !self.is_registered(node);
            if is_late {
                self.register(node);
            }
            return Ok(is_late);
        }
        self.next_incarnation(node);
        self.brokers[node].start(self.config);
        let old_image = self.brokers[node].old_image.take();
        if self.ablation == Some(Ablation::ActsBeforeRegistration)
            && let Some((record, config)) = old_image
        {
            return self.tell(node, Input::Image { record, config });
        }
        self.register(node);
        Ok(true)
    }

    fn reconfigure(&mut self, min: usize, all: bool) -> bool {
        let durability = if all { Durability::AllFsync } else { Durability::QuorumFsync };
        let is_new = (self.config.min_insync_replicas(), self.config.durability) != (min, durability);
        if is_new {
            self.set_config(min, durability);
        }
        is_new
    }

    fn spread(&mut self) -> bool {
        let added = self.brokers.iter().map(|broker| (broker.node, broker.disk.directory)).collect();
        let is_new = self.record.replicas.len() < NODES;
        if is_new {
            self.record.add_replicas(&added);
        }
        is_new
    }

    fn recover(&mut self, bits: usize) -> bool {
        let among: BTreeSet<usize> = (0..NODES).filter(|node| bits >> node & 1 == 1).collect();
        let reports: Vec<RecoveryReport> = among
            .into_iter()
            .filter(|node| self.is_registered(*node))
            .filter_map(|node| self.recovery_report(node))
            .collect();
        let is_done = self.record.recover(&reports, self.config);
        if is_done && let Some(leader) = self.record.leader {
            let node = self.brokers.iter().position(|broker| broker.node == leader).unwrap_or(0);
            self.set_fenced(node, false);
        }
        is_done
    }

    fn recovery_report(&self, node: usize) -> Option<RecoveryReport> {
        let memory = self.brokers[node].memory.as_ref()?;
        let mut report = memory.replica.recovery_report()?;
        if self.ablation == Some(Ablation::LastRecordsEpoch) {
            let stable = &memory.log[..index(report.log_end)];
            report.view = stable.last().map_or(model::LeaderEpoch::NONE, |record| record.epoch);
        }
        Some(report)
    }
}
