//! Strings of a request that are not UTF-8, read as Kafka reads them: with U+FFFD for what is no character.
//!
//! Requests are views of their frame, so a string that has to be written anew needs a place that lives as long. A request is
//! decoded strictly first, which costs nothing. If that meets a bad string, a second pass finds all of them and their
//! repaired forms are kept here, by the place where they stood; a third pass takes them from here.

use std::cell::{Cell, OnceCell, RefCell};

use super::error::DecodeError;

/// The repaired strings of one request. Empty, and without an allocation, if all are good.
#[derive(Debug, Default)]
pub struct RepairedText {
    /// While they are looked for.
    found: RefCell<Vec<Repaired>>,
    found_bytes: Cell<usize>,
    /// All of them, in the order of the addresses, as soon as they are known.
    all: OnceCell<Vec<Repaired>>,
}

#[derive(Debug)]
struct Repaired {
    /// Where the string stands in the frame, which stays where it is for as long as views of it exist.
    address: usize,
    text: String,
}

impl RepairedText {
    /// The string whose bytes these are. While bad ones are looked for, nothing stands for them.
    ///
    /// # Errors
    /// `InvalidUtf8` when there are more of them than [`REPAIRED_BYTES_MAX`] allows.
    #[cold]
    pub(super) fn text(&self, bytes: &[u8]) -> Result<&str, DecodeError> {
        let address = bytes.as_ptr().addr();
        if let Some(all) = self.all.get() {
            let place = all.binary_search_by_key(&address, |repaired| repaired.address);
            return place.map(|place| all[place].text.as_str()).map_err(|_| DecodeError::InvalidUtf8);
        }
        let text = repair(bytes);
        self.found_bytes.set(self.found_bytes.get() + text.capacity() + size_of::<Repaired>());
        if self.found_bytes.get() > REPAIRED_BYTES_MAX {
            return Err(DecodeError::InvalidUtf8);
        }
        self.found.borrow_mut().push(Repaired { address, text });
        Ok("")
    }

    /// Ends the search: from now on [`RepairedText::text`] answers with what was found.
    pub(super) fn complete(&self) {
        let mut found = self.found.take();
        found.sort_by_key(|repaired| repaired.address);
        let _only_once = self.all.set(found);
    }
}

/// What bytes say, with U+FFFD for what is no character. Unlike Rust, Java takes half of a surrogate pair (three bytes from ED
/// A0 80 on) for one malformed character, not for three.
#[must_use]
pub(super) fn repair(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    let mut rest = bytes;
    while let Some(chunk) = rest.utf8_chunks().next() {
        text.push_str(chunk.valid());
        rest = &rest[chunk.valid().len()..];
        let bad = chunk.invalid().len();
        if bad > 0 {
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[surrogate_bytes(rest).unwrap_or(bad)..];
        }
    }
    text
}

/// The length of half a surrogate pair at the start of `bytes`, or of what is left of one at their end.
fn surrogate_bytes(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => Some(3),
        [0xed, 0xa0..=0xbf] => Some(2),
        _ => None,
    }
}

/// Memory for the repaired strings of one request. Clients that mean well have a few.
pub const REPAIRED_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::super::metadata::{MetadataRequest, MetadataRequestTopic};
    use super::super::{Request, Segment, encode_request};
    use super::*;

    #[test]
    fn bad_bytes_become_what_java_makes_of_them() {
        // Each row was asked of a JVM: new String(bytes, UTF_8).
        for (bytes, text) in [
            (&b"good"[..], "good"),
            (b"", ""),
            (b"\xff", "\u{fffd}"),
            (b"caf\xe9", "caf\u{fffd}"),
            (b"a\xffb\xfec", "a\u{fffd}b\u{fffd}c"),
            (b"\xe2\x82", "\u{fffd}"),
            (b"\xe2\x82x", "\u{fffd}x"),
            (b"\xc0\x80", "\u{fffd}\u{fffd}"),
            (b"\xed\xa0\x80", "\u{fffd}"),
            (b"\xed\xa0\x80\xed\xb0\x80", "\u{fffd}\u{fffd}"),
            (b"\xed\xa0", "\u{fffd}"),
            (b"\xed\xa0\x80A", "\u{fffd}A"),
            (b"\xe0\x80\x80A", "\u{fffd}\u{fffd}\u{fffd}A"),
            (b"\xf0\x9f\x98", "\u{fffd}"),
            (b"\xf5\x80\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(repair(bytes), text, "{bytes:x?}");
        }
    }

    /// A Metadata request for topics with these names, the bytes of which are replaced behind the encoding.
    fn asking_for(version: i16, names: &[&str]) -> Vec<u8> {
        let topics: Vec<_> = names
            .iter()
            .map(|name| MetadataRequestTopic { name: Some(name), ..Default::default() })
            .collect();
        let request = MetadataRequest { topics: Some(topics[..].into()), ..Default::default() };
        let mut frame = Vec::new();
        for segment in encode_request(version, 1, None, &request).expect("encodes") {
            let Segment::Bytes(bytes) = segment else { panic!("in memory") };
            frame.extend_from_slice(&bytes);
        }
        // Size, header with a null client id, and tagged fields where there are some.
        frame.drain(..14 + usize::from(version >= 9));
        for byte in &mut frame {
            if *byte == b'#' {
                *byte = 0xff;
            }
        }
        frame
    }

    #[test]
    fn a_request_with_bad_strings_is_read_with_replacements() {
        for version in [4, 12] {
            let frame = asking_for(version, &["good", "ba#d", "##", "good too"]);
            assert_eq!(MetadataRequest::decode(version, &frame), Err(DecodeError::InvalidUtf8));
            let repaired = RepairedText::default();
            let decoded = MetadataRequest::decode_within(version, &frame, 4, &repaired);
            let (request, elements) = decoded.expect("decodes");
            assert_eq!(elements, 4);
            let expect = ["good", "ba\u{fffd}d", "\u{fffd}\u{fffd}", "good too"];
            for _ in 0..2 {
                let names = request.topics.expect("some").iter().map(|topic| topic.name.expect("named"));
                assert_eq!(names.collect::<Vec<_>>(), expect, "each time they are looked at");
            }
        }
    }

    #[test]
    fn memory_for_repairs_is_bounded() {
        let many = vec!["#"; REPAIRED_BYTES_MAX / 32];
        let frame = asking_for(12, &many);
        let repaired = RepairedText::default();
        let refused = MetadataRequest::decode_within(12, &frame, usize::MAX, &repaired);
        assert_eq!(refused, Err(DecodeError::InvalidUtf8));
    }
}
