//! The `millrace` binary.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use broker::cli::{Cli, Command, ServeArgs, check, complete, describe_record, diagnose, manual};
use broker::logging::{self, LogFormat};
use clap::Parser;
use runtime::signal::Signals;

fn main() -> ExitCode {
    let command = Cli::parse().into_command();
    let format = if let Command::Serve(args) = &command { args.log_format } else { LogFormat::Text };
    let code = match run(command) {
        Ok(code) => code,
        // Whoever reads the output has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            logging::tell(format, &format!("{error:#}"));
            ExitCode::FAILURE
        }
    };
    logging::flush();
    code
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => {
            serve(&args)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor(args) => {
            let report = diagnose(&args);
            write!(io::stdout(), "{report}")?;
            Ok(ExitCode::from(report.exit_code()))
        }
        Command::Completions(args) => {
            io::stdout().write_all(&complete(args.shell))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => {
            io::stdout().write_all(&manual()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(args) => {
            let checked = check(&args);
            write!(io::stdout(), "{}", checked.text)?;
            Ok(if checked.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::DumpLog(args) => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            let options = storage::dump_log::Options {
                deep_iteration: args.records || args.values,
                print_data_log: args.values,
                quiet: false,
            };
            let summary = storage::dump_log::run_with(&args.paths, options, &mut out, &describe_record)?;
            out.flush()?;
            Ok(if summary.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Config(args) => {
            write!(io::stdout(), "{}", args.answer()?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    // Before any other thread starts, that of the log included, so that only the thread that waits for them hears them.
    let signals = Signals::block().context("cannot take over SIGTERM, SIGINT and SIGHUP")?;
    runtime::keep_new_files_private();
    let environment = std::env::var("RUST_LOG").ok();
    let loggers = logging::init(args.log_format, args.log_level.as_deref(), environment.as_deref());
    let loggers = loggers.map_err(anyhow::Error::msg)?;
    let config = args.settings().check().map_err(|mistakes| {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        anyhow::Error::msg(mistakes.join("\n"))
    })?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    broker::node::process::serve(config, signals, loggers, args.log_format)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
