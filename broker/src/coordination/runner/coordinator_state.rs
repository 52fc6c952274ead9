//! Whether a coordinator serves, in Kafka's words.
//!
//! | state    | the log is replayed | it cannot be | resigned |
//! |----------|---------------------|--------------|----------|
//! | Loading  | Active              | Failed       | Resigned |
//! | Active   | never               | never        | Resigned |
//! | Failed   | never               | never        | Resigned |
//! | Resigned | Resigned            | Resigned     | Resigned |

use super::coordinator_machine::Refusal;

/// The state of a coordinator in one leader epoch. Only an active one has a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoordinatorState<M> {
    /// The log is being replayed.
    Loading,
    /// It serves.
    Active(M),
    /// The log could not be replayed. No answer is better than an old one.
    Failed,
    /// The partition is led elsewhere, or in another epoch.
    Resigned,
}

impl<M> CoordinatorState<M> {
    /// Goes on with what the log says; says whether it is wanted.
    ///
    /// # Panics
    /// If the log was loaded before.
    pub fn loaded(&mut self, machine: M) -> bool {
        match self {
            Self::Loading => {
                *self = Self::Active(machine);
                true
            }
            Self::Resigned => false,
            Self::Active(_) | Self::Failed => panic!("a coordinator loads once"),
        }
    }

    /// Goes without what the log says; says whether anybody cares.
    ///
    /// # Panics
    /// If the log was loaded before.
    pub fn load_failed(&mut self) -> bool {
        match self {
            Self::Loading => {
                *self = Self::Failed;
                true
            }
            Self::Resigned => false,
            Self::Active(_) | Self::Failed => panic!("a coordinator loads once"),
        }
    }

    /// Ends the election; yields the machine if it was active.
    pub fn resign(&mut self) -> Option<M> {
        match std::mem::replace(self, Self::Resigned) {
            Self::Active(machine) => Some(machine),
            Self::Loading | Self::Failed | Self::Resigned => None,
        }
    }

    /// Whether the log is still being replayed.
    #[must_use]
    pub const fn is_loading(&self) -> bool {
        matches!(self, Self::Loading)
    }

    /// Why requests are refused, if they are.
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Loading => Some(Refusal::Loading),
            Self::Active(_) => None,
            Self::Failed | Self::Resigned => Some(Refusal::NotCoordinator),
        }
    }

    /// The machine that serves.
    pub const fn active(&self) -> Option<&M> {
        match self {
            Self::Active(machine) => Some(machine),
            Self::Loading | Self::Failed | Self::Resigned => None,
        }
    }

    /// The machine that serves.
    pub const fn active_mut(&mut self) -> Option<&mut M> {
        match self {
            Self::Active(machine) => Some(machine),
            Self::Loading | Self::Failed | Self::Resigned => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CoordinatorState::{Active, Failed, Loading, Resigned};
    use super::*;

    #[test]
    fn every_transition_of_the_table() {
        let mut state = Loading;
        assert!(state.loaded(7));
        assert_eq!((state, state.refusal(), state.is_loading()), (Active(7), None, false));
        assert_eq!(state.resign(), Some(7));
        assert_eq!((state, state.refusal()), (Resigned, Some(Refusal::NotCoordinator)));

        let mut state: CoordinatorState<i32> = Loading;
        assert_eq!((state.refusal(), state.is_loading()), (Some(Refusal::Loading), true));
        assert!(state.load_failed());
        assert_eq!((state, state.refusal()), (Failed, Some(Refusal::NotCoordinator)));
        assert_eq!((state.resign(), state), (None, Resigned));

        let mut state = Loading;
        assert_eq!((state.resign(), state), (None, Resigned));
        assert!(!state.loaded(7), "a load that ends too late changes nothing");
        assert!(!state.load_failed());
        assert_eq!((state.resign(), state), (None, Resigned));
    }

    #[test]
    #[should_panic(expected = "loads once")]
    fn what_is_active_is_not_loaded_again() {
        Active(7).loaded(8);
    }
}
