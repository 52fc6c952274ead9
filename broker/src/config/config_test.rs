//! Proves that the table is sound, that values are judged as Kafka judges them, that inheritance, DescribeConfigs and
//! IncrementalAlterConfigs follow from it, and that docs/CONFIG.md is what the table says.

use std::collections::BTreeMap;

use super::*;

fn settings(pairs: &[(&str, &str)]) -> Settings {
    pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

fn broker(pairs: &[(&str, &str)]) -> BrokerConfig {
    BrokerConfig::from_static(settings(pairs)).unwrap()
}

#[test]
fn the_page_is_what_the_table_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIG.md");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == reference_page(), "docs/CONFIG.md is out of date: millrace config > docs/CONFIG.md");
}

#[test]
fn rows_are_sound() {
    for scope in [Scope::Topic, Scope::Broker] {
        let rows: Vec<_> = Definitions::of(scope).collect();
        for row in &rows {
            assert_eq!(row.scope, scope, "{}", row.name);
            // Finding a row takes that the tables are in alphabetical order and name nothing twice.
            assert!(std::ptr::eq(Definitions::find(scope, row.name).unwrap(), *row), "{}", row.name);
            if let Some(default) = row.default {
                let parsed = value::parse(row, default);
                // Kafka gives this one no default; it has to be set to be looked at.
                assert!(parsed.is_ok(), "{}: {parsed:?}", row.name);
            }
            assert!(row.effect != Effect::Active || !row.prose.is_empty(), "{} has no prose", row.name);
            assert!(row.documentation().ends_with('.'), "{}", row.name);
            for synonym in row.synonyms {
                let lender = Definitions::find(Scope::Broker, synonym.name).expect(synonym.name);
                assert!(
                    lender.default.is_none() || std::ptr::eq(synonym, row.synonyms.last().unwrap()),
                    "{}: {} hides the synonyms after it",
                    row.name,
                    synonym.name
                );
            }
        }
    }
}

#[test]
fn a_topic_default_is_what_the_broker_lends() {
    let config = BrokerConfig::default();
    for row in Definitions::topic().filter(|row| !row.synonyms.is_empty()) {
        let entry = describe_topic(&config, &BTreeMap::new(), Some(&[row.name])).remove(0);
        assert_eq!(entry.value.as_deref(), row.default, "{}", row.name);
        assert_eq!(entry.source, ConfigSource::Default, "{}", row.name);
    }
}

