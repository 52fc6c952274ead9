//! Bytes that Apache Kafka itself has written are read, and written back the same.
//!
//! `classes.txt` holds bodies that the message classes of Kafka 4.4.0 have read and written
//! (`tests/golden/record classes`): all messages and versions that the `kafka-protocol` crate does not cover, the
//! records of internal logs among them. `dialogue.txt` was recorded with a broker (`tests/golden/record dialogue`).

use millrace_test_golden::{parse_fixture, reencode};

fn check(fixture: &str, at_least: usize) {
    let messages = parse_fixture(fixture);
    assert!(messages.len() >= at_least, "only {} messages in the fixture", messages.len());
    for golden in messages {
        assert_eq!(reencode(&golden).as_ref(), Ok(&golden.body), "{} v{}", golden.name, golden.version);
    }
}

#[test]
fn what_the_classes_of_kafka_wrote_comes_back_byte_for_byte() {
    check(include_str!("../fixtures/classes.txt"), 150);
}

#[test]
fn what_a_broker_answered_comes_back_byte_for_byte() {
    check(include_str!("../fixtures/dialogue.txt"), 100);
}
