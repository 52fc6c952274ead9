//! The bytes of a journal entry: what several logs had pending, each piece with the place in its segment where it belongs.
//!
//! docs/STORAGE.md has the byte tables. An entry starts at a page; its checksum covers all of it, so that an entry is there
//! as a whole or not at all.

use model::{Offset, TopicId, TopicPartition, Uuid};

const MAGIC: &[u8; 8] = b"MILLJRN1";

/// Bytes in front of the first piece.
pub(crate) const HEADER_SIZE: usize = 40;

/// Bytes of a piece in front of the partition's directory name.
const PIECE_HEADER_SIZE: usize = 38;

/// What stands in place of a segment's base in a piece that ends a log; the offset stands in place of the position.
const END: Offset = Offset(-1);

/// Entries that another one can say were still in flight, counted back from it.
pub(crate) const HISTORY_MAX: u64 = 32;

/// Where the checksum stands, and what it covers from.
const CRC_AT: usize = 8;
const CRC_START: usize = 12;

/// Which entry it is. The bytes of an older use of the same place have a smaller generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId {
    /// Counts the uses of the halves.
    pub(crate) generation: u64,
    /// Counts the entries of one use.
    pub(crate) sequence: u64,
}

/// One log's part of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) topic_id: TopicId,
    /// The partition's directory.
    pub(crate) dir_name: &'a str,
    pub(crate) content: Content<'a>,
}

/// What a piece says of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// Whole batches at the end of the log.
    Batches {
        /// The segment's base offset.
        base: Offset,
        /// Where in the segment's file the bytes belong.
        position: u64,
        bytes: &'a [u8],
    },
    /// The log was cut or deleted: of what older entries have of it, nothing at or above `from` counts.
    End { from: Offset },
}

/// An entry that was found to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) id: EntryId,
    /// What was known of the entries before it when it was written. The first of a generation: how many the one before has,
    /// all durable. Another: which of the last [`HISTORY_MAX`] were still in flight, bit 0 for the one just before it.
    pub(crate) history: u32,
    pub(crate) pieces: Vec<Piece<'a>>,
    /// Bytes of the entry, without the padding behind it.
    pub(crate) length: usize,
}

impl Entry<'_> {
    /// Whether entry `number` of its generation was known to be durable when this one was written.
    pub(crate) fn knew(&self, number: u64) -> bool {
        let Some(back) = self.id.sequence.checked_sub(number + 1) else { return false };
        back >= HISTORY_MAX || self.history & (1 << back) == 0
    }
}

/// Writes entries into memory that is used again and again.
#[derive(Debug, Default)]
pub(crate) struct EntryBuilder {
    bytes: Vec<u8>,
    pieces: u32,
}

impl EntryBuilder {
    /// Begins an entry, forgetting the last one.
    pub(crate) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.resize(HEADER_SIZE, 0);
        self.pieces = 0;
    }

    /// Adds the batches from `position` on of a segment.
    pub(crate) fn add<'a>(
        &mut self,
        log: (TopicId, &TopicPartition),
        (base, position): (Offset, u64),
        length: usize,
        parts: impl Iterator<Item = &'a [u8]>,
    ) {
        assert!(base >= Offset::ZERO, "a segment has a base");
        self.add_piece(log, (base, position), length, parts);
    }

    /// Ends a log: of what older entries have of it, nothing at or above `from` counts.
    pub(crate) fn add_end(&mut self, log: (TopicId, &TopicPartition), from: Offset) {
        let from = u64::try_from(from.0).expect("offsets of a log are not negative");
        self.add_piece(log, (END, from), 0, std::iter::empty());
    }

    fn add_piece<'a>(
        &mut self,
        (topic_id, tp): (TopicId, &TopicPartition),
        (base, position): (Offset, u64),
        length: usize,
        parts: impl Iterator<Item = &'a [u8]>,
    ) {
        let dir_name = tp.dir_name();
        let name_length = u16::try_from(dir_name.len()).expect("directory names are short");
        self.bytes.extend_from_slice(&topic_id.0);
        self.bytes.extend_from_slice(&base.0.to_be_bytes());
        self.bytes.extend_from_slice(&position.to_be_bytes());
        self.bytes.extend_from_slice(&u32::try_from(length).expect("pieces are small").to_be_bytes());
        self.bytes.extend_from_slice(&name_length.to_be_bytes());
        self.bytes.extend_from_slice(dir_name.as_bytes());
        let start = self.bytes.len();
        parts.for_each(|part| self.bytes.extend_from_slice(part));
        assert_eq!(self.bytes.len() - start, length, "a piece is as long as it says");
        self.pieces += 1;
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The whole entry.
    pub(crate) fn finish(&mut self, id: EntryId, history: u32) -> &[u8] {
        let length = u32::try_from(self.bytes.len()).expect("entries are small");
        let header = &mut self.bytes[..HEADER_SIZE];
        header[..8].copy_from_slice(MAGIC);
        header[12..16].copy_from_slice(&length.to_be_bytes());
        header[16..20].copy_from_slice(&self.pieces.to_be_bytes());
        header[20..24].copy_from_slice(&history.to_be_bytes());
        header[24..32].copy_from_slice(&id.generation.to_be_bytes());
        header[32..40].copy_from_slice(&id.sequence.to_be_bytes());
        let crc = crc32c::crc32c(&self.bytes[CRC_START..]);
        self.bytes[CRC_AT..CRC_START].copy_from_slice(&crc.to_be_bytes());
        &self.bytes
    }
}

