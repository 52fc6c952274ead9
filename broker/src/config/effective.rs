//! The values in effect at a start and where each comes from, for `millrace check`.

use super::broker_config::BrokerConfig;
use super::definition::Effect;
use super::definitions::Definitions;
use super::layers::ConfigSource;
use super::sources::StaticSettings;

/// A setting as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// The key.
    pub name: &'static str,
    /// Its value; empty where it has none.
    pub value: String,
    /// Where it comes from.
    pub origin: String,
    /// Whether somebody set it, or the machine decided it.
    pub is_default: bool,
}

/// All broker settings that do something, by name; `places` knows where they were set.
#[must_use]
pub fn effective_settings(config: &BrokerConfig, places: &StaticSettings) -> Vec<EffectiveSetting> {
    let mut settings: Vec<EffectiveSetting> = Definitions::broker()
        .filter(|row| row.effect == Effect::Active)
        .map(|row| {
            let found = config.layers.effective(row);
            let computed =
                config.layers.computed.contains_key(row.name) && !config.layers.fixed.contains_key(row.name);
            let origin = match &found {
                _ if computed => "what the machine or the control group has".to_owned(),
                Some(found) if found.source == ConfigSource::Default => "default".to_owned(),
                Some(found) => {
                    let place = places.place(found.name).unwrap_or("set at start");
                    if found.name == row.name {
                        place.to_owned()
                    } else {
                        format!("{} ({place})", found.name)
                    }
                }
                None => "default".to_owned(),
            };
            let is_default = origin == "default";
            let value = match &found {
                Some(found) if found.factor != 1 => super::read::integer(found).to_string(),
                Some(found) => found.text.trim().to_owned(),
                None => String::new(),
            };
            EffectiveSetting { name: row.name, value, origin, is_default }
        })
        .collect();
    settings.sort_by_key(|setting| setting.name);
    settings
}
