//! The log: what is logged, how lines look, and how they get to standard error without anyone waiting for it.

mod filter;
mod line_queue;
mod loggers;

use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, reload};

use filter::LogFilter;
use line_queue::LineQueue;
pub use loggers::{LoggerChange, LoggerError, Loggers, ROOT};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How long the end of the process waits for its last lines to be written.
const LAST_LINES_PATIENCE: Duration = Duration::from_secs(1);

/// The lines on their way to standard error, once logging has been set up.
static LINES: OnceLock<Arc<LineQueue>> = OnceLock::new();

/// Starts logging to standard error. `level` comes from the command line and wins over `environment` (RUST_LOG).
///
/// # Errors
/// What is wrong with the filter, and which ones there are.
pub fn init(
    format: LogFormat,
    level: Option<&str>,
    environment: Option<&str>,
) -> Result<Arc<Loggers>, String> {
    let filter = filter(level, environment)?;
    let queue = Arc::<LineQueue>::default();
    let (targets, reloading) = reload::Layer::<Targets, _>::new(filter.to_targets());
    let registry = tracing_subscriber::registry().with(targets);
    let lines = fmt::layer().with_writer(Lines(Arc::clone(&queue))).log_internal_errors(false);
    let installed = match format {
        LogFormat::Text => registry.with(lines.with_ansi(colours())).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    installed.map_err(|error| error.to_string())?;
    let writer = Arc::clone(&queue);
    let write = move || writer.write_to(io::stderr(), |dropped| notice(format, dropped));
    std::thread::Builder::new()
        .name("log".into())
        .spawn(write)
        .map_err(|error| format!("the log's thread: {error}"))?;
    LINES.get_or_init(|| queue);
    std::panic::set_hook(Box::new(tell_panic));
    let apply = move |filter: &LogFilter| {
        // It fails only when the subscriber is gone, and that stays as long as the process.
        let _gone = reloading.reload(filter.to_targets());
    };
    Ok(Arc::new(Loggers::new(filter, Box::new(apply))))
}

/// Tells a person something that no level hides, in order with the log's lines. Never fails, and once logging has been
/// set up, never waits.
pub fn say(text: &str) {
    let text = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    match LINES.get() {
        Some(lines) => lines.add(text.as_bytes()),
        // Whoever was to read it is not there.
        None => drop(io::stderr().write_all(text.as_bytes())),
    }
}

/// Waits a moment for the last lines to be written; to be called before the process ends.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(LAST_LINES_PATIENCE);
    }
}

/// Lines that could not be written since the start.
#[must_use]
pub fn dropped() -> u64 {
    LINES.get().map_or(0, |lines| lines.dropped())
}

/// Checks a filter as [`init`] does.
///
/// # Errors
/// As [`init`].
pub fn check(level: Option<&str>, environment: Option<&str>) -> Result<(), String> {
    filter(level, environment).map(|_| ())
}

fn filter(level: Option<&str>, environment: Option<&str>) -> Result<LogFilter, String> {
    let (origin, text, is_ours) = match (level, environment.filter(|text| !text.is_empty())) {
        (Some(level), _) => ("--log-level", level, true),
        (None, Some(environment)) => ("RUST_LOG", environment, false),
        (None, None) => return Ok(LogFilter::default()),
    };
    LogFilter::parse(text, is_ours).map_err(|error| format!("{origin} {text}: {error}"))
}

/// Whether standard error shows colours and wants them (no-color.org).
fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !unwanted && io::stderr().is_terminal()
}

/// Tells why the process ends, whatever is logged, in the format of the log.
pub fn tell(format: LogFormat, problem: &str) {
    match format {
        LogFormat::Text => say(&format!("millrace: {problem}")),
        LogFormat::Json => say(&json_line("ERROR", "the broker ends", ("error", &quoted(problem)))),
    }
}

fn notice(format: LogFormat, dropped: u64) -> String {
    const TEXT: &str = "log lines were lost: standard error took too long or could not be written";
    match format {
        LogFormat::Text => format!("{}  WARN {}: {TEXT} dropped={dropped}\n", now(), module_path!()),
        LogFormat::Json => json_line("WARN", TEXT, ("dropped", &dropped.to_string())),
    }
}

/// A line as the log's formatter would write it, with one more field.
fn json_line(level: &str, message: &str, (key, value): (&str, &str)) -> String {
    let (time, target) = (now(), module_path!());
    format!(
        "{{\"timestamp\":\"{time}\",\"level\":\"{level}\",\"message\":\"{message}\",\"{key}\":{value},\"target\":\"{target}\"}}\n"
    )
}

fn now() -> String {
    let mut time = String::new();
    // Writing to a string does not fail.
    let _written = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

/// Text as JSON writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The last words of a process whose state is not to be trusted any more: behind all lines before, and not for long.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    say(&format!("thread '{}' {panic}\n{backtrace}", thread.name().unwrap_or("unnamed")));
    flush();
}

/// Gives each log line to the queue.
struct Lines(Arc<LineQueue>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

/// One event is written at once.
struct Line<'a>(&'a LineQueue);

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.add(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment() {
        for (level, environment, expected) in [
            (Some("debug"), Some("error"), "debug"),
            (None, Some("warn"), "warn"),
            (Some("storage=trace"), None, "error,storage=trace"),
            (None, Some("hyper=trace,info"), "info"),
        ] {
            assert_eq!(filter(level, environment).unwrap().to_string(), expected);
        }
        for environment in [None, Some("")] {
            assert_eq!(filter(None, environment).unwrap(), LogFilter::default());
        }
    }

    #[test]
    fn a_bad_filter_says_where_it_came_from() {
        for (level, environment, origin) in [
            (Some("storage=loud"), None, "--log-level storage=loud: "),
            (Some("hyper=debug"), None, "--log-level hyper=debug: "),
            (None, Some("storage=loud"), "RUST_LOG storage=loud: "),
        ] {
            let error = filter(level, environment).unwrap_err();
            assert!(error.starts_with(origin), "{error}");
        }
    }

    #[test]
    fn lost_lines_are_told_in_the_format_of_the_log() {
        let text = notice(LogFormat::Text, 3);
        assert!(
            text.ends_with("could not be written dropped=3\n") && text.contains(" WARN broker::logging: "),
            "{text}"
        );
        let json = notice(LogFormat::Json, 3);
        assert!(json.starts_with("{\"timestamp\":\"2") && json.contains("\"dropped\":3,"), "{json}");
    }

    #[test]
    fn text_is_quoted_for_json() {
        assert_eq!(quoted("a \"b\" \\ \n\u{1}ü"), "\"a \\\"b\\\" \\\\ \\n\\u0001ü\"");
    }
}