/// The entry at the start of `bytes`, if a whole one is there.
pub(crate) fn parse(bytes: &[u8]) -> Option<Entry<'_>> {
    let header = bytes.get(..HEADER_SIZE).filter(|header| header.starts_with(MAGIC))?;
    let number = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    let small = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let length = usize::try_from(small(12)).ok()?;
    let whole = bytes.get(..length).filter(|whole| whole.len() >= HEADER_SIZE)?;
    if crc32c::crc32c(&whole[CRC_START..]) != small(CRC_AT) {
        return None;
    }
    let id = EntryId { generation: number(24), sequence: number(32) };
    let mut rest = &whole[HEADER_SIZE..];
    let mut pieces = Vec::new();
    for _ in 0..small(16) {
        pieces.push(parse_piece(&mut rest)?);
    }
    rest.is_empty().then_some(Entry { id, history: small(20), pieces, length })
}

fn parse_piece<'a>(rest: &mut &'a [u8]) -> Option<Piece<'a>> {
    let header = rest.split_off(..PIECE_HEADER_SIZE)?;
    let name_length = u16::from_be_bytes(header[36..38].try_into().ok()?);
    let length = u32::from_be_bytes(header[32..36].try_into().ok()?);
    let dir_name = std::str::from_utf8(rest.split_off(..usize::from(name_length))?).ok()?;
    let base = Offset(i64::from_be_bytes(header[16..24].try_into().ok()?));
    let position = u64::from_be_bytes(header[24..32].try_into().ok()?);
    let bytes = rest.split_off(..usize::try_from(length).ok()?)?;
    let content = if base == END {
        Content::End { from: Offset(i64::try_from(position).ok()?) }
    } else {
        Content::Batches { base, position, bytes }
    };
    Some(Piece { topic_id: Uuid(header[..16].try_into().ok()?), dir_name, content })
}

#[cfg(test)]
mod tests {
    use model::PartitionId;

    use super::*;

    fn sample() -> Vec<u8> {
        let mut builder = EntryBuilder::default();
        builder.begin();
        let (one, two) =
            (TopicPartition::new("a", PartitionId(0)), TopicPartition::new("b-c", PartitionId(7)));
        builder.add((Uuid([1; 16]), &one), (Offset(0), 4000), 5, [&b"he"[..], b"llo"].into_iter());
        builder.add((Uuid([2; 16]), &two), (Offset(9), 0), 0, std::iter::empty());
        builder.add_end((Uuid([1; 16]), &one), Offset(77));
        builder.finish(EntryId { generation: 3, sequence: 4 }, 1).to_vec()
    }

    #[test]
    fn an_entry_is_read_back() {
        let mut bytes = sample();
        bytes.resize(4096, 0);
        let entry = parse(&bytes).unwrap();
        assert_eq!((entry.id, entry.history), (EntryId { generation: 3, sequence: 4 }, 1));
        assert_eq!(entry.length, sample().len());
        let found: Vec<_> = entry.pieces.iter().map(|piece| (piece.dir_name, piece.content)).collect();
        let batches = |base, position, bytes| Content::Batches { base: Offset(base), position, bytes };
        let end = Content::End { from: Offset(77) };
        let added = [("a-0", batches(0, 4000, &b"hello"[..])), ("b-c-7", batches(9, 0, b"")), ("a-0", end)];
        assert_eq!(found, added);
        assert_eq!(entry.pieces[1].topic_id, Uuid([2; 16]));
    }

    #[test]
    fn an_entry_with_any_byte_changed_or_missing_is_none() {
        let good = sample();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(parse(&bad).is_none(), "byte {at}");
            assert!(parse(&good[..at]).is_none(), "cut at {at}");
        }
        assert!(parse(&[0; 4096]).is_none());
    }
}
