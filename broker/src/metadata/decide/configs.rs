//! Changed settings of topics and brokers.

use std::collections::BTreeMap;

use model::NodeId;

use super::super::error::ControllerError;
use super::super::image::MetadataImage;
use super::super::records::MetadataRecord;
use super::{Command, Decision, Facts, required_topic};
use crate::config::{Alteration, BrokerScope, ConfigError, Scope, Settings, alter_broker, alter_topic};

/// How a resource's own settings change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// One by one.
    Incremental(Vec<Alteration>),
    /// All at once: what is not named goes back to its default (AlterConfigs).
    Replace(Vec<Alteration>),
}

impl ConfigChange {
    fn apply(
        &self,
        current: &Settings,
        alter: impl FnOnce(&Settings, &[Alteration]) -> Result<Settings, ConfigError>,
    ) -> Result<Settings, ConfigError> {
        match self {
            Self::Incremental(changes) => alter(current, changes),
            Self::Replace(changes) => alter(&Settings::new(), changes),
        }
    }
}

/// Changes a topic's own settings; all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterTopicConfigs {
    /// The topic.
    pub name: String,
    /// How they change.
    pub change: ConfigChange,
}

impl Command for AlterTopicConfigs {
    type Outcome = ();

    fn decide(self, image: &MetadataImage, facts: &Facts) -> Result<Decision<()>, ControllerError> {
        let topic = required_topic(image, &self.name)?;
        let alter = |current: &Settings, changes: &[Alteration]| alter_topic(&facts.config, current, changes);
        let altered = self.change.apply(&topic.configs, alter);
        let altered = altered.map_err(|error| ControllerError::of_config(Scope::Topic, &error))?;
        let record = |(key, value)| MetadataRecord::TopicConfig { topic: self.name.clone(), key, value };
        Ok(Decision { records: difference(&topic.configs, &altered).map(record).collect(), outcome: () })
    }
}

/// Changes the dynamic settings of a broker; all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterBrokerConfigs {
    /// The broker; `None` means all.
    pub node: Option<NodeId>,
    /// How they change.
    pub change: ConfigChange,
}

impl Command for AlterBrokerConfigs {
    type Outcome = ();

    fn decide(self, image: &MetadataImage, facts: &Facts) -> Result<Decision<()>, ControllerError> {
        let Self { node, change } = self;
        let scope = if node.is_some() { BrokerScope::ThisBroker } else { BrokerScope::AllBrokers };
        let before = image.broker_configs(node);
        let alter =
            |current: &Settings, changes: &[Alteration]| alter_broker(&facts.config, scope, current, changes);
        let altered = change.apply(&before, alter);
        let altered = altered.map_err(|error| ControllerError::of_config(Scope::Broker, &error))?;
        let record = |(key, value)| MetadataRecord::BrokerConfig { node, key, value };
        Ok(Decision { records: difference(&before, &altered).map(record).collect(), outcome: () })
    }
}

/// What turns `before` into `after`.
fn difference<'a>(
    before: &'a BTreeMap<String, String>,
    after: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (String, Option<String>)> + 'a {
    let removed = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), None));
    let set = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), Some(value.clone())));
    removed.chain(set)
}

#[cfg(test)]
mod tests {
    use net::protocol::ErrorCode;

    use super::super::test_image::{applied, counted, facts};
    use super::*;
    use crate::config::AlterOp;

    fn set(name: &str, value: &str) -> Alteration {
        Alteration { name: name.to_owned(), op: AlterOp::Set, value: Some(value.to_owned()) }
    }

    fn of_topic(name: &str, change: ConfigChange) -> AlterTopicConfigs {
        AlterTopicConfigs { name: name.to_owned(), change }
    }

    fn record(key: &str, value: Option<&str>) -> MetadataRecord {
        MetadataRecord::TopicConfig { topic: "t".into(), key: key.into(), value: value.map(str::to_owned) }
    }

    #[test]
    fn a_topic_gets_what_differs() {
        let image = applied(&MetadataImage::default(), 1, &[counted("t", 1, 1)]);
        let two = ConfigChange::Incremental(vec![set("retention.ms", "5"), set("retention.bytes", "7")]);
        let decision = of_topic("t", two.clone()).decide(&image, &facts(1)).expect("good values");
        assert_eq!(
            decision.records,
            [record("retention.bytes", Some("7")), record("retention.ms", Some("5"))]
        );
        let image = image.with(&decision.records);
        assert_eq!(of_topic("t", two).decide(&image, &facts(1)).expect("good values").records, []);
        let other = ConfigChange::Replace(vec![set("retention.ms", "6")]);
        let decision = of_topic("t", other).decide(&image, &facts(1)).expect("good values");
        assert_eq!(decision.records, [record("retention.bytes", None), record("retention.ms", Some("6"))]);
    }

    #[test]
    fn bad_values_change_nothing() {
        let image = applied(&MetadataImage::default(), 1, &[counted("t", 1, 1)]);
        let code = |refused: Result<Decision<()>, ControllerError>| refused.expect_err("refused").code;
        let bad = ConfigChange::Incremental(vec![set("retention.ms", "5"), set("retention.ms", "6")]);
        assert_eq!(code(of_topic("t", bad).decide(&image, &facts(1))), ErrorCode::InvalidRequest);
        let bad = ConfigChange::Incremental(vec![set("retention.ms", "a week")]);
        assert_eq!(code(of_topic("t", bad.clone()).decide(&image, &facts(1))), ErrorCode::InvalidConfig);
        let unknown = of_topic("x", bad.clone()).decide(&image, &facts(1));
        assert_eq!(
            unknown.expect_err("refused"),
            ControllerError::new(ErrorCode::UnknownTopicOrPartition, "The topic 'x' does not exist.")
        );
        for node in [None, Some(NodeId(1))] {
            let change = ConfigChange::Incremental(vec![set("log.retention.ms", "a week")]);
            let refused = AlterBrokerConfigs { node, change }.decide(&image, &facts(1));
            assert_eq!(code(refused), ErrorCode::InvalidRequest);
        }
    }

    #[test]
    fn a_broker_gets_what_differs() {
        let change = || ConfigChange::Incremental(vec![set("log.retention.ms", "5")]);
        for node in [None, Some(NodeId(1))] {
            let image = MetadataImage::default();
            let decision = AlterBrokerConfigs { node, change: change() }.decide(&image, &facts(1));
            let records = decision.expect("good values").records;
            let (key, value) = ("log.retention.ms".to_owned(), Some("5".to_owned()));
            assert_eq!(records, [MetadataRecord::BrokerConfig { node, key, value }]);
            let image = image.with(&records);
            let again = AlterBrokerConfigs { node, change: change() }.decide(&image, &facts(1));
            assert_eq!(again.expect("good values").records, []);
        }
    }
}
