//! The layers in which a broker setting can be set, and how a value is found through them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::definition::{Definition, Scope, Synonym};
use super::definitions::Definitions;

/// Settings as text, by key.
pub type Settings = BTreeMap<String, String>;

/// Where a value comes from, in Kafka's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    DynamicTopic,
    /// Set on this broker while it ran.
    DynamicBroker,
    /// Set for all brokers while they ran.
    DynamicDefaultBroker,
    /// Set at start.
    StaticBroker,
    /// Set nowhere.
    Default,
}

impl ConfigSource {
    /// The number of this source in a DescribeConfigs response.
    pub fn wire_id(self) -> i8 {
        match self {
            ConfigSource::DynamicTopic => 1,
            ConfigSource::DynamicBroker => 2,
            ConfigSource::DynamicDefaultBroker => 3,
            ConfigSource::StaticBroker => 4,
            ConfigSource::Default => 5,
        }
    }
}

/// All layers of broker settings. Invariant: every value in them has passed validation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layers {
    pub(super) fixed: Arc<Settings>,
    /// Defaults that depend on the machine; they stand for those of the table.
    pub(super) computed: Arc<Settings>,
    pub(super) dynamic_default: Settings,
    pub(super) dynamic_broker: Settings,
}

/// A value found in the layers, in the words it was set with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) name: &'static str,
    pub(super) text: &'a str,
    pub(super) factor: i64,
    pub(super) source: ConfigSource,
}

impl Layers {
    /// The value of `definition` after all layers and synonyms; `None` is null.
    pub(super) fn effective(&self, definition: &'static Definition) -> Option<Found<'_>> {
        chain(definition).into_iter().find_map(|link| self.candidates(link).into_iter().next())
    }

    /// Every place that sets this key or one of its synonyms. The first is the one in effect.
    pub(super) fn all(&self, definition: &'static Definition) -> Vec<Found<'_>> {
        chain(definition).into_iter().flat_map(|link| self.candidates(link)).collect()
    }

    fn candidates(&self, link: Synonym) -> Vec<Found<'_>> {
        let definition = Definitions::find(Scope::Broker, link.name);
        let layers = [
            (self.dynamic_broker.get(link.name), ConfigSource::DynamicBroker),
            (self.dynamic_default.get(link.name), ConfigSource::DynamicDefaultBroker),
            (self.fixed.get(link.name), ConfigSource::StaticBroker),
        ];
        let set = layers.into_iter().filter_map(|(text, source)| Some((text?.as_str(), source)));
        let computed = self.computed.get(link.name).map(String::as_str);
        let default =
            computed.or(definition.and_then(|row| row.default)).map(|text| (text, ConfigSource::Default));
        set.chain(default)
            .map(|(text, source)| Found { name: link.name, text, factor: link.factor, source })
            .collect()
    }
}

/// The broker keys that give `definition` its value, in order. A broker key comes first in its own chain; a key that
/// heads the chain of a topic setting, such as log.retention.ms, has that chain.
fn chain(definition: &'static Definition) -> Vec<Synonym> {
    let own = Synonym { name: definition.name, factor: 1 };
    match definition.scope {
        Scope::Topic => definition.synonyms.to_vec(),
        Scope::Broker => {
            let borrowed = Definitions::topic()
                .map(|topic| topic.synonyms)
                .find(|synonyms| synonyms.first().is_some_and(|first| first.name == definition.name))
                .and_then(|synonyms| synonyms.get(1..))
                .unwrap_or_default();
            [own]
                .into_iter()
                .chain(definition.synonyms.iter().copied())
                .chain(borrowed.iter().copied())
                .collect()
        }
    }
}
