//! The topic's settings that a replica and the controller go by.

/// What the acknowledgement of a record promises (`durability`, per topic).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// In memory on every in-sync replica and on stable storage on [`ReplicaConfig::copies`] of them.
    #[default]
    QuorumFsync,
    /// On stable storage on every in-sync replica.
    AllFsync,
    /// As Kafka: in memory on every in-sync replica; on the leader at least handed to the kernel. The leader's
    /// [`crate::Input::Durable`] then means "the write has completed", not "it is on stable storage".
    Kafka,
}

/// The topic's settings that a replica depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// `min.insync.replicas`, at least 1.
    min_insync_replicas: usize,
    /// What an acknowledgement promises.
    pub durability: Durability,
}

impl ReplicaConfig {
    /// The settings; `min_insync_replicas` below 1 counts as 1.
    #[must_use]
    pub fn new(min_insync_replicas: usize, durability: Durability) -> Self {
        Self { min_insync_replicas: min_insync_replicas.max(1), durability }
    }

    /// `min.insync.replicas`.
    #[must_use]
    pub const fn min_insync_replicas(&self) -> usize {
        self.min_insync_replicas
    }

    /// On how many disks a record is before acks=all is answered by an ISR of `isr` members: q(I) of the
    /// durability rule. With `min.insync.replicas=1` (Kafka's default) a majority is taken, since a recovery
    /// behind a blackout would need every disk back otherwise.
    #[must_use]
    pub fn copies(&self, isr: usize) -> usize {
        match self.durability {
            Durability::QuorumFsync => self.min_insync_replicas.max(isr / 2 + 1),
            Durability::AllFsync => self.min_insync_replicas.max(isr),
            Durability::Kafka => 1,
        }
    }
}

impl Default for ReplicaConfig {
    fn default() -> Self {
        Self::new(1, Durability::default())
    }
}

/// How many replicas a producer wants its records on before the answer. (acks=0 waits for nothing.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// acks=1.
    Leader,
    /// acks=all.
    All,
}
