//! The `millrace` binary.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use broker::cli::{Cli, Command, diagnose, init_logging};
use clap::Parser;

fn main() -> ExitCode {
    match run(Cli::parse().into_command()) {
        Ok(code) => code,
        // Whoever reads the output has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("millrace: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => {
            let environment = std::env::var("RUST_LOG").ok();
            init_logging(args.log_format, args.log_level.as_deref(), environment.as_deref())
                .map_err(anyhow::Error::msg)?;
            let config = args.broker_config()?;
            for warning in config.warnings() {
                tracing::warn!("{warning}");
            }
            broker::process::serve(config)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor(args) => {
            let report = diagnose(&args.data_dir);
            write!(io::stdout(), "{report}")?;
            Ok(ExitCode::from(report.exit_code()))
        }
        Command::DumpLog(args) => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            let options = storage::dump_log::Options {
                deep_iteration: args.records || args.values,
                print_data_log: args.values,
                quiet: false,
            };
            let summary = storage::dump_log::run(&args.paths, options, &mut out)?;
            out.flush()?;
            Ok(if summary.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Config(args) => {
            write!(io::stdout(), "{}", args.answer()?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
