//! Prints random bodies, one a line: kind, key or `-`, name, version, body in hex. With `all` of every message and
//! version, else of those that the `kafka-protocol` crate does not cover.
//! `tests/golden/record` has Apache Kafka's own classes read and write them.

use kafka_protocol::messages::ApiKey as TheirKey;
use net::protocol::samples::{Schema, Shape, schemas};

fn main() {
    let all = std::env::args().nth(1).is_some_and(|argument| argument == "all");
    let random: &[(Shape, u64)] = &[(Shape::Smallest, 0), (Shape::Random, 2), (Shape::Random, 3)];
    for schema in schemas() {
        for version in schema.versions.clone().filter(|version| all || !covered(&schema, *version)) {
            for (shape, seed) in [(Shape::Fullest, 1)].iter().chain(if all { random } else { &[] }) {
                let bytes = schema.sample(version, *seed, *shape, false).bytes;
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let key = schema.key.map_or("-".to_owned(), |key| key.to_string());
                println!("{} {key} {} {version} .{hex}", schema.kind, schema.name);
            }
        }
    }
}

/// Whether the crate's table of versions has this one. It promises three that its decoder refuses.
fn covered(schema: &Schema, version: i16) -> bool {
    let refused = [("InitProducerId", 6), ("OffsetCommit", 10), ("OffsetFetch", 10)];
    let api = schema.name.trim_end_matches("Request").trim_end_matches("Response");
    let is_api = schema.kind == "request" || schema.kind == "response";
    let their_key = schema.key.filter(|_| is_api && !refused.contains(&(api, version)));
    let versions = their_key.and_then(|key| TheirKey::try_from(key).ok()).map(|key| key.valid_versions());
    versions.is_some_and(|range| (range.min..=range.max).contains(&version))
}