/// Values and messages of Apache Kafka 4.3.1's LogConfig.validate.
#[rustfmt::skip]
static JUDGEMENTS: &[(&str, &str, Result<(), &str>)] = &[
    ("retention.ms", "-1", Ok(())),
    ("retention.ms", " 12 ", Ok(())),
    (
        "retention.ms",
        "-5",
        Err("Invalid value -5 for configuration retention.ms: Value must be at least -1"),
    ),
    (
        "retention.ms",
        "abc",
        Err("Invalid value abc for configuration retention.ms: Not a number of type LONG"),
    ),
    ("retention.ms", "", Err("Invalid value  for configuration retention.ms: Not a number of type LONG")),
    (
        "retention.ms",
        "9223372036854775808",
        Err(
            "Invalid value 9223372036854775808 for configuration retention.ms: Not a number of type LONG",
        ),
    ),
    ("retention.bytes", "+5", Ok(())),
    (
        "retention.bytes",
        "0x10",
        Err("Invalid value 0x10 for configuration retention.bytes: Not a number of type LONG"),
    ),
    (
        "segment.bytes",
        "12",
        Err("Invalid value 12 for configuration segment.bytes: Value must be at least 1048576"),
    ),
    (
        "segment.bytes",
        "99999999999",
        Err("Invalid value 99999999999 for configuration segment.bytes: Not a number of type INT"),
    ),
    (
        "index.interval.bytes",
        "1.5",
        Err("Invalid value 1.5 for configuration index.interval.bytes: Not a number of type INT"),
    ),
    (
        "cleanup.policy",
        "foo",
        Err("Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete"),
    ),
    ("cleanup.policy", "", Ok(())),
    ("cleanup.policy", "compact, delete", Ok(())),
    ("cleanup.policy", "compact,compact", Ok(())),
    (
        "cleanup.policy",
        "compact,,delete",
        Err("Configuration 'cleanup.policy' values must not be empty."),
    ),
    (
        "compression.type",
        "foo",
        Err(
            "Invalid value foo for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
    ),
    ("compression.gzip.level", "-1", Ok(())),
    (
        "compression.gzip.level",
        "0",
        Err(
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
    ),
    (
        "compression.lz4.level",
        "40",
        Err("Invalid value 40 for configuration compression.lz4.level: Value must be no more than 17"),
    ),
    ("min.cleanable.dirty.ratio", "0.5", Ok(())),
    (
        "min.cleanable.dirty.ratio",
        "2",
        Err("Invalid value 2 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"),
    ),
    (
        "min.cleanable.dirty.ratio",
        "x",
        Err("Invalid value x for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE"),
    ),
    (
        "min.cleanable.dirty.ratio",
        "NaN",
        Err("Invalid value NaN for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE"),
    ),
    ("preallocate", "TRUE", Ok(())),
    (
        "preallocate",
        "yes",
        Err("Invalid value yes for configuration preallocate: Expected value to be either true or false"),
    ),
    ("leader.replication.throttled.replicas", "*", Ok(())),
    ("leader.replication.throttled.replicas", "0:1,1:2", Ok(())),
    ("leader.replication.throttled.replicas", "", Ok(())),
    (
        "leader.replication.throttled.replicas",
        "*,0:1",
        Err(
            "Invalid value *,0:1 for configuration leader.replication.throttled.replicas: leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
        ),
    ),
    (
        "message.timestamp.type",
        "x",
        Err(
            "Invalid value x for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime",
        ),
    ),
    (
        "min.insync.replicas",
        "0",
        Err("Invalid value 0 for configuration min.insync.replicas: Value must be at least 1"),
    ),
    ("durability", "kafka", Ok(())),
    (
        "durability",
        "none",
        Err(
            "Invalid value none for configuration durability: String must be one of: quorum-fsync, all-fsync, kafka",
        ),
    ),
    ("retention.mss", "1", Err("Unknown topic config name: retention.mss (did you mean retention.ms?)")),
    ("xyzzy", "1", Err("Unknown topic config name: xyzzy")),
    (
        "message.timestamp.difference.max.ms",
        "1",
        Err(
            "Unknown topic config name: message.timestamp.difference.max.ms (did you mean message.timestamp.after.max.ms?)",
        ),
    ),
];

#[test]
fn topic_values_are_judged_as_kafka_does() {
    for (key, text, expected) in JUDGEMENTS {
        let judged = validate_topic_config(key, text).map_err(|error| error.to_string());
        assert_eq!(judged, expected.map_err(str::to_owned), "{key}={text}");
    }
    let long = "x".repeat(100_000);
    assert!(validate_topic_config("compression.type", &long).unwrap_err().message().len() < 200);
}

#[test]
fn settings_are_judged_together() {
    let overrides = settings(&[("min.compaction.lag.ms", "20"), ("max.compaction.lag.ms", "10")]);
    assert_eq!(
        validate_topic_configs(&overrides).unwrap_err().to_string(),
        "conflict topic config setting min.compaction.lag.ms (20) > max.compaction.lag.ms (10)"
    );
    assert_eq!(validate_topic_configs(&settings(&[("min.compaction.lag.ms", "20")])), Ok(()));
}

#[test]
fn a_topic_inherits() {
    type Get = fn(&TopicConfig) -> i64;
    let retention: Get = |topic| topic.retention_ms.map_or(-1, |ms| i64::try_from(ms).unwrap());
    let segment: Get = |topic| i64::try_from(topic.segment_ms).unwrap();
    let isr: Get = |topic| i64::from(topic.min_insync_replicas);
    let hour = 3_600_000;
    for (fixed, own, get, expected) in [
        (&[][..], &[][..], retention, 168 * hour),
        (&[("log.retention.hours", "2")], &[], retention, 2 * hour),
        (&[("log.retention.hours", "-1")], &[], retention, -1),
        (&[("log.retention.hours", "2"), ("log.retention.minutes", "3")], &[], retention, 180_000),
        (&[("log.retention.minutes", "3"), ("log.retention.ms", "4")], &[], retention, 4),
        (&[("log.retention.ms", "4")], &[("retention.ms", "5")], retention, 5),
        (&[("log.retention.ms", "4")], &[("retention.ms", "-1")], retention, -1),
        // What this version does not accept, a newer one may have stored.
        (&[("log.retention.ms", "4")], &[("retention.ms", "for ever")], retention, 4),
        (&[("log.roll.hours", "1")], &[], segment, hour),
        (&[("log.roll.ms", "9")], &[], segment, 9),
        (&[("min.insync.replicas", "2")], &[], isr, 2),
    ] {
        let topic = TopicConfig::resolve(&broker(fixed), &settings(own));
        assert_eq!(get(&topic), expected, "{fixed:?} {own:?}");
    }
}

#[test]
fn every_typed_topic_value_follows_its_key() {
    let own = settings(&[
        ("cleanup.policy", "compact"),
        ("durability", "kafka"),
        ("file.delete.delay.ms", "1"),
        ("index.interval.bytes", "2"),
        ("max.message.bytes", "3"),
        ("message.timestamp.after.max.ms", "4"),
        ("message.timestamp.before.max.ms", "5"),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.insync.replicas", "6"),
        ("retention.bytes", "7"),
        ("retention.ms", "8"),
        ("segment.bytes", "1048577"),
        ("segment.index.bytes", "9"),
        ("segment.jitter.ms", "10"),
        ("segment.ms", "11"),
    ]);
    let expected = TopicConfig {
        cleanup_delete: false,
        cleanup_compact: true,
        durability: replication::Durability::Kafka,
        file_delete_delay_ms: 1,
        index_interval_bytes: 2,
        max_message_bytes: 3,
        timestamp_after_max_ms: 4,
        timestamp_before_max_ms: 5,
        timestamp_type: model::TimestampType::LogAppendTime,
        min_insync_replicas: 6,
        retention_bytes: Some(7),
        retention_ms: Some(8),
        segment_bytes: 1_048_577,
        segment_index_bytes: 9,
        segment_jitter_ms: 10,
        segment_ms: 11,
    };
    let topic = TopicConfig::resolve(&BrokerConfig::default(), &own);
    assert_eq!(topic, expected);
    assert_eq!(topic.to_log_config().commit_mode, storage::CommitMode::Kafka);
}

#[test]
fn default_topics_have_kafkas_log_settings() {
    let topic = TopicConfig::resolve(&BrokerConfig::default(), &BTreeMap::new());
    assert_eq!(topic.to_log_config(), storage::LogConfig::default());
}

#[test]
fn describe_tells_value_source_and_synonyms() {
    use ConfigSource::{Default, DynamicBroker, DynamicDefaultBroker, DynamicTopic, StaticBroker};
    let fixed = broker(&[("log.retention.hours", "2"), ("log.segment.bytes", "2000000")]);
    let dynamic = BrokerConfig::with_dynamic(
        &fixed,
        &settings(&[("message.max.bytes", "5000")]),
        &settings(&[("message.max.bytes", "6000"), ("log.segment.bytes", "3000000")]),
    );
    let config = dynamic.unwrap();
    let own = settings(&[("retention.ms", "99"), ("cleanup.policy", "compact")]);
    for (key, value, source, synonyms) in [
        (
            "retention.ms",
            "99",
            DynamicTopic,
            &[
                ("retention.ms", "99", DynamicTopic),
                ("log.retention.hours", "2", StaticBroker),
                ("log.retention.hours", "168", Default),
            ][..],
        ),
        (
            "max.message.bytes",
            "6000",
            DynamicBroker,
            &[
                ("message.max.bytes", "6000", DynamicBroker),
                ("message.max.bytes", "5000", DynamicDefaultBroker),
                ("message.max.bytes", "1048588", Default),
            ],
        ),
        (
            "segment.bytes",
            "3000000",
            DynamicBroker,
            &[
                ("log.segment.bytes", "3000000", DynamicBroker),
                ("log.segment.bytes", "2000000", StaticBroker),
                ("log.segment.bytes", "1073741824", Default),
            ],
        ),
        ("remote.storage.enable", "false", Default, &[]),
    ] {
        let entry = describe_topic(&config, &own, Some(&[key])).remove(0);
        assert_eq!((entry.value.as_deref(), entry.source), (Some(value), source), "{key}");
        let found: Vec<_> =
            entry.synonyms.iter().map(|s| (s.name, s.value.as_deref().unwrap(), s.source)).collect();
        assert_eq!(found, synonyms, "{key}");
        assert!(!entry.read_only && !entry.sensitive, "{key}");
    }
    let inherited = describe_topic(&config, &BTreeMap::new(), Some(&["retention.ms"])).remove(0);
    assert_eq!((inherited.value.as_deref(), inherited.source), (Some("7200000"), StaticBroker));
}

#[test]
fn describe_answers_for_all_or_for_the_known_of_the_named() {
    let config = BrokerConfig::default();
    let none = BTreeMap::new();
    assert_eq!(describe_topic(&config, &none, None).len(), Definitions::topic().count());
    assert_eq!(describe_broker(&config, None).len(), Definitions::broker().count());
    assert_eq!(describe_topic(&config, &none, Some(&["retention.ms", "nonsense"])).len(), 1);
    // Apache Kafka 4.3.1 takes an empty list for all.
    assert_eq!(describe_broker(&config, Some(&[])).len(), Definitions::broker().count());
    assert!(describe_broker_defaults(&none, None).is_empty());
    let defaults = describe_broker_defaults(&settings(&[("message.max.bytes", "5")]), None);
    assert_eq!(defaults[0].source, ConfigSource::DynamicDefaultBroker);
}

#[test]
fn a_broker_key_shows_its_own_value() {
    let config = broker(&[("log.retention.hours", "2"), ("num.partitions", "4")]);
    for (key, value, source, read_only) in [
        ("num.partitions", Some("4"), ConfigSource::StaticBroker, true),
        ("log.retention.hours", Some("2"), ConfigSource::StaticBroker, true),
        ("log.retention.ms", None, ConfigSource::Default, false),
        ("log.dir", Some("./millrace-data"), ConfigSource::Default, true),
        ("auto.create.topics.enable", Some("true"), ConfigSource::Default, true),
        ("min.insync.replicas", Some("1"), ConfigSource::Default, false),
        ("delete.topic.enable", Some("true"), ConfigSource::Default, true),
        ("default.replication.factor", Some("1"), ConfigSource::Default, true),
    ] {
        let entry = describe_broker(&config, Some(&[key])).remove(0);
        assert_eq!(
            (entry.value.as_deref(), entry.source, entry.read_only),
            (value, source, read_only),
            "{key}"
        );
    }
}

#[test]
fn a_key_is_explained() {
    let text = explain("retention.ms").unwrap();
    for part in ["topic setting", "at least -1", "`604800000`", "log.retention.minutes"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let both = explain("min.insync.replicas").unwrap();
    assert!(both.contains("(topic setting)") && both.contains("(broker setting)"), "{both}");
    assert!(explain("num.io.threads").unwrap().contains("without effect"));
    for (key, meant) in [("num.io.thread", "num.io.threads"), ("retention.sm", "retention.ms")] {
        let refusal = explain(key).unwrap_err();
        assert!(refusal.message().contains(&format!("did you mean {meant}?")), "{refusal}");
    }
}
