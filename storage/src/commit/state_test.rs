//! Every state and every step: which are allowed, what comes of them, and that they reach all states that the invariant
//! allows and no other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

const TURNS: [Turn; 7] = [
    Turn::Resting,
    Turn::Queued,
    Turn::InLane,
    Turn::Committing,
    Turn::Writing,
    Turn::Stalled,
    Turn::Cutting,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Queue,
    JoinLane,
    BeginCommit,
    BeginWrite,
    FinishWrite,
    FinishCommit,
    Stall,
    Resume,
    BeginCut,
    FinishCut,
    BeginFlush,
    FinishFlush,
    EnterEntry,
    LeaveEntry(Option<usize>),
    ReleaseHalf,
    LeaveJournal,
}

const STEPS: [Step; 18] = [
    Step::Queue,
    Step::JoinLane,
    Step::BeginCommit,
    Step::BeginWrite,
    Step::FinishWrite,
    Step::FinishCommit,
    Step::Stall,
    Step::Resume,
    Step::BeginCut,
    Step::FinishCut,
    Step::BeginFlush,
    Step::FinishFlush,
    Step::EnterEntry,
    Step::LeaveEntry(None),
    Step::LeaveEntry(Some(0)),
    Step::LeaveEntry(Some(1)),
    Step::ReleaseHalf,
    Step::LeaveJournal,
];

/// At most so many entries of the journal are under way.
const ENTRIES_MAX: u32 = 2;

/// Takes a step and yields what it says.
fn take(state: &CommitState, step: Step) -> bool {
    match step {
        Step::Queue => return state.queue(),
        Step::JoinLane => state.join_lane(),
        Step::BeginCommit => return state.begin_commit(),
        Step::BeginWrite => return state.begin_write(),
        Step::FinishWrite => state.finish_write(),
        Step::FinishCommit => state.finish_commit(),
        Step::Stall => state.stall(),
        Step::Resume => state.resume(),
        Step::BeginCut => return state.begin_cut(),
        Step::FinishCut => state.finish_cut(),
        Step::BeginFlush => return state.begin_flush(),
        Step::FinishFlush => state.finish_flush(),
        Step::EnterEntry => state.enter_entry(),
        Step::LeaveEntry(half) => return state.leave_entry(half),
        Step::ReleaseHalf => return state.release_half().is_some(),
        Step::LeaveJournal => state.leave_journal(),
    }
    true
}

/// What should come of it: `None` for a panic, else what it says and the state behind it.
fn expected(before: &CommitState, step: Step) -> Option<(bool, CommitState)> {
    let after = before.clone();
    let (turn, flushing, entries) = (before.turn.get(), before.flushing.get(), before.entries.get());
    let mut says = true;
    let go = |from: &[Turn], to: Turn| {
        let allowed = from.contains(&turn);
        after.turn.set(to);
        allowed.then_some(())
    };
    match step {
        Step::Queue if turn == Turn::Resting => go(&[Turn::Resting], Turn::Queued)?,
        Step::Queue => says = false,
        Step::JoinLane => go(&[Turn::Queued], Turn::InLane)?,
        Step::BeginCommit => {
            says = entries == 0;
            go(&[Turn::Queued, Turn::InLane], if says { Turn::Committing } else { Turn::Resting })?;
        }
        Step::BeginWrite => {
            says = !flushing;
            go(&[Turn::Committing], if says { Turn::Writing } else { Turn::Committing })?;
        }
        Step::FinishWrite => go(&[Turn::Writing], Turn::Committing)?,
        Step::FinishCommit => go(&[Turn::Committing], Turn::Resting)?,
        Step::Stall => go(&[Turn::Resting], Turn::Stalled)?,
        Step::Resume => go(&[Turn::Stalled], Turn::Resting)?,
        Step::BeginCut => {
            says = turn == Turn::Resting && !flushing && entries == 0;
            after.turn.set(if says { Turn::Cutting } else { turn });
        }
        Step::FinishCut => go(&[Turn::Cutting], Turn::Resting)?,
        Step::BeginFlush => {
            says = !flushing && turn != Turn::Writing && turn != Turn::Cutting;
            after.flushing.set(flushing || says);
        }
        Step::FinishFlush => {
            flushing.then_some(())?;
            after.flushing.set(false);
        }
        Step::EnterEntry => {
            go(&[Turn::InLane], Turn::Resting)?;
            after.entries.set(entries + 1);
            after.journaled.set(true);
        }
        Step::LeaveEntry(half) => {
            after.entries.set(entries.checked_sub(1)?);
            says = half.is_some() && before.half.get().is_none();
            after.half.set(before.half.get().or(half));
        }
        Step::ReleaseHalf => {
            says = before.half.get().is_some();
            after.half.set(None);
        }
        Step::LeaveJournal => {
            (before.half.get().is_none() && entries == 0).then_some(())?;
            after.journaled.set(false);
        }
    }
    Some((says, after))
}

fn is_valid(state: &CommitState) -> bool {
    catch_unwind(AssertUnwindSafe(|| state.check_invariants())).is_ok()
}

/// All states that the invariant allows.
fn valid_states() -> Vec<CommitState> {
    let mut all = Vec::new();
    for turn in TURNS {
        for entries in 0..=ENTRIES_MAX {
            for half in [None, Some(0), Some(1)] {
                for (flushing, journaled) in [(false, false), (false, true), (true, false), (true, true)] {
                    all.push(CommitState {
                        turn: Cell::new(turn),
                        flushing: Cell::new(flushing),
                        entries: Cell::new(entries),
                        half: Cell::new(half),
                        journaled: Cell::new(journaled),
                    });
                }
            }
        }
    }
    all.retain(is_valid);
    all
}

#[test]
fn every_step_from_every_state_is_as_the_table_has_it() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let states = valid_states();
    let mut wrong = Vec::new();
    for before in &states {
        for step in STEPS {
            let state = before.clone();
            let said = catch_unwind(AssertUnwindSafe(|| take(&state, step))).ok();
            let found = said.map(|said| (said, state.clone()));
            if found != expected(before, step) {
                wrong.push(format!("{before:?}, {step:?}: {found:?}"));
            } else if found.is_some() && !is_valid(&state) {
                wrong.push(format!("{before:?}, {step:?} breaks the invariant: {state:?}"));
            } else if found.is_none() && state != *before {
                wrong.push(format!("{before:?}, {step:?} is refused, and leaves {state:?}"));
            }
        }
    }
    std::panic::set_hook(hook);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let allowed = |step| states.iter().any(|state| expected(state, step).is_some());
    assert!(STEPS.into_iter().all(allowed));
}

#[test]
fn steps_reach_every_state_that_the_invariant_allows() {
    let mut reached = vec![CommitState::new()];
    let mut at = 0;
    while let Some(before) = reached.get(at).cloned() {
        at += 1;
        for (_, after) in STEPS.into_iter().filter_map(|step| expected(&before, step)) {
            if after.entries.get() <= ENTRIES_MAX && !reached.contains(&after) {
                reached.push(after);
            }
        }
    }
    let missing: Vec<_> = valid_states().into_iter().filter(|state| !reached.contains(state)).collect();
    assert!(missing.is_empty(), "the invariant allows what never is: {missing:#?}");
}

#[test]
fn a_log_that_nobody_has_is_found_again() {
    let state = CommitState::new();
    assert!(state.queue() && !state.queue(), "once");
    assert!(state.begin_commit() && !state.queue(), "who commits looks for more");
    assert!(state.begin_write() && !state.begin_flush(), "one write at a time");
    state.finish_write();
    state.finish_commit();
    assert!(state.queue());
}
