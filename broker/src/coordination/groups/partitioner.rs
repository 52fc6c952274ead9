//! Which partition of `__consumer_offsets` has a group.

/// Kafka's placement: Java's hash of the group id (over UTF-16 units), its sign dropped, modulo the number of
/// partitions. `None` when there are no partitions.
#[must_use]
pub fn partition_for_group(group_id: &str, partition_count: i32) -> Option<i32> {
    let unit = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = group_id.encode_utf16().fold(0, unit);
    // Kafka's `Utils.abs`: the smallest number, which has no positive counterpart, counts as 0.
    let positive = hash.checked_abs().unwrap_or(0);
    (partition_count > 0).then(|| positive % partition_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hash_as_in_java() {
        // Hashes from a JVM: "".hashCode() and so on.
        for (id, hash) in [
            ("", 0),
            ("a", 97),
            ("group", 98_629_247),
            ("console-consumer-12345", 158_455_506),
            ("größe", 98_762_257),
            ("\u{1F600}", 1_772_899),
            ("polygenelubricants", i32::MIN),
        ] {
            let expect = if hash == i32::MIN { 0 } else { hash.abs() };
            assert_eq!(partition_for_group(id, i32::MAX), Some(expect % i32::MAX), "{id}");
        }
        assert_eq!(partition_for_group("a", 50), Some(47));
        assert_eq!(partition_for_group("a", 0), None);
    }
}
