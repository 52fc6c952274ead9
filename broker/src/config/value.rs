//! Parses and checks the text of one value against its row.

use super::definition::{Definition, Rule, ValueType};
use super::error::{ConfigError, ConfigErrorKind};
use super::{cores, listener};

/// A parsed value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// `true` or `false`.
    Boolean(bool),
    /// Any of the integer types.
    Integer(i64),
    /// A floating-point number.
    Double(f64),
    /// Text or a class name.
    Text(String),
    /// The items of a list.
    List(Vec<String>),
}

/// A single value longer than this is refused: it would be kept in memory and written to the metadata log.
pub(super) const VALUE_LENGTH_MAX: usize = 32 * 1024;

/// Parses `text` as the type of `definition` and checks its rule. White space around it does not count, as in Kafka.
pub(super) fn parse(definition: &Definition, text: &str) -> Result<Value, ConfigError> {
    if text.len() > VALUE_LENGTH_MAX {
        let message = format!(
            "The value for configuration {} is longer than {VALUE_LENGTH_MAX} bytes",
            definition.name
        );
        return Err(ConfigError::new(ConfigErrorKind::InvalidValue, message));
    }
    let text = text.trim();
    let refuse = |allowed: &str| ConfigError::invalid_value(definition.name, text, allowed);
    let value = match definition.value_type {
        ValueType::Boolean if text.eq_ignore_ascii_case("true") => Value::Boolean(true),
        ValueType::Boolean if text.eq_ignore_ascii_case("false") => Value::Boolean(false),
        ValueType::Boolean => return Err(refuse("Expected value to be either true or false")),
        ValueType::Int | ValueType::Short | ValueType::Long => match integer(definition.value_type, text) {
            Some(number) => Value::Integer(number),
            None => return Err(refuse(&format!("Not a number of type {}", definition.value_type.name()))),
        },
        ValueType::Double => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Double(number),
            _ => return Err(refuse("Not a number of type DOUBLE")),
        },
        ValueType::String | ValueType::Class => Value::Text(text.to_owned()),
        ValueType::List => Value::List(list(text)),
    };
    check_rule(definition, text, &value)?;
    Ok(value)
}

/// Splits a list as Kafka does; empty text is the empty list.
pub(super) fn list(text: &str) -> Vec<String> {
    let text = text.trim();
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|item| item.trim().to_owned()).collect()
}

fn integer(value_type: ValueType, text: &str) -> Option<i64> {
    match value_type {
        ValueType::Short => text.parse::<i16>().ok().map(i64::from),
        ValueType::Int => text.parse::<i32>().ok().map(i64::from),
        _ => text.parse::<i64>().ok(),
    }
}

/// Kafka's validators with Kafka's wording.
fn check_rule(definition: &Definition, text: &str, value: &Value) -> Result<(), ConfigError> {
    let problem = match (definition.rule, value) {
        (Rule::AtLeast(low), Value::Integer(number)) => check_range(*number, low, i64::MAX),
        (Rule::Between(low, high), Value::Integer(number)) => check_range(*number, low, high),
        (Rule::BetweenOr(low, high, other), Value::Integer(number)) => {
            let good = *number == other || (low..=high).contains(number);
            (!good).then(|| format!("Value must be between {low} and {high} or equal to {other}"))
        }
        (Rule::Fraction, Value::Double(number)) => match number {
            n if *n < 0.0 => Some("Value must be at least 0".to_owned()),
            n if *n > 1.0 => Some("Value must be no more than 1".to_owned()),
            _ => None,
        },
        (Rule::False(why), Value::Boolean(true)) => Some(why.to_owned()),
        (Rule::OneOf(words), Value::Text(word)) => {
            (!words.contains(&word.as_str())).then(|| must_be_one_of(words))
        }
        (Rule::OneOfIgnoringCase(words), Value::Text(word)) => {
            let good = words.iter().any(|known| known.eq_ignore_ascii_case(word));
            (!good).then(|| must_be_one_of(words))
        }
        (Rule::EachOf(words), Value::List(items)) => return check_each(definition.name, words, items),
        (Rule::ThrottledReplicas, Value::List(items)) => (!throttled_replicas(items)).then(|| {
            format!(
                "{} must be the literal '*' or a list of replicas in the following format: \
                 [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                definition.name
            )
        }),
        (Rule::Listeners, Value::List(items)) => listener::parse_all(items).err(),
        (Rule::HostPortOrEmpty, Value::Text(address)) if !address.is_empty() => {
            listener::parse_host_port(address).err()
        }
        (Rule::Cores, Value::Text(text)) => cores::parse(text).err(),
        _ => None,
    };
    match problem {
        Some(problem) => Err(ConfigError::invalid_value(definition.name, text, problem)),
        None => Ok(()),
    }
}

fn check_range(number: i64, low: i64, high: i64) -> Option<String> {
    if number < low {
        Some(format!("Value must be at least {low}"))
    } else if number > high {
        Some(format!("Value must be no more than {high}"))
    } else {
        None
    }
}

fn must_be_one_of(words: &[&str]) -> String {
    format!("String must be one of: {}", words.join(", "))
}

fn check_each(key: &str, words: &[&str], items: &[String]) -> Result<(), ConfigError> {
    for item in items {
        if item.is_empty() {
            let message = format!("Configuration '{key}' values must not be empty.");
            return Err(ConfigError::new(ConfigErrorKind::InvalidValue, message));
        }
        if !words.contains(&item.as_str()) {
            return Err(ConfigError::invalid_value(key, item, must_be_one_of(words)));
        }
    }
    Ok(())
}

fn throttled_replicas(items: &[String]) -> bool {
    let is_pair = |item: &String| {
        item.split_once(':').is_some_and(|(partition, broker)| {
            [partition, broker]
                .iter()
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    matches!(items, [only] if only == "*") || items.iter().all(is_pair)
}
