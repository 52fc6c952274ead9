//! What happened in a world: a hash over every effect, and the last of them in words.

use std::collections::VecDeque;
use std::fmt;

/// The effects of a run so far. Two runs are the same if their traces are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Over every line, in order.
    pub hash: u64,
    /// Lines in all.
    pub count: u64,
    /// The last lines, oldest first.
    pub last: VecDeque<String>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self { hash: FNV_BASIS, count: 0, last: VecDeque::new() }
    }

    pub(super) fn push(&mut self, line: String) {
        self.hash = fnv(fnv(self.hash, line.as_bytes()), b"\n");
        self.count += 1;
        if self.last.len() == LAST_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} effects, hash {:016x}; the last {}:", self.count, self.hash, self.last.len())?;
        self.last.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// FNV-1a, continued from `hash`.
pub(super) fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(super) const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// Lines kept for the message of a failing run.
const LAST_MAX: usize = 60;
