//! What can be wrong with a request to the group coordinator.

use crate::coordination::runner::WriteError;

/// Kafka's group errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupError {
    /// The group is led elsewhere.
    NotCoordinator,
    /// Try again later.
    CoordinatorNotAvailable,
    /// The log is still being replayed.
    CoordinatorLoadInProgress,
    /// An empty group id where one is needed.
    InvalidGroupId,
    /// The session timeout is outside the configured bounds.
    InvalidSessionTimeout,
    /// No room for another member.
    GroupMaxSizeReached,
    /// The member speaks none of the group's protocols.
    InconsistentGroupProtocol,
    /// No such member.
    UnknownMemberId,
    /// Join again with the member id of the reply (KIP-394).
    MemberIdRequired,
    /// Another process took over this static member (KIP-345).
    FencedInstanceId,
    /// The generation is not the current one.
    IllegalGeneration,
    /// The group rebalances: join again.
    RebalanceInProgress,
    /// The commit's metadata is longer than allowed.
    OffsetMetadataTooLarge,
    /// No such group.
    GroupIdNotFound,
    /// The group still has members.
    NonEmptyGroup,
    /// Members of the group consume the topic.
    GroupSubscribedToTopic,
    /// None of the above.
    UnknownServerError,
}

impl From<WriteError> for GroupError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Unavailable => Self::CoordinatorNotAvailable,
            WriteError::NotLeader | WriteError::StaleEpoch => Self::NotCoordinator,
            WriteError::TooLarge => Self::UnknownServerError,
        }
    }
}
