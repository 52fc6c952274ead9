//! Collects what was set at start: the file first, then `--set`, then the flags that stand for a key.

use std::collections::BTreeMap;
use std::path::Path;

use super::broker_config::BrokerConfig;
use super::definition::Scope;
use super::definitions::Definitions;
use super::error::{ConfigError, ConfigErrorKind};
use super::layers::Settings;
use super::properties::parse_properties;
use super::value;

/// Settings of the command line and the file. Each is checked as it comes, so that an error says where it stands; a later
/// one replaces an earlier one of the same key.
#[derive(Debug, Clone, Default)]
pub struct StaticSettings {
    settings: Settings,
    places: BTreeMap<String, String>,
}

/// A file larger than this is not a configuration.
const FILE_SIZE_MAX: usize = 1 << 20;

impl StaticSettings {
    /// Reads a properties file.
    pub fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let name = path.display().to_string();
        let unreadable = |why: String| ConfigError::new(ConfigErrorKind::File, why).at(&name);
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        self.add_text(&name, &text)
    }

    /// Takes the text of a properties file called `name`.
    pub fn add_text(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        if text.len() > FILE_SIZE_MAX {
            let why = format!("larger than {FILE_SIZE_MAX} bytes, which is not a configuration file");
            return Err(ConfigError::new(ConfigErrorKind::File, why).at(name));
        }
        for property in parse_properties(name, text)? {
            self.add(&property.key, &property.value, &format!("{name}:{}", property.line))?;
        }
        Ok(())
    }

    /// Takes the `KEY=VALUE` of a `--set`.
    pub fn add_assignment(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let place = format!("--set {assignment}");
        let Some((key, text)) = assignment.split_once('=') else {
            return Err(ConfigError::new(ConfigErrorKind::File, "write KEY=VALUE").at(place));
        };
        self.add(key.trim(), text, &place)
    }

    /// Takes one setting; `place` is where it was found.
    pub fn add(&mut self, key: &str, text: &str, place: &str) -> Result<(), ConfigError> {
        let checked = Definitions::require(Scope::Broker, key).and_then(|row| value::parse(row, text));
        checked.map_err(|error| error.at(place))?;
        self.settings.insert(key.to_owned(), text.to_owned());
        self.places.insert(key.to_owned(), place.to_owned());
        Ok(())
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
    pub fn build(self) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::from_static(self.settings)
    }
}
