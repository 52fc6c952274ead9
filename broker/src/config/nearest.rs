//! Finds the known key that a mistyped one most likely meant.

/// The known name with the smallest edit distance, if it is near enough to be a plausible slip.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A key out of a hostile request may be long, and the distance costs the product of both lengths.
    if name.len() > NAME_LENGTH_MAX {
        return None;
    }
    let (distance, best) = known.map(|candidate| (edit_distance(name, candidate), candidate)).min()?;
    (distance <= name.len().max(best.len()) / 3).then_some(best)
}

/// Longer names get no suggestion; Kafka's longest key has 62 characters.
const NAME_LENGTH_MAX: usize = 100;

/// Insertions, deletions, replacements and swaps of neighbours that turn one into the other.
fn edit_distance(left: &str, right: &str) -> usize {
    let left = left.as_bytes();
    let right = right.as_bytes();
    let mut before_previous: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (i, &l) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(right.len() + 1);
        current.push(i + 1);
        for (j, &r) in right.iter().enumerate() {
            let mut cost = (previous[j] + usize::from(l != r)).min(previous[j + 1] + 1).min(current[j] + 1);
            if i > 0 && j > 0 && l == right[j - 1] && left[i - 1] == r {
                cost = cost.min(before_previous[j - 1] + 1);
            }
            current.push(cost);
        }
        before_previous = std::mem::replace(&mut previous, current);
    }
    previous[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "acb", 1),
            ("abc", "ab", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edit_distance(left, right), expected, "{left} {right}");
            assert_eq!(edit_distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn only_plausible_slips_are_suggested() {
        let known = ["num.partitions", "log.dirs", "retention.ms"];
        for (name, expected) in [
            ("num.partition", Some("num.partitions")),
            ("num_partitions", Some("num.partitions")),
            ("retentoin.ms", Some("retention.ms")),
            ("log.dir", Some("log.dirs")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known.into_iter()), expected, "{name}");
        }
        assert_eq!(nearest(&"n".repeat(10_000), known.into_iter()), None);
    }
}
