//! What is logged: a level for each target, a target being one of our crates or a module of one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Our crates that log. `millrace` stands for all of them.
pub(super) const CRATES: &[&str] = &["broker", "net", "replication", "runtime", "storage"];

/// The name that stands for all of [`CRATES`].
pub(super) const ALL: &str = "millrace";

/// A target or a list of settings longer than this is refused.
const TEXT_BYTES_MAX: usize = 4096;

/// The level of every target. What has none of its own takes that of what it is in, in the end the root's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogFilter {
    pub(super) root: LevelFilter,
    pub(super) targets: BTreeMap<String, LevelFilter>,
}

impl Default for LogFilter {
    /// Our few lines, and only warnings of the libraries.
    fn default() -> Self {
        let targets = CRATES.iter().map(|name| ((*name).to_owned(), LevelFilter::INFO)).collect();
        Self { root: LevelFilter::WARN, targets }
    }
}

impl LogFilter {
    /// Reads a level (`debug`), or levels of targets (`warn,storage=debug`). Names that are none of ours are refused or,
    /// where a setting is shared with other programs, ignored.
    ///
    /// # Errors
    /// What is wrong, with what would be right.
    pub(super) fn parse(text: &str, refuse_unknown: bool) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("a log filter has at most {TEXT_BYTES_MAX} bytes"));
        }
        let mut filter = Self { root: LevelFilter::ERROR, targets: BTreeMap::new() };
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((name, level)) => {
                    let (name, level) = (name.trim(), parse_level(level.trim())?);
                    if is_known(name) {
                        filter.set(name, level);
                    } else if refuse_unknown {
                        return Err(unknown(name));
                    }
                }
                None => match LevelFilter::from_str(part) {
                    Ok(level) => filter.root = level,
                    Err(_) if is_known(part) => filter.set(part, LevelFilter::TRACE),
                    Err(_) if refuse_unknown => return Err(unknown(part)),
                    Err(_) => {}
                },
            }
        }
        Ok(filter)
    }

    /// Gives a known target a level of its own.
    pub(super) fn set(&mut self, name: &str, level: LevelFilter) {
        if name == ALL {
            self.targets.clear();
            self.targets.extend(CRATES.iter().map(|name| ((*name).to_owned(), level)));
        } else {
            self.targets.insert(name.to_owned(), level);
        }
    }

    /// Takes a target's own level away.
    pub(super) fn unset(&mut self, name: &str) {
        if name == ALL {
            self.targets.clear();
        } else {
            self.targets.remove(name);
        }
    }

    /// The level that counts for a target.
    pub(super) fn level(&self, name: &str) -> LevelFilter {
        let mut name = name;
        loop {
            if let Some(level) = self.targets.get(name) {
                return *level;
            }
            let Some((outer, _)) = name.rsplit_once("::") else { return self.root };
            name = outer;
        }
    }

    /// The same for the library that filters.
    pub(super) fn to_targets(&self) -> Targets {
        Targets::new().with_default(self.root).with_targets(self.targets.clone())
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.root)?;
        self.targets.iter().try_for_each(|(name, level)| write!(formatter, ",{name}={level}"))
    }
}

/// Whether this is [`ALL`], one of [`CRATES`] or could be a module of one.
pub(super) fn is_known(name: &str) -> bool {
    let (first, rest) = name.split_once("::").map_or((name, None), |(first, rest)| (first, Some(rest)));
    let is_module = |rest: &str| {
        rest.split("::").all(|part| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    };
    match rest {
        None => first == ALL || CRATES.contains(&first),
        Some(rest) => CRATES.contains(&first) && is_module(rest),
    }
}

fn parse_level(text: &str) -> Result<LevelFilter, String> {
    LevelFilter::from_str(text)
        .map_err(|_| format!("'{text}' is not a level; levels are off, error, warn, info, debug and trace"))
}

fn unknown(name: &str) -> String {
    format!(
        "'{name}' is neither a level (off, error, warn, info, debug, trace) nor a log target; targets are {ALL} (all of \
         ours), {} and their modules, such as storage::recovery=debug",
        CRATES.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read() {
        let all = |level: &str| CRATES.iter().map(|name| format!(",{name}={level}")).collect::<String>();
        for (text, expected) in [
            ("debug", "debug".to_owned()),
            ("DEBUG", "debug".to_owned()),
            ("storage=trace", "error,storage=trace".to_owned()),
            ("warn, storage::recovery=debug", "warn,storage::recovery=debug".to_owned()),
            ("millrace=debug", format!("error{}", all("debug"))),
            ("millrace=info,net=off", format!("error{}", all("info").replace("net=info", "net=off"))),
            ("broker", "error,broker=trace".to_owned()),
            ("off", "off".to_owned()),
        ] {
            assert_eq!(LogFilter::parse(text, true).map(|filter| filter.to_string()), Ok(expected), "{text}");
        }
        assert_eq!(LogFilter::default().to_string(), format!("warn{}", all("info")));
    }

    #[test]
    fn a_bad_filter_is_refused_with_what_would_be_right() {
        for (text, words) in [
            ("storage=loud", &["'loud'", "off, error, warn, info, debug"][..]),
            ("verbose", &["'verbose'", "millrace", "storage"]),
            ("strorage=debug", &["'strorage'", "broker, net, replication, runtime, storage"]),
            ("storage[span]=debug", &["'storage[span]'"]),
            ("storage::=debug", &["'storage::'"]),
            ("=debug", &["''"]),
        ] {
            let error = LogFilter::parse(text, true).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{word} is not in {error}");
            }
        }
        // A setting that other programs read too names their targets.
        let shared = LogFilter::parse("hyper=debug,storage=info", false).unwrap();
        assert_eq!(shared.to_string(), "error,storage=info");
        assert!(LogFilter::parse("storage=loud", false).is_err());
    }

    #[test]
    fn a_target_without_a_level_takes_that_of_what_it_is_in() {
        let mut filter = LogFilter::parse("warn,storage=info,storage::recovery=debug", true).unwrap();
        for (name, expected) in [
            ("storage", LevelFilter::INFO),
            ("storage::recovery::scan", LevelFilter::DEBUG),
            ("storage::log", LevelFilter::INFO),
            ("net", LevelFilter::WARN),
        ] {
            assert_eq!(filter.level(name), expected, "{name}");
        }
        filter.unset("storage::recovery");
        assert_eq!(filter.level("storage::recovery"), LevelFilter::INFO);
        filter.unset("millrace");
        assert_eq!(filter.to_string(), "warn");
    }
}
