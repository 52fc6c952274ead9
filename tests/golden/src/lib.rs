//! Judges the codec of `net` by others: byte for byte against the `kafka-protocol` crate, against bytes that Apache
//! Kafka's own classes have read and written, and against a dialogue recorded with an Apache Kafka broker.
//!
//! The tests are in `tests/`, the recorded bytes in `fixtures/`: lines of text, `#` begins a comment.
#![forbid(unsafe_code)]

use bytes::BytesMut;
use net::protocol::{ApiKey, DecodeError, Segment, Writer, decode_request, decode_response, records};

/// One message of a fixture.
#[derive(Debug, Clone)]
pub struct Golden {
    /// `request`, `response`, or a kind of record.
    pub kind: String,
    /// Kafka's name of the message.
    pub name: String,
    /// The API, unless the message is a record.
    pub api_key: Option<ApiKey>,
    /// The version of the body.
    pub version: i16,
    /// The body.
    pub body: Vec<u8>,
}

/// Reads the lines `KIND KEY NAME VERSION .HEX` of a fixture. The dot stands for an empty body, too.
#[must_use]
pub fn parse_fixture(text: &str) -> Vec<Golden> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(parse_line).collect()
}

fn parse_line(line: &str) -> Golden {
    let words: Vec<&str> = line.split(' ').collect();
    let [kind, key, name, version, body] = words[..] else { panic!("five words: {line}") };
    let is_api = kind == "request" || kind == "response";
    let api_key = is_api.then(|| ApiKey::try_from(key.parse::<i16>().expect("a key")).expect("a known key"));
    let version = version.parse().expect("a version");
    Golden { kind: kind.into(), name: name.into(), api_key, version, body: parse_hex(&body[1..]) }
}

fn parse_hex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

/// Decodes the body by the codec of `net` and encodes it again.
///
/// # Errors
/// When the body cannot be decoded.
pub fn reencode(golden: &Golden) -> Result<Vec<u8>, DecodeError> {
    let Golden { name, version, body, .. } = golden;
    let Some(key) = golden.api_key else {
        return Ok(records::any::reencode(name, *version, body).expect("a known record")?.to_vec());
    };
    let mut writer = Writer::new(BytesMut::new(), *version, key.is_flexible(*version));
    if golden.kind == "request" {
        writer.put(&decode_request(key, *version, body)?);
    } else {
        writer.put(&decode_response(key, *version, body)?);
    }
    let segments = writer.finish().expect("what was decoded can be encoded");
    Ok(segments.iter().flat_map(bytes_of).copied().collect())
}

/// The bytes of a segment of a message that was decoded, and so has no external parts.
///
/// # Panics
/// When the segment is external.
#[must_use]
pub fn bytes_of(segment: &Segment) -> &[u8] {
    match segment {
        Segment::Bytes(bytes) => bytes,
        Segment::External { .. } => panic!("decoding makes no external parts"),
    }
}
