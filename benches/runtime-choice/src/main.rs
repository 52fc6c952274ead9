//! Four runtimes side by side, and the race that rules one of them out. The decision: docs/adr/0001-runtime.md.
//!
//! `runtime-choice echo|write ours|glommio|compio|tokio` prints one line; `runtime-choice race ours|glommio|compio`
//! lets wakers die on other threads while their tasks end, and counts what goes wrong.

mod client;
mod compio_side;
mod glommio_side;
mod measure;
mod ours_side;
mod race;
mod tokio_side;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["echo", "ours"] => ours_side::echo(),
        ["echo", "glommio"] => glommio_side::echo(),
        ["echo", "compio"] => compio_side::echo(),
        ["echo", "tokio"] => tokio_side::echo(),
        ["write", "ours"] => ours_side::write(),
        ["write", "glommio"] => glommio_side::write(),
        ["write", "compio"] => compio_side::write(),
        ["write", "tokio"] => tokio_side::write(),
        ["race", "ours"] => race::ours(),
        ["race", "glommio"] => race::glommio(),
        ["race", "compio"] => race::compio(),
        _ => {
            eprintln!(
                "usage: runtime-choice echo|write ours|glommio|compio|tokio, runtime-choice race ours|glommio|compio"
            );
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
