//! Configuration files: read or refused with the line that is wrong; what was read builds a configuration or is refused.

use broker::config::{StaticSettings, parse_cores, parse_properties};

use crate::Mutator;

pub(crate) fn case(mutator: &mut Mutator) {
    let mut text = VALID.as_bytes().to_vec();
    mutator.mutate(&mut text);
    if mutator.below(2) == 0 {
        let place = mutator.below(text.len().max(1)).min(text.len());
        text.splice(place..place, mutator.pick(FRAGMENTS).bytes());
    }
    let text = String::from_utf8_lossy(&text);
    if let Ok(properties) = parse_properties("file", &text) {
        let lines = text.lines().count();
        for pair in properties.windows(2) {
            assert!(pair[0].line < pair[1].line, "lines rise");
        }
        for property in &properties {
            assert!((1..=lines).contains(&property.line) && !property.key.is_empty());
        }
        // Each by itself, since one that is refused hides those behind it. Only a panic is wrong.
        if let Some(at) = (!properties.is_empty()).then(|| mutator.below(properties.len())) {
            let mut settings = StaticSettings::default();
            let property = &properties[at];
            settings.add(&property.key, &property.value, "here");
            let _ = settings.build();
        }
    }
    let mut settings = StaticSettings::default();
    settings.add_text("file", &text);
    let _ = settings.check();
    let _ = parse_cores(&text);
    for line in text.lines() {
        let _ = parse_cores(line);
        StaticSettings::default().add_assignment(line);
    }
}

const VALID: &str = "# a broker\nnode.id=1\nlisteners=PLAINTEXT://[::1]:9092,OTHER://host:9093\n\
    advertised.listeners = PLAINTEXT://host:9092\nlog.dirs=/tmp/\\u0061\\\n   b\nlog.segment.bytes: 1073741824\n\
    log.retention.ms -1\nmillrace.cores=0-1,3\nlog.cleanup.policy=delete\nnum.partitions=3\n";

const FRAGMENTS: &[&str] =
    &["\\u", "\\", "\\\n", "=", ":", "-", ",", "-1", "99999999999999999999", "0-18446744073709551615", "é"];
