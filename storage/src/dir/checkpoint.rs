//! Kafka's small text files: offset checkpoints, the leader-epoch checkpoint, `partition.metadata`.
//!
//! A checkpoint is `0`, the number of entries, then one entry per line. A file that does not parse is treated
//! as missing by the callers: everything in it can be rebuilt, at the price of a longer recovery.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::{LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition};

use crate::dir::checkpoint_checksum::{has_checksum, is_intact, with_checksum};

/// The name of the checkpoint of offsets below which everything is on stable storage, indexes included.
pub(crate) const RECOVERY_POINT_FILE: &str = "recovery-point-offset-checkpoint";
/// The name of the checkpoint of log starts.
pub(crate) const LOG_START_FILE: &str = "log-start-offset-checkpoint";
/// The name of its copy: nothing else says where a log begins that records were deleted from.
pub(crate) const LOG_START_COPY_FILE: &str = "log-start-offset-checkpoint.copy";
/// The name of the checkpoint of high watermarks.
pub(crate) const HIGH_WATERMARK_FILE: &str = "replication-offset-checkpoint";
/// The name of a log's epochs.
pub(crate) const LEADER_EPOCH_FILE: &str = "leader-epoch-checkpoint";
/// The name of a partition's identity.
pub(crate) const PARTITION_METADATA_FILE: &str = "partition.metadata";

/// One offset per partition.
pub(crate) type Offsets = BTreeMap<TopicPartition, Offset>;

/// Formats a checkpoint that `after` yields piece by piece: the entries behind a partition, none at the end.
pub(crate) fn format_offsets(
    mut after: impl FnMut(Option<&TopicPartition>) -> Vec<(TopicPartition, Offset)>,
) -> Vec<u8> {
    let (mut lines, mut count) = (String::new(), 0);
    let mut piece = after(None);
    while let Some((last, _)) = piece.last() {
        count += piece.len();
        for (tp, offset) in &piece {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{} {} {offset}", tp.topic, tp.partition);
        }
        piece = after(Some(last));
    }
    with_checksum(count, &lines)
}

pub(crate) fn parse_offsets(bytes: &[u8]) -> Option<Offsets> {
    let mut lines = entries(bytes)?;
    if has_checksum(bytes) {
        lines.pop().filter(|_| std::str::from_utf8(bytes).is_ok_and(is_intact))?;
    }
    let mut offsets = Offsets::new();
    for line in lines {
        let mut words = line.split(' ');
        let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || topic.is_empty() {
            return None;
        }
        let tp = TopicPartition::new(topic, PartitionId(partition.parse().ok()?));
        offsets.insert(tp, Offset(offset.parse().ok()?));
    }
    Some(offsets)
}

/// The epochs of a log. Where there are some, the last entry is ours: the last epoch once more, with the checksum of
/// everything before it for a start that no log reaches. Kafka leaves out an entry of the epoch before it that starts later.
pub(crate) fn format_epochs(epochs: &[(LeaderEpoch, Offset)]) -> Vec<u8> {
    let last = epochs.last();
    let mut out = format!("0\n{}\n", epochs.len() + usize::from(last.is_some()));
    for (epoch, offset) in epochs {
        let _ = writeln!(out, "{epoch} {offset}");
    }
    if let Some((epoch, _)) = last {
        let checksum = EPOCHS_CHECKSUM_MIN.plus(i64::from(crc32c::crc32c(out.as_bytes())));
        let _ = writeln!(out, "{epoch} {checksum}");
    }
    out.into_bytes()
}

/// The entry with a checksum starts here or above.
const EPOCHS_CHECKSUM_MIN: Offset = Offset(1 << 62);

/// No epoch starts here or above; what does, and is below the other, is that entry with a flipped bit.
const EPOCHS_START_MAX: Offset = Offset(1 << 56);

/// `None` if the file is damaged. What Kafka writes has no checksum and is taken as it is.
pub(crate) fn parse_epochs(bytes: &[u8]) -> Option<Vec<(LeaderEpoch, Offset)>> {
    let entry = |line: &str| {
        let (epoch, offset) = line.split_once(' ')?;
        Some((LeaderEpoch(epoch.parse().ok()?), Offset(offset.parse().ok()?)))
    };
    let mut epochs = entries(bytes)?.into_iter().map(entry).collect::<Option<Vec<_>>>()?;
    let is_ours = epochs.pop_if(|(_, start)| *start >= EPOCHS_START_MAX).is_some();
    (!is_ours || bytes == format_epochs(&epochs)).then_some(epochs)
}

