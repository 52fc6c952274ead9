//! Once the faults are over, records are acknowledged again.

use crate::Broken;
use crate::step::Step;
use crate::world::{NODES, World};

/// Rounds within which everything has to be well.
const ROUNDS_MAX: usize = 40;

impl World {
    /// Starts every broker, loses no more messages, and demands that everything that the leader has is acknowledged.
    ///
    /// # Errors
    /// What must never happen, or what does not.
    pub(crate) fn heal(&mut self) -> Result<(), Broken> {
        self.run_healed().map_err(Broken::Safety)?;
        self.check_healed().map_err(Broken::Progress)
    }

    fn run_healed(&mut self) -> Result<(), String> {
        self.messages.clear();
        for _ in 0..ROUNDS_MAX {
            for node in 0..NODES {
                for step in [Step::Start(node), Step::Image(node), Step::Unfence(node)] {
                    self.do_step(step)?;
                }
            }
            self.do_step(Step::Recover((1 << NODES) - 1))?;
            for node in 0..NODES {
                self.run_all(node)?;
            }
            while self.do_step(Step::Deliver(0, false))? || !self.messages.is_empty() {}
        }
        Ok(())
    }

    fn run_all(&mut self, node: usize) -> Result<(), String> {
        for step in [
            Step::FinishCut(node),
            Step::Image(node),
            Step::Attach(node),
            Step::FinishCut(node),
            Step::Copy(node),
            Step::Copy(node),
            Step::Flush(node),
            Step::FinishView(node),
            Step::Report(node),
            Step::Ask(node),
        ] {
            self.do_step(step)?;
        }
        while self.do_step(Step::Deliver(0, false))? || !self.messages.is_empty() {}
        // A leader asks for whoever is missing, one at a time.
        let Some(memory) = &self.brokers[node].memory else { return Ok(()) };
        let missing = (0..NODES).find(|other| {
            let id = self.brokers[*other].node;
            self.record.replicas.contains_key(&id) && !memory.replica.isr().contains(&id)
        });
        if let Some(missing) = missing {
            self.do_step(Step::Propose(node, missing))?;
        }
        Ok(())
    }

    fn check_healed(&self) -> Result<(), String> {
        let reachable = |broker: &&crate::broker::Broker| {
            self.record.replicas.get(&broker.node) == Some(&broker.disk.directory)
                && self.record.durable.among.contains(&broker.disk.directory)
        };
        let Some(leader) = self.record.leader else {
            // With too many disks lost nobody can know what was acknowledged.
            let left = self.brokers.iter().filter(reachable).count();
            let is_lost = left < self.record.durable.reports_needed();
            return if is_lost { Ok(()) } else { Err("no leader though enough disks are there".into()) };
        };
        let broker = self.brokers.iter().find(|broker| broker.node == leader);
        let Some(memory) = broker.and_then(|broker| broker.memory.as_ref()) else {
            return Err("the leader does not run".into());
        };
        if self.members() != self.record.isr {
            return Err(format!("not all are in sync: {:?}", self.record));
        }
        if memory.replica.is_under_min_isr() {
            return Ok(());
        }
        if memory.replica.high_watermark() != memory.replica.log_end() {
            return Err(format!("the leader does not acknowledge what it has: {:?}", memory.replica));
        }
        if !self.record.is_settled(self.config) {
            return Err(format!("not settled: {:?}", self.record));
        }
        Ok(())
    }
}
