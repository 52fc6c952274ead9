//! What can be left out of the rule, to see that the model notices.

use replication::Mutant;

/// One thing left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ablation {
    /// A bug planted into the state machines.
    Planted(Mutant),
    /// A recovery goes by the epoch of the last record instead of the view.
    LastRecordsEpoch,
    /// A broker acts on images that are older than its registration.
    ActsBeforeRegistration,
}

/// All that the model has to notice.
pub const ABLATIONS: [Ablation; 21] = [
    Ablation::Planted(Mutant::AckBeforeDurable),
    Ablation::Planted(Mutant::AckBeforeReplicated),
    Ablation::Planted(Mutant::CountsOneTooFew),
    Ablation::Planted(Mutant::NotFrozen),
    Ablation::Planted(Mutant::ForgetsProposedIsr),
    Ablation::Planted(Mutant::CountsProposedDurable),
    Ablation::Planted(Mutant::IgnoresEpoch),
    Ablation::Planted(Mutant::ReportsBeforeView),
    Ablation::Planted(Mutant::ViewBeforeCut),
    Ablation::Planted(Mutant::JoinsAtHighWatermark),
    Ablation::Planted(Mutant::SettlesTooEarly),
    Ablation::Planted(Mutant::NoRecord),
    Ablation::Planted(Mutant::NoUnion),
    Ablation::Planted(Mutant::ForgetsFewerCopies),
    Ablation::Planted(Mutant::NoBump),
    Ablation::Planted(Mutant::KeepsUnclean),
    Ablation::Planted(Mutant::IgnoresBrokerEpoch),
    Ablation::Planted(Mutant::IgnoresDirectory),
    Ablation::Planted(Mutant::RecoversTooEarly),
    Ablation::LastRecordsEpoch,
    Ablation::ActsBeforeRegistration,
];
