//! Proves that no sequence of commands makes an image that breaks its invariants, that the delta of each change names all
//! that differs, and that a replay of what was decided makes the same image.

use model::{NodeId, TopicId, Uuid};
use proptest::collection::vec;
use proptest::prelude::*;

use super::test_image::{counted, facts};
use super::{
    AllocateProducerIds, AlterBrokerConfigs, AlterTopicConfigs, Command, ConfigChange, CreatePartitions,
    DeleteTopics, Facts, NewTopic, TopicAssignment, TopicCreation,
};
use crate::config::{AlterOp, Alteration};
use crate::metadata::records::MetadataRecord;
use crate::metadata::{ImageBuilder, MetadataDelta, MetadataImage};

#[derive(Debug, Clone)]
enum Step {
    CreateTopics(Vec<NewTopic>),
    CreatePartitions(CreatePartitions),
    DeleteTopics(Vec<String>),
    AlterTopicConfigs(AlterTopicConfigs),
    AlterBrokerConfigs(AlterBrokerConfigs),
    AllocateProducerIds,
    /// So many brokers are registered from now on.
    Brokers(i32),
}

const NAMES: &[&str] = &["a", "b.c", "b_c", "b-c", "__consumer_offsets", "__cluster_metadata", "no name"];

fn name() -> impl Strategy<Value = String> {
    proptest::sample::select(NAMES).prop_map(str::to_owned)
}

fn nodes() -> impl Strategy<Value = Vec<i32>> {
    vec(0..5, 0..4)
}

fn new_topic() -> impl Strategy<Value = NewTopic> {
    let placed =
        (name(), -2..6, -2_i16..5).prop_map(|(name, partitions, factor)| counted(&name, partitions, factor));
    let manual = (name(), proptest::collection::btree_map(0..3, nodes(), 0..4)).prop_map(|(name, named)| {
        NewTopic { assignment: TopicAssignment::Manual(named), ..counted(&name, 1, 1) }
    });
    prop_oneof![placed, manual]
}

fn change(keys: &'static [&'static str]) -> impl Strategy<Value = ConfigChange> {
    let alteration = (proptest::sample::select(keys), 0..3, proptest::option::of(0..9)).prop_map(
        |(key, op, value): (_, _, Option<i32>)| Alteration {
            name: key.to_owned(),
            op: if op == 0 { AlterOp::Delete } else { AlterOp::Set },
            value: value.map(|value| value.to_string()),
        },
    );
    (vec(alteration, 0..3), any::<bool>()).prop_map(|(changes, is_replacing)| {
        if is_replacing { ConfigChange::Replace(changes) } else { ConfigChange::Incremental(changes) }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(new_topic(), 1..4).prop_map(Step::CreateTopics),
        2 => (name(), -1..12, proptest::option::of(vec(nodes(), 0..3))).prop_map(
            |(name, count, assignments)| Step::CreatePartitions(CreatePartitions { name, count, assignments })
        ),
        2 => vec(name(), 1..3).prop_map(Step::DeleteTopics),
        1 => (name(), change(&["retention.ms", "retention.bytes", "no.such"]))
            .prop_map(|(name, change)| Step::AlterTopicConfigs(AlterTopicConfigs { name, change })),
        1 => (proptest::option::of(1..3), change(&["log.retention.ms", "node.id"])).prop_map(|(node, change)| {
            Step::AlterBrokerConfigs(AlterBrokerConfigs { node: node.map(NodeId), change })
        }),
        1 => Just(Step::AllocateProducerIds),
        1 => (1..5).prop_map(Step::Brokers),
    ]
}

fn records<C: Command>(command: C, image: &MetadataImage, facts: &Facts) -> Vec<MetadataRecord> {
    command.decide(image, facts).map(|decision| decision.records).unwrap_or_default()
}

/// What a step makes of the image; ids are taken from `next_id`.
fn decide(step: Step, image: &MetadataImage, facts: &mut Facts, next_id: &mut u8) -> Vec<MetadataRecord> {
    match step {
        Step::CreateTopics(topics) => {
            let mut creation = TopicCreation::new(image, facts);
            for topic in topics {
                *next_id += 1;
                let _refused = creation.create(topic, Uuid([*next_id; 16]));
            }
            creation.into_records()
        }
        Step::CreatePartitions(command) => records(command, image, facts),
        Step::DeleteTopics(names) => {
            let id = |name: &String| image.topic(name).map(|topic| topic.id);
            let ids: std::collections::BTreeSet<TopicId> = names.iter().filter_map(id).collect();
            records(DeleteTopics { ids: ids.into_iter().collect() }, image, facts)
        }
        Step::AlterTopicConfigs(command) => records(command, image, facts),
        Step::AlterBrokerConfigs(command) => records(command, image, facts),
        Step::AllocateProducerIds => records(AllocateProducerIds, image, facts),
        Step::Brokers(count) => {
            *facts = super::test_image::facts(count);
            Vec::new()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_decided_keeps_the_invariants(steps in vec(step(), 1..20)) {
        let (mut facts, mut next_id) = (facts(1), 0);
        let mut image = MetadataImage::default();
        let mut log = Vec::new();
        for step in steps {
            let records = decide(step, &image, &mut facts, &mut next_id);
            let before = std::mem::take(&mut image);
            image = before.with(&records);
            image.check_invariants();
            MetadataDelta::of(&before, &records).check_covers(&before, &image);
            log.extend(records);
        }
        let mut replayed = ImageBuilder::default();
        for record in &log {
            replayed.apply(record);
        }
        prop_assert_eq!(replayed.build(), image);
    }
}
