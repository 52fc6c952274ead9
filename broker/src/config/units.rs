//! Units where Kafka's numbers stand: `1h` for a setting in milliseconds, `1GiB` for one in bytes. Only in files and on the
//! command line, where people write; what is kept, and what goes over the wire, is Kafka's plain number.

use super::definition::{Definition, ValueType};

/// What a setting's number counts, as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    Bytes,
    /// Time, in so many microseconds.
    Micros(i128),
}

const TIMES: &[(&str, i128)] = &[
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("min", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

const SIZES: &[(&str, i128)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// The plain number for a number with a unit; `None` where there is no unit, or where none can be.
///
/// # Errors
/// The unit is not one for this setting, or there is no such number.
pub(super) fn plain(definition: &Definition, text: &str) -> Result<Option<String>, String> {
    let text = text.trim();
    let Some(end) = text.find(|one: char| !one.is_ascii_digit()) else { return Ok(None) };
    let (number, unit) = (&text[..end], text[end..].trim_start());
    let is_number = matches!(definition.value_type, ValueType::Int | ValueType::Long | ValueType::Short);
    if !is_number || number.is_empty() || !unit.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Ok(None);
    }
    let Some(counts) = counts(definition.name) else { return Ok(None) };
    let (units, one) = match counts {
        Counts::Bytes => (SIZES, 1),
        Counts::Micros(one) => (TIMES, one),
    };
    let Some((_, factor)) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) else {
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        return Err(format!("'{unit}' is not a unit for it; units are {}", names.join(", ")));
    };
    let total = number.parse::<i128>().ok().and_then(|number| number.checked_mul(*factor));
    match total {
        Some(total) if total % one == 0 => Ok(Some((total / one).to_string())),
        Some(_) => Err("Not a whole number of what the setting counts".to_owned()),
        None => Err("Too large".to_owned()),
    }
}

fn counts(name: &str) -> Option<Counts> {
    let last = name.rsplit('.').next().unwrap_or_default();
    let micros = match last {
        "us" => 1,
        "ms" | "millis" => 1_000,
        "seconds" | "secs" => 1_000_000,
        "minutes" => 60_000_000,
        "hours" => 3_600_000_000,
        _ if name.split('.').any(|part| part == "bytes") => return Some(Counts::Bytes),
        _ => return None,
    };
    Some(Counts::Micros(micros))
}

#[cfg(test)]
mod tests {
    use super::super::definition::Scope;
    use super::super::definitions::Definitions;
    use super::*;

    #[test]
    fn units_become_plain_numbers() {
        for (key, text, expected) in [
            ("log.retention.ms", "1h", Ok(Some("3600000"))),
            ("log.retention.ms", "7 d", Ok(Some("604800000"))),
            ("log.retention.ms", "500us", Err("whole number")),
            ("log.retention.hours", "2d", Ok(Some("48"))),
            ("log.retention.hours", "90min", Err("whole number")),
            ("millrace.spin.us", "1ms", Ok(Some("1000"))),
            ("log.segment.bytes", "1GiB", Ok(Some("1073741824"))),
            ("log.segment.bytes", "1gb", Ok(Some("1000000000"))),
            ("millrace.memory.per.shard.bytes", "64MiB", Ok(Some("67108864"))),
            ("log.segment.bytes", "1h", Err("'h' is not a unit for it; units are B, kB")),
            ("log.retention.ms", "1GiB", Err("units are us, ms, s, min, h, d")),
            ("log.retention.bytes", "99999999999999999999999999999TiB", Err("Too large")),
            ("log.segment.bytes", "1024", Ok(None)),
            ("log.retention.ms", "-1", Ok(None)),
            ("log.retention.ms", "h", Ok(None)),
            ("log.retention.ms", "1.5h", Ok(None)),
            ("num.partitions", "1k", Ok(None)),
            ("broker.rack", "1h", Ok(None)),
        ] {
            let definition = Definitions::find(Scope::Broker, key).unwrap();
            match (plain(definition, text), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected, "{key} {text}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{key} {text}: {found}"),
                (found, _) => panic!("{key} {text}: {found:?}"),
            }
        }
    }
}
