//! The levels of the log while the broker runs, as Kafka's tools see and change them (`kafka-configs --entity-type
//! broker-loggers`). As in Kafka they are this process's: a restart begins with what the command line says.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing_subscriber::filter::LevelFilter;

use super::filter::{CRATES, LogFilter, is_known};

/// Kafka's name of what all others are in.
pub const ROOT: &str = "root";

/// Targets that may have a level of their own.
const TARGETS_MAX: usize = 1_000;

/// Kafka's names of the levels, as its messages list them. FATAL is beyond all of ours and thus nothing.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("DEBUG", LevelFilter::DEBUG),
    ("ERROR", LevelFilter::ERROR),
    ("FATAL", LevelFilter::OFF),
    ("INFO", LevelFilter::INFO),
    ("TRACE", LevelFilter::TRACE),
    ("WARN", LevelFilter::WARN),
];

/// One change of a logger's level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggerChange {
    /// The logger.
    pub name: String,
    /// Kafka's name of its new level; `None` takes its own level away.
    pub level: Option<String>,
}

/// Why a level cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggerError {
    /// The logger or the level does not exist.
    Invalid(String),
    /// The request makes no sense.
    Request(String),
}

type Apply = Box<dyn Fn(&LogFilter) + Send + Sync>;

/// The levels of all loggers. One per process.
pub struct Loggers {
    filter: Mutex<LogFilter>,
    apply: Apply,
}

impl Default for Loggers {
    /// Levels that nothing follows.
    fn default() -> Self {
        Self::new(LogFilter::default(), Box::new(|_| {}))
    }
}

impl fmt::Debug for Loggers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Loggers({})", self.lock())
    }
}

impl Loggers {
    pub(super) fn new(filter: LogFilter, apply: Apply) -> Self {
        Self { filter: Mutex::new(filter), apply }
    }

    /// Every logger with Kafka's name of the level that counts for it.
    #[must_use]
    pub fn levels(&self) -> Vec<(String, &'static str)> {
        let filter = self.lock();
        let mut names: Vec<&str> =
            CRATES.iter().copied().chain(filter.targets.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        let of_targets = names.into_iter().map(|name| (name.to_owned(), name_of(filter.level(name))));
        [(ROOT.to_owned(), name_of(filter.root))].into_iter().chain(of_targets).collect()
    }

    /// Makes all changes, or none.
    ///
    /// # Errors
    /// What is wrong with one of them, in Kafka's words.
    pub fn change(&self, changes: &[LoggerChange], validate_only: bool) -> Result<(), LoggerError> {
        let mut filter = self.lock();
        let mut changed = filter.clone();
        for change in changes {
            apply(&mut changed, change)?;
        }
        if changed.targets.len() > TARGETS_MAX {
            return Err(LoggerError::Request(format!(
                "More than {TARGETS_MAX} loggers with a level of their own"
            )));
        }
        if !validate_only {
            (self.apply)(&changed);
            *filter = changed;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, LogFilter> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(filter: &mut LogFilter, change: &LoggerChange) -> Result<(), LoggerError> {
    let name = change.name.as_str();
    if name != ROOT && !is_known(name) {
        return Err(LoggerError::Invalid(format!("Logger {name} does not exist!")));
    }
    let Some(level) = &change.level else {
        if name == ROOT {
            let message = "Removing the log level of the root logger is not allowed";
            return Err(LoggerError::Request(message.to_owned()));
        }
        filter.unset(name);
        return Ok(());
    };
    let Some((_, level)) = LEVELS.iter().find(|(name, _)| name == level) else {
        let valid = LEVELS.map(|(name, _)| name).join(", ");
        return Err(LoggerError::Invalid(format!(
            "Cannot set the log level of {name} to {level} as it is not a supported log level. Valid log levels are {valid}"
        )));
    };
    if name == ROOT {
        filter.root = *level;
    } else {
        filter.set(name, *level);
    }
    Ok(())
}

fn name_of(level: LevelFilter) -> &'static str {
    LEVELS.iter().find(|(_, known)| *known == level).map_or("FATAL", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn change(name: &str, level: Option<&str>) -> LoggerChange {
        LoggerChange { name: name.to_owned(), level: level.map(str::to_owned) }
    }

    /// Levels are changed together or not at all, and whoever filters is told.
    #[test]
    fn levels_are_changed() {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let teller = Arc::clone(&told);
        let apply: Apply = Box::new(move |filter| teller.lock().unwrap().push(filter.to_string()));
        let loggers = Loggers::new(LogFilter::parse("warn,storage=info", true).unwrap(), apply);
        loggers
            .change(&[change("root", Some("ERROR")), change("storage::log", Some("TRACE"))], false)
            .unwrap();
        loggers.change(&[change("storage", Some("FATAL"))], true).unwrap();
        loggers
            .change(&[change("storage", Some("DEBUG")), change("nowhere", Some("INFO"))], false)
            .unwrap_err();
        assert_eq!(*told.lock().unwrap(), ["error,storage=info,storage::log=trace"]);
        let levels = loggers.levels();
        let levels: Vec<_> = levels.iter().map(|(name, level)| (name.as_str(), *level)).collect();
        let expected = [
            ("root", "ERROR"),
            ("broker", "ERROR"),
            ("net", "ERROR"),
            ("replication", "ERROR"),
            ("runtime", "ERROR"),
            ("storage", "INFO"),
            ("storage::log", "TRACE"),
        ];
        assert_eq!(levels, expected);
        loggers.change(&[change("storage::log", None)], false).unwrap();
        assert_eq!(told.lock().unwrap()[1], "error,storage=info");
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let loggers = Loggers::default();
        let invalid = |text: &str| Err(LoggerError::Invalid(text.to_owned()));
        let request = |text: &str| Err(LoggerError::Request(text.to_owned()));
        for (asked, expected) in [
            (change("kafka.server", Some("INFO")), invalid("Logger kafka.server does not exist!")),
            (change("kafka.server", None), invalid("Logger kafka.server does not exist!")),
            (
                change("storage", Some("info")),
                invalid(
                    "Cannot set the log level of storage to info as it is not a supported log level. Valid log levels \
                     are DEBUG, ERROR, FATAL, INFO, TRACE, WARN",
                ),
            ),
            (change("root", None), request("Removing the log level of the root logger is not allowed")),
            (change("millrace", Some("DEBUG")), Ok(())),
        ] {
            assert_eq!(loggers.change(std::slice::from_ref(&asked), false), expected, "{asked:?}");
        }
    }
}