/// The identity of a partition. Its last line is ours: the format has no checksum, and Kafka reads no further than the id.
pub(crate) fn format_partition_metadata(topic_id: TopicId) -> Vec<u8> {
    let identity = format!("version: 0\ntopic_id: {topic_id}\n");
    let checksum = crc32c::crc32c(identity.as_bytes());
    format!("{identity}crc32c: {checksum:08x}\n").into_bytes()
}

/// The topic that a partition's identity names; `None` if the file is damaged. Kafka writes none but the first two lines.
pub(crate) fn parse_partition_metadata(bytes: &[u8]) -> Option<TopicId> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    if lines.next()?.split_once(':')?.1.trim() != "0" {
        return None;
    }
    let (key, id) = lines.next()?.split_once(':')?;
    let topic_id = if key.trim() == "topic_id" { id.trim().parse().ok()? } else { return None };
    match lines.next() {
        Some(_) if bytes != format_partition_metadata(topic_id) => None,
        _ => Some(topic_id),
    }
}

/// The lines behind the head of a checkpoint, if there are as many as the head says.
fn entries(bytes: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    if lines.next()?.trim() != "0" {
        return None;
    }
    let count: usize = lines.next()?.trim().parse().ok()?;
    let lines: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    (lines.len() == count).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_round_trip_in_kafkas_form() {
        let text = "0\n2\na 0 17\nb-c 3 9223372036854775807\n";
        let offsets = parse_offsets(text.as_bytes()).unwrap();
        assert_eq!(offsets.len(), 2);
        let text = "0\n3\na 0 17\nb-c 3 9223372036854775807\n##crc32c 0 XXX\n";
        assert_eq!(parse_offsets(text.as_bytes()), None);
        let text =
            text.replace("XXX", &crc32c::crc32c(text.split_once("##").unwrap().0.as_bytes()).to_string());
        assert_eq!(parse_offsets(text.as_bytes()).as_ref(), Some(&offsets));
        // One entry at a time.
        let after = |last: Option<&TopicPartition>| {
            let behind = |tp: &TopicPartition| last.is_none_or(|last| tp > last);
            let next = offsets.iter().find(|(tp, _)| behind(tp));
            next.map(|(tp, offset)| (tp.clone(), *offset)).into_iter().collect()
        };
        assert_eq!(format_offsets(after), text.as_bytes());
    }

    #[test]
    fn an_identity_of_ours_shows_every_flipped_bit_and_kafkas_is_taken() {
        let id = TopicId::from_random([7; 16]);
        let content = format_partition_metadata(id);
        assert_eq!(parse_partition_metadata(&content), Some(id));
        for bit in 0..content.len() * 8 {
            let mut flipped = content.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_partition_metadata(&flipped), None, "bit {bit}");
        }
        let kafkas = format!("version: 0\ntopic_id: {id}");
        assert_eq!(parse_partition_metadata(kafkas.as_bytes()), Some(id));
    }

    #[test]
    fn epochs_of_ours_show_every_flipped_bit() {
        let content = format_epochs(&[(LeaderEpoch(0), Offset(0)), (LeaderEpoch(3), Offset(40))]);
        for bit in 0..content.len() * 8 {
            let mut flipped = content.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_epochs(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn damaged_checkpoints_are_refused() {
        for bad in
            ["", "0", "1\n0\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\n1\na x 1\n", "0\n1\na 0 1 2\n", "\u{0}"]
        {
            assert_eq!(parse_offsets(bad.as_bytes()), None, "{bad:?}");
        }
        for bad in ["0\n1\n5\n", "0\n1\nx 5\n", "0\n0\n1 1\n"] {
            assert_eq!(parse_epochs(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn epochs_and_identity_round_trip() {
        let epochs = vec![(LeaderEpoch(0), Offset(0)), (LeaderEpoch(3), Offset(40))];
        assert_eq!(parse_epochs(&format_epochs(&epochs)), Some(epochs.clone()));
        assert_eq!(parse_epochs(b"0\n2\n0 0\n3 40\n"), Some(epochs), "Kafka's");
        assert_eq!(parse_epochs(&format_epochs(&[])), Some(vec![]));
        let id = TopicId::from_random([7; 16]);
        assert_eq!(parse_partition_metadata(&format_partition_metadata(id)), Some(id));
        assert_eq!(parse_partition_metadata(b"version: 1\ntopic_id: x"), None);
    }
}
