//! Micro-benchmarks of the parts that every record passes: codec, batch checks, the records of a batch, log, mesh.
//!
//! `cargo run --release -p millrace-benches --bin micro [DIR]` prints a table and one JSON line; with `records` for DIR, the
//! rows of the records only. The log is in a
//! temporary directory below DIR, or the system's: put it on the disk that is to be measured.
#![forbid(unsafe_code)]

mod batch;
mod codec;
mod log;
mod mesh;
mod stopwatch;
mod validation;

use std::path::PathBuf;

use stopwatch::Results;

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("records") {
        println!("{}", validation::run()?.json());
        return Ok(());
    }
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = parent.join(format!("millrace-micro-{}", std::process::id()));
    let mut results = Results::default();
    codec::run(&mut results);
    batch::run(&mut results);
    results.extend(validation::run()?);
    let outcome = log::run(&directory).and_then(|measured| {
        results.extend(measured);
        mesh::run(&mut results)
    });
    // What is left over costs space only; the outcome matters more.
    let _ = std::fs::remove_dir_all(&directory);
    outcome?;
    println!("{}", results.json());
    Ok(())
}
