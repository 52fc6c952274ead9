//! Collects what was set at start: the file first, then `--set`, then the flags that stand for a key.

use std::collections::BTreeMap;
use std::path::Path;

use super::broker_config::BrokerConfig;
use super::definition::Scope;
use super::definitions::Definitions;
use super::error::{ConfigError, ConfigErrorKind};
use super::layers::Settings;
use super::properties::parse_properties;
use super::{units, value};

/// Settings of the command line and the file. Each is checked as it comes, so that a mistake says where it stands; a later
/// one replaces an earlier one of the same key.
#[derive(Debug, Clone, Default)]
pub struct StaticSettings {
    settings: Settings,
    places: BTreeMap<String, String>,
    mistakes: Vec<ConfigError>,
}

/// A file larger than this is not a configuration.
const FILE_SIZE_MAX: usize = 1 << 20;

/// Mistakes beyond this many are not looked for.
const MISTAKES_MAX: usize = 100;

impl StaticSettings {
    /// Reads a properties file.
    pub fn add_file(&mut self, path: &Path) {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => self.add_text(&name, &text),
            Err(error) => self.mistake(ConfigError::new(ConfigErrorKind::File, error.to_string()).at(&name)),
        }
    }

    /// Takes the text of a properties file called `name`.
    pub fn add_text(&mut self, name: &str, text: &str) {
        if text.len() > FILE_SIZE_MAX {
            let why = format!("larger than {FILE_SIZE_MAX} bytes, which is not a configuration file");
            return self.mistake(ConfigError::new(ConfigErrorKind::File, why).at(name));
        }
        match parse_properties(name, text) {
            Ok(properties) => {
                for property in properties {
                    self.add(&property.key, &property.value, &format!("{name}:{}", property.line));
                }
            }
            Err(error) => self.mistake(error),
        }
    }

    /// Takes the `KEY=VALUE` of a `--set`.
    pub fn add_assignment(&mut self, assignment: &str) {
        let place = format!("--set {assignment}");
        match assignment.split_once('=') {
            Some((key, text)) => self.add(key.trim(), text, &place),
            None => self.mistake(ConfigError::new(ConfigErrorKind::File, "write KEY=VALUE").at(place)),
        }
    }

    /// Takes one setting; `place` is where it was found. A number may have a unit.
    pub fn add(&mut self, key: &str, text: &str, place: &str) {
        match checked(key, text) {
            Ok(text) => {
                self.settings.insert(key.to_owned(), text);
                self.places.insert(key.to_owned(), place.to_owned());
            }
            Err(error) => self.mistake(error.at(place)),
        }
    }

    /// What a key was set to, or its default.
    pub fn text(&self, key: &str) -> &str {
        let set = self.settings.get(key).map(String::as_str);
        let default = || Definitions::find(Scope::Broker, key).and_then(|row| row.default);
        set.or_else(default).unwrap_or_default()
    }

    /// Where a key was set last.
    pub fn place(&self, key: &str) -> Option<&str> {
        self.places.get(key).map(String::as_str)
    }

    /// Checks the settings against each other and builds the snapshot.
    ///
    /// # Errors
    /// The first mistake.
    pub fn build(self) -> Result<BrokerConfig, ConfigError> {
        self.check().map_err(|mut mistakes| mistakes.swap_remove(0))
    }

    /// The same, but all mistakes at once; never an empty list.
    ///
    /// # Errors
    /// All mistakes.
    pub fn check(self) -> Result<BrokerConfig, Vec<ConfigError>> {
        let built = BrokerConfig::check_static(self.settings);
        if self.mistakes.is_empty() {
            return built;
        }
        Err(self.mistakes.into_iter().chain(built.err().into_iter().flatten()).collect())
    }

    fn mistake(&mut self, mistake: ConfigError) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(mistake);
        }
    }
}

/// The text of a value without a unit, if it is one.
fn checked(key: &str, text: &str) -> Result<String, ConfigError> {
    let row = Definitions::require(Scope::Broker, key)?;
    let plain = units::plain(row, text).map_err(|problem| ConfigError::invalid_value(key, text, problem))?;
    let text = plain.unwrap_or_else(|| text.to_owned());
    value::parse(row, &text)?;
    Ok(text)
}
