//! The command line of `millrace`: what can be typed, and the commands that need no running broker.
//! `main` parses it with [`Cli`] and starts the broker for `serve`.

mod allowed_cores;
mod banner;
mod doctor;
mod listen_flags;
mod serve_args;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use allowed_cores::{allowed_cores, choose_cores};
pub use banner::{Banner, IoMode};
pub use doctor::{Report, diagnose};
pub use serve_args::ServeArgs;

/// What was typed.
#[derive(Debug, Parser)]
#[command(
    name = "millrace",
    version,
    about = "A Kafka-protocol broker: every acknowledged record is on stable storage",
    after_help = "Without a command, millrace serves with its defaults.",
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of `serve`, which may be given without naming it.
    #[command(flatten)]
    pub serve: ServeArgs,
}

impl Cli {
    /// The command to run; `serve` where none is named.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the broker
    Serve(ServeArgs),
    /// Check this machine and data directory, and say what to fix
    Doctor(DoctorArgs),
    /// Print what is in log segments; reads only, and survives damage
    DumpLog(DumpLogArgs),
    /// Explain a setting, or print the reference page of all of them
    Config(ConfigArgs),
}

/// What `doctor` takes.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The data directory to check
    #[arg(long, value_name = "DIR", default_value = "./millrace-data")]
    pub data_dir: PathBuf,
}

/// What `dump-log` takes.
#[derive(Debug, Args)]
pub struct DumpLogArgs {
    /// Segment, index or snapshot files, or partition directories
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Print every record, not only the batches
    #[arg(long)]
    pub records: bool,
    /// Print keys and values too
    #[arg(long)]
    pub values: bool,
}

/// What `config` takes.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The key to explain
    #[arg(value_name = "KEY")]
    pub key: Option<String>,
}

impl ConfigArgs {
    /// The text to print.
    pub fn answer(&self) -> Result<String, crate::config::ConfigError> {
        match &self.key {
            Some(key) => crate::config::explain(key),
            None => Ok(crate::config::reference_page()),
        }
    }
}

#[cfg(test)]
mod cli_test;
