//! Sets up the log: quiet by default, for people or for machines.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged where nobody asks for more: our few lines, and only warnings of the libraries.
const DEFAULT_FILTER: &str = "warn,broker=info,storage=info,net=info,runtime=info,replication=info";

/// Starts logging to standard error. `level` comes from the command line and wins over `environment` (RUST_LOG).
pub fn init_logging(format: LogFormat, level: Option<&str>, environment: Option<&str>) -> Result<(), String> {
    let filter = filter(level, environment)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let installed = match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| error.to_string())
}

fn filter(level: Option<&str>, environment: Option<&str>) -> Result<EnvFilter, String> {
    let (origin, text) = match (level, environment.filter(|text| !text.is_empty())) {
        (Some(level), _) => ("--log-level", level),
        (None, Some(environment)) => ("RUST_LOG", environment),
        (None, None) => ("the default", DEFAULT_FILTER),
    };
    EnvFilter::try_new(text).map_err(|error| format!("{origin}: '{text}' is not a log filter: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment() {
        for (level, environment, expected) in [
            (Some("debug"), Some("error"), "debug"),
            (None, Some("error"), "error"),
            (Some("storage=trace"), None, "storage=trace"),
        ] {
            assert_eq!(filter(level, environment).unwrap().to_string(), expected);
        }
        for environment in [None, Some("")] {
            let text = filter(None, environment).unwrap().to_string();
            assert!(text.contains("broker=info") && text.contains("warn"), "{text}");
        }
    }

    #[test]
    fn a_bad_filter_says_where_it_came_from() {
        for (level, environment, origin) in
            [(Some("storage=loud"), None, "--log-level: "), (None, Some("storage=loud"), "RUST_LOG: ")]
        {
            let error = filter(level, environment).unwrap_err();
            assert!(error.starts_with(origin), "{error}");
        }
    }
}
