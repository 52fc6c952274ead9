//! A checksum in Kafka's checkpoint files, whose format has none: the last entry is of a partition that cannot exist, with the
//! checksum of everything before it for an offset. Kafka looks up partitions that it has and leaves this one alone; when it
//! writes the file, the entry is gone, and the file is taken as it is.

/// No topic has such a name; one flipped bit leaves something in it that no topic's has.
const NAME: &str = "##crc32c";

/// A checkpoint of `count` entries, one per line.
pub(crate) fn with_checksum(count: usize, lines: &str) -> Vec<u8> {
    let content = format!("0\n{}\n{lines}", count + 1);
    let entry = entry(content.as_bytes());
    (content + &entry).into_bytes()
}

/// Whether a file is one of ours, damaged or not.
pub(crate) fn has_checksum(bytes: &[u8]) -> bool {
    bytes.contains(&b'#')
}

/// Whether the checksum of a file of ours is right.
pub(crate) fn is_intact(text: &str) -> bool {
    text.rfind(NAME).is_some_and(|at| text[at..] == entry(&text.as_bytes()[..at]))
}

fn entry(content: &[u8]) -> String {
    format!("{NAME} 0 {}\n", crc32c::crc32c(content))
}
