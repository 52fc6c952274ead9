//! loadgen: load generator and judge for any Kafka broker.
//!
//! One thread per process, so it fits on one core beside the broker under test. `engine` drives the connections,
//! `producer` and `consumer` speak for one each; everything that decides (`pacer`, `verify`, `acked`, `meter`) is handed
//! the time and tested with a made-up one. Control requests use the `kafka-protocol` crate, the hot path patches
//! templates. It shares no code with the broker that it judges.
#![forbid(unsafe_code)]

mod acked;
mod batch;
mod batch_reader;
mod cli;
mod clock;
mod codec;
mod conn;
mod consumer;
mod control;
mod engine;
mod fetch_request;
mod meter;
mod null_broker;
mod pacer;
mod probe;
mod procstat;
mod produce_request;
mod producer;
mod record;
mod report;
#[cfg(test)]
mod round_trip_test;
mod run;
mod verify;
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::cli::{Cli, Command, CreateTopicArgs, NullBrokerArgs, RunArgs};
use crate::control::{Control, resolve};
use crate::null_broker::{NullBroker, NullBrokerSpec};
use crate::report::Report;

fn main() -> ExitCode {
    // The default slack of 50 us would delay every paced send; a refusal only costs accuracy.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    match execute(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Exit code 0: all well; 1: failed records or violations; 2: the run could not be made.
fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Produce(args) => present(&run::produce(&args)?, &args.run),
        Command::Consume(args) => present(&run::consume(&args)?, &args.run),
        Command::E2e(args) => present(&run::end_to_end(&args)?, &args.run),
        Command::CreateTopic(args) => create_topic(&args),
        Command::DeleteTopic(args) => {
            Control::connect(resolve(&args.bootstrap)?)?.delete_topic(&args.topic)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Probe(args) => {
            println!("{:.3}", probe::probe(&args)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::NullBroker(args) => null_broker(&args),
    }
}

fn present(report: &Report, args: &RunArgs) -> Result<ExitCode> {
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    if let Some(path) = &args.hdr {
        report.write_percentiles(path)?;
    }
    let tolerated = args.until_disconnect && report.only_unanswered();
    if report.is_clean() || tolerated {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("loadgen: records failed or were not as written; see the report");
    Ok(ExitCode::FAILURE)
}

fn create_topic(args: &CreateTopicArgs) -> Result<ExitCode> {
    let mut control = Control::connect(resolve(&args.bootstrap)?)?;
    control.create_topic(&args.topic, args.partitions, args.replication, &args.configs)?;
    control.wait_for_leaders(&args.topic)?;
    Ok(ExitCode::SUCCESS)
}

fn null_broker(args: &NullBrokerArgs) -> Result<ExitCode> {
    let NullBrokerArgs { partitions, check_crc, fetch_bytes, .. } = *args;
    let spec = NullBrokerSpec { partitions, check_crc, fetch_bytes };
    let mut broker = NullBroker::bind(resolve(&args.listen)?, spec)?;
    eprintln!("null broker on {}", broker.address());
    broker.serve()?;
    Ok(ExitCode::SUCCESS)
}
