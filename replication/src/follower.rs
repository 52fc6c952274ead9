//! What a replica does when another leads: agrees with its log, then copies.

use model::{LeaderEpoch, NodeId, Offset};

use crate::mutant::{Mutant, planted};
use crate::{Action, AttachAt, PartitionReplica, ReplicationError, Role};

impl PartitionReplica {
    /// Takes the leader's word for where the logs agree. What is to be cut counts as gone at once; until the cut is
    /// durable the replica follows nobody and has no new view.
    pub(crate) fn attached(
        &mut self,
        epoch: LeaderEpoch,
        epoch_start: Offset,
        at: AttachAt,
        actions: &mut Vec<Action>,
    ) -> Result<(), ReplicationError> {
        self.want_epoch(epoch)?;
        let (Role::Reconciling { leader: Some(leader) } | Role::Follower { leader }) = self.role else {
            return Err(ReplicationError::NotFollower { node: self.node });
        };
        if let Some(to) = self.cutting {
            return Err(ReplicationError::BeingCut { to });
        }
        match at {
            AttachAt::End(end) if end >= self.log_end => self.role = Role::Follower { leader },
            AttachAt::End(end) => {
                let high_watermark = self.high_watermark;
                if end < high_watermark && !planted(Mutant::CutsAcknowledged) {
                    return Err(ReplicationError::TruncatesAcknowledged { log_end: end, high_watermark });
                }
                self.cut_to(end, self.durable_end.min(end), leader);
                actions.push(Action::Truncate(end));
            }
            AttachAt::LogStart(start) => {
                self.check_rises("log end", self.log_end, start)?;
                self.cut_to(start, start, leader);
                // Only what was acknowledged is ever deleted.
                self.high_watermark = start;
                actions.push(Action::Reset(start));
            }
        }
        self.epoch_start = Some(epoch_start);
        Ok(())
    }

    pub(crate) fn truncated(&mut self, log_end: Offset) -> Result<(), ReplicationError> {
        if self.cutting != Some(log_end) {
            return Err(ReplicationError::NotAskedToCut { log_end });
        }
        self.cutting = None;
        // Without a start the cut was for a former epoch: there is a new leader to agree with.
        if let Role::Reconciling { leader: Some(leader) } = self.role
            && self.epoch_start.is_some()
        {
            self.role = Role::Follower { leader };
        }
        Ok(())
    }

    pub(crate) fn leader_high_watermark(
        &mut self,
        epoch: LeaderEpoch,
        high_watermark: Offset,
    ) -> Result<(), ReplicationError> {
        self.want_epoch(epoch)?;
        match self.role {
            // The log may still hold what the leader does not have: its end would be taken for acknowledged.
            Role::Reconciling { .. } => {
                Err(ReplicationError::NotReconciled { node: self.node, epoch: self.epoch() })
            }
            Role::Follower { .. } => {
                self.high_watermark = self.high_watermark.max(high_watermark.min(self.log_end));
                Ok(())
            }
            Role::Leader => Err(ReplicationError::NotFollower { node: self.node }),
        }
    }

    fn cut_to(&mut self, end: Offset, durable_end: Offset, leader: NodeId) {
        (self.log_end, self.durable_end) = (end, durable_end);
        self.high_watermark = self.high_watermark.min(end);
        self.cutting = Some(end);
        self.role = Role::Reconciling { leader: Some(leader) };
    }
}
