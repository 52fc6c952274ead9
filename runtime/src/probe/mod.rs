//! Checks of the machine, for the start and for `doctor`: what is wrong, and what to change.

mod control_groups;
mod directory;
mod resources;
mod system;

use std::fmt;
use std::path::Path;

pub use control_groups::{GroupLimit, GroupLimits};
pub use directory::{DirectoryFacts, directory_facts};
pub use resources::Resources;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could.
    Warn,
    /// It cannot work.
    Fail,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was checked, in a few words.
    pub name: &'static str,
    /// How it ended.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to change; empty if nothing.
    pub fix: String,
}

impl Finding {
    /// As it should be.
    pub fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, detail: detail.into(), fix: String::new() }
    }

    /// It works, but not as well as it could.
    pub fn warn(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Warn, detail: detail.into(), fix: fix.into() }
    }

    /// It cannot work.
    pub fn fail(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Fail, detail: detail.into(), fix: fix.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<4} {}: {}", self.status, self.name, self.detail)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, "\n     -> {}", self.fix) }
    }
}

/// The machine's checks.
#[must_use]
pub fn machine() -> Vec<Finding> {
    system::all()
}

/// The checks of `directory`, which must exist, for a broker that stops taking records when less than `reserve_bytes` are
/// free. Blocks for some ten milliseconds and writes a small temporary file there.
#[must_use]
pub fn directory(directory: &Path, reserve_bytes: u64) -> Vec<Finding> {
    directory::all(directory, reserve_bytes)
}

/// The checks without which no shard can start; only those that failed. Quick.
#[must_use]
pub fn start() -> Vec<Finding> {
    let mut findings = system::all();
    findings.retain(|finding| finding.status == Status::Fail);
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine that runs these tests, nothing fails and every bad finding says what to do.
    #[test]
    fn findings_are_useful() {
        let findings = [machine(), directory(&std::env::temp_dir(), 0)].concat();
        assert!(findings.len() >= 8);
        for finding in findings {
            assert_ne!(finding.status, Status::Fail, "{finding}");
            assert_eq!(finding.fix.is_empty(), finding.status == Status::Ok, "{finding}");
        }
    }

    /// A directory that is not there is a finding, not a panic.
    #[test]
    fn a_missing_directory_fails() {
        let findings = directory(Path::new("/nonexistent/millrace"), 0);
        assert!(findings.iter().any(|finding| finding.status == Status::Fail));
    }
}
