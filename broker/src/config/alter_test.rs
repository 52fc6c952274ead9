//! Proves what IncrementalAlterConfigs makes of own settings, and what it refuses.

use super::*;

fn settings(pairs: &[(&str, &str)]) -> Settings {
    pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

fn change(name: &str, op: AlterOp, value: Option<&str>) -> Alteration {
    Alteration { name: name.to_owned(), op, value: value.map(str::to_owned) }
}

#[test]
fn topics_are_altered() {
    use AlterOp::{Append, Delete, Set, Subtract};
    let current = settings(&[("retention.ms", "5"), ("future.key", "1")]);
    for (changes, expected) in [
        (vec![("retention.ms", Set, Some("6"))], Ok(&[("retention.ms", "6"), ("future.key", "1")][..])),
        (vec![("retention.ms", Delete, None)], Ok(&[("future.key", "1")])),
        (vec![("retention.ms", Delete, Some("ignored"))], Ok(&[("future.key", "1")])),
        (vec![("future.key", Delete, None)], Ok(&[("retention.ms", "5")])),
        (
            vec![("cleanup.policy", Append, Some("compact"))],
            Ok(&[("retention.ms", "5"), ("future.key", "1"), ("cleanup.policy", "delete,compact")]),
        ),
        (
            vec![("cleanup.policy", Append, Some("delete"))],
            Ok(&[("retention.ms", "5"), ("future.key", "1"), ("cleanup.policy", "delete")]),
        ),
        (
            vec![("cleanup.policy", Subtract, Some("delete"))],
            Ok(&[("retention.ms", "5"), ("future.key", "1"), ("cleanup.policy", "")]),
        ),
        (
            vec![("retention.ms", Append, Some("6"))],
            Err("Can't APPEND to key retention.ms because its type is not LIST."),
        ),
        (vec![("retention.ms", Set, None)], Err("Null value not supported for SET: retention.ms")),
        (
            vec![("cleanup.policy", Append, Some("shred"))],
            Err(
                "Invalid value shred for configuration cleanup.policy: String must be one of: compact, delete",
            ),
        ),
        (
            vec![("retention.ms", Set, Some("x"))],
            Err("Invalid value x for configuration retention.ms: Not a number of type LONG"),
        ),
        (
            vec![("retentoin.ms", Set, Some("1"))],
            Err("Unknown topic config name: retentoin.ms (did you mean retention.ms?)"),
        ),
        // As in Kafka: whatever it was, it is not there afterwards.
        (vec![("retentoin.ms", Delete, None)], Ok(&[("retention.ms", "5"), ("future.key", "1")])),
        (
            vec![("remote.storage.enable", Set, Some("true"))],
            Err(
                "Invalid value true for configuration remote.storage.enable: Tiered storage is not there yet",
            ),
        ),
        (
            vec![("retention.ms", Set, Some("1")), ("retention.ms", Delete, None)],
            Err("Error due to duplicate config keys: retention.ms"),
        ),
        (
            vec![("min.compaction.lag.ms", Set, Some("2")), ("max.compaction.lag.ms", Set, Some("1"))],
            Err("conflict topic config setting min.compaction.lag.ms (2) > max.compaction.lag.ms (1)"),
        ),
    ] {
        // A stored key of a newer version must not stand in the way of changes to others.
        let changes: Vec<_> = changes.into_iter().map(|(name, op, value)| change(name, op, value)).collect();
        let altered = alter_topic(&BrokerConfig::default(), &current, &changes).map_err(|e| e.to_string());
        assert_eq!(altered, expected.map(settings).map_err(str::to_owned), "{changes:?}");
    }
}

#[test]
fn append_starts_from_the_inherited_list() {
    let config = BrokerConfig::from_static(settings(&[("log.cleanup.policy", "compact")])).unwrap();
    let changes = [change("cleanup.policy", AlterOp::Append, Some("delete"))];
    let altered = alter_topic(&config, &BTreeMap::new(), &changes);
    assert_eq!(altered, Ok(settings(&[("cleanup.policy", "compact,delete")])));
}

#[test]
fn brokers_are_altered_within_their_modes() {
    use BrokerScope::{AllBrokers, ThisBroker};
    for (scope, key, text, expected) in [
        (AllBrokers, "message.max.bytes", "5", Ok(())),
        (ThisBroker, "message.max.bytes", "5", Ok(())),
        (ThisBroker, "durability", "kafka", Ok(())),
        (ThisBroker, "num.io.threads", "5", Ok(())),
        (
            ThisBroker,
            "num.partitions",
            "5",
            Err("Cannot update num.partitions dynamically: it is set at start (--set, --config)"),
        ),
        (ThisBroker, "cordoned.log.dirs", "x", Ok(())),
        (
            AllBrokers,
            "cordoned.log.dirs",
            "x",
            Err("Cannot update cordoned.log.dirs dynamically: it is set for each broker by itself"),
        ),
        (
            ThisBroker,
            "message.max.bytes",
            "-1",
            Err("Invalid value -1 for configuration message.max.bytes: Value must be at least 0"),
        ),
        (
            ThisBroker,
            "message.max.byte",
            "1",
            Err("Unknown broker config name: message.max.byte (did you mean message.max.bytes?)"),
        ),
    ] {
        let changes = [change(key, AlterOp::Set, Some(text))];
        let altered = alter_broker(&BrokerConfig::default(), scope, &BTreeMap::new(), &changes);
        let expected = expected.map(|()| settings(&[(key, text)])).map_err(str::to_owned);
        assert_eq!(altered.map_err(|error| error.to_string()), expected, "{scope:?} {key}={text}");
    }
}
