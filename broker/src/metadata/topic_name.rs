//! Which names a topic may have (Kafka's `org.apache.kafka.common.internals.Topic`).

/// Topics that the broker itself writes; clients may read them.
pub const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__share_group_state", "__transaction_state"];

/// The metadata log, which is no topic and whose name no topic may have.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// The longest name: `TOPIC-N.UUID-delete` must fit into a file name.
const NAME_LENGTH_MAX: usize = 249;

/// Characters of a bad name that are told.
const SHOWN_MAX: usize = 1_000;

/// Whether the broker itself writes the topic.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// Whether clients cannot create a topic of that name.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    is_internal(name) || name == CLUSTER_METADATA
}

/// Checks that a topic may have this name.
///
/// # Errors
/// A sentence that says what is wrong with the name.
pub fn validate_topic_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    // What is no name may be long, and is told for each partition that it is asked about.
    let shown = name.char_indices().nth(SHOWN_MAX).map_or(name, |(end, _)| &name[..end]);
    if name.is_empty() {
        return Err("Topic name is invalid: the empty string is not allowed".into());
    }
    if name == "." || name == ".." {
        return Err(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > NAME_LENGTH_MAX {
        return Err(format!(
            "Topic name is invalid: the length of '{shown}' is longer than the max allowed length {NAME_LENGTH_MAX}"
        ));
    }
    if !name.chars().all(legal) {
        return Err(format!(
            "Topic name is invalid: '{shown}' contains one or more characters other than ASCII alphanumerics, '.', \
             '_' and '-'"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "A.b_c-9", "__consumer_offsets", CLUSTER_METADATA, &"x".repeat(249)] {
            assert_eq!(validate_topic_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(validate_topic_name(bad).is_err(), "{bad}");
        }
    }
}
