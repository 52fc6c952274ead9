//! The command line of `millrace`: what can be typed, and the commands that need no running broker.
//! `main` parses it with [`Cli`] and starts the broker for `serve`.

mod allowed_cores;
mod banner;
mod check;
mod doctor;
mod internal_topics;
mod listen_flags;
mod place_checks;
mod serve_args;
pub mod start_plan;

use std::path::PathBuf;

use std::io::Write;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub use allowed_cores::{Cores, allowed_cores};
pub use banner::{Banner, IoMode};
pub use check::{Checked, check};
pub use doctor::{Report, diagnose};
pub use internal_topics::describe as describe_record;
pub use serve_args::ServeArgs;

/// The version, and the commit of a release build.
pub const VERSION: &str = env!("MILLRACE_VERSION");

/// What was typed.
#[derive(Debug, Parser)]
#[command(
    name = "millrace",
    version = VERSION,
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
    Doctor(ServeArgs),
    /// Check the settings of a start, and say what counts and where it comes from
    Check(CheckArgs),
    /// Print what is in log segments; reads only, and survives damage
    DumpLog(DumpLogArgs),
    /// Explain a setting, or print the reference page of all of them
    Config(ConfigArgs),
    /// Print what makes a shell complete our command lines
    Completions(CompletionsArgs),
    /// Print the manual page, for man -l
    Man,
}

/// What `check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The options of `serve`
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Show every setting, not only what is not a default
    #[arg(long)]
    pub all: bool,
}

/// What `completions` takes.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// What makes a shell complete our command lines.
#[must_use]
pub fn complete(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "millrace", &mut script);
    script
}

/// The manual page, in roff.
///
/// # Errors
/// None while it is written to memory.
pub fn manual() -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let mut command = Cli::command();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    // One page for all: what each command takes follows.
    command.build();
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let part = clap_mangen::Man::new(command.clone());
        writeln!(page, ".SH \"MILLRACE {}\"", command.get_name().to_uppercase())?;
        part.render_description_section(&mut page)?;
        part.render_options_section(&mut page)?;
    }
    Ok(page)
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
