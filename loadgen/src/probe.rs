//! Waits for the first Metadata answer: what start-up time means to a client.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cli::ProbeArgs;
use crate::clock::Clock;
use crate::control::{Control, resolve};

/// Milliseconds from the start (`--since-ns` or now) to the first Metadata answer.
pub(crate) fn probe(args: &ProbeArgs) -> Result<f64> {
    let clock = Clock::new();
    let since = args.since_ns.unwrap_or_else(|| clock.now());
    let address = resolve(&args.bootstrap)?;
    let give_up = Instant::now() + Duration::try_from_secs_f64(args.timeout)?;
    loop {
        let answer =
            Control::connect(address).and_then(|mut control| control.answers_metadata(args.topic.as_deref()));
        if matches!(answer, Ok(true)) {
            return Ok(crate::clock::seconds(clock.now().saturating_sub(since)) * 1e3);
        }
        if Instant::now() >= give_up {
            match answer {
                Ok(_) => bail!("no leader for every partition after {} s", args.timeout),
                Err(error) => return Err(error.context(format!("no answer after {} s", args.timeout))),
            }
        }
        std::thread::sleep(RETRY);
    }
}

/// Short against the start-up times measured.
const RETRY: Duration = Duration::from_millis(1);
