//! Says which commit a release build is of. Outside of a git checkout, and without git, there is just the version.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MILLRACE_COMMIT");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = match env::var("MILLRACE_COMMIT") {
        Ok(commit) => Some(commit).filter(|commit| !commit.is_empty()),
        // Other builds would be done again after every commit.
        Err(_) if env::var("PROFILE").is_ok_and(|profile| profile == "release") => head(),
        Err(_) => None,
    };
    let commit = commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo::rustc-env=MILLRACE_VERSION={version}{commit}");
}

/// The commit that is checked out, if this is the checkout that git finds here.
fn head() -> Option<String> {
    // The package may lie, without a repository of its own, in somebody else's.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    for name in ["HEAD", "logs/HEAD"] {
        println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", name])?);
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let done = Command::new("git").args(arguments).output().ok().filter(|done| done.status.success())?;
    String::from_utf8(done.stdout).ok().map(|text| text.trim().to_owned())
}
