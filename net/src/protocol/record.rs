//! Messages that are records of an internal log: how their type and version are put before them.
//!
//! | log | bytes before the message |
//! |---|---|
//! | coordinator, key | record type (i16); keys have version 0 only |
//! | coordinator, value | version (i16) |
//! | metadata | frame version 1, record type, version: three unsigned varints |

use bytes::{Bytes, BytesMut};

use super::decode::Decode;
use super::encode::Encode;
use super::error::{DecodeError, EncodeError};
use super::message::{Message, decode_message, encode_message};
use super::reader::Reader;
use super::writer::{Segment, Writer};

/// The key of a coordinator's record.
pub trait RecordKey: Message + Encode + for<'a> Decode<'a> {
    /// The record type, shared with the value.
    const TYPE: i16;

    /// The bytes of the key.
    ///
    /// # Errors
    /// When a field is too long.
    fn encode(&self) -> Result<Bytes, EncodeError> {
        prefixed(self, Self::TYPE, 0)
    }

    /// Reads a key of this type.
    ///
    /// # Errors
    /// When the key is malformed or of another type.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match split_prefix(bytes)? {
            (kind, body) if kind == Self::TYPE => decode_message(0, body),
            (other, _) => Err(DecodeError::UnknownRecordType(i32::from(other))),
        }
    }
}

/// The value of a coordinator's record.
pub trait RecordValue: Message + Encode + for<'a> Decode<'a> {
    /// The record type, shared with the key.
    const TYPE: i16;

    /// The bytes of the value.
    ///
    /// # Errors
    /// When `version` cannot express it.
    fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
        prefixed(self, version, version)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// When the value is malformed or its version unknown.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (version, body) = split_prefix(bytes)?;
        decode_message(version, body)
    }
}

/// Data outside requests and logs of ours that carries its version in front: what consumers send through a classic
/// group, and control records.
pub trait VersionedData: Message + Encode + for<'a> Decode<'a> {
    /// The version, then the message.
    ///
    /// # Errors
    /// When `version` cannot express it.
    fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
        prefixed(self, version, version)
    }

    /// Reads the version, then the message.
    ///
    /// # Errors
    /// When it is malformed or its version unknown.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (version, body) = split_prefix(bytes)?;
        decode_message(version, body)
    }
}

/// A message of the metadata log.
pub trait MetadataBody: Message + Encode + for<'a> Decode<'a> {
    /// The record type.
    const TYPE: i16;
}

/// The record type at the start of a coordinator's key.
///
/// # Errors
/// `Truncated` when there are less than two bytes.
pub fn record_type(key: &[u8]) -> Result<i16, DecodeError> {
    Ok(split_prefix(key)?.0)
}

/// The bytes of a record of the metadata log.
///
/// # Errors
/// When `version` cannot express it.
pub fn encode_metadata<M: MetadataBody>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new(BytesMut::new(), version, M::is_flexible(version));
    writer.put_length(METADATA_FRAME_VERSION as usize);
    writer.put_length(usize::try_from(M::TYPE).expect("record types are not negative"));
    // A negative version is refused below, by name.
    writer.put_length(usize::try_from(version).unwrap_or(0));
    encode_message(message, version, &mut writer)?;
    contiguous(writer)
}

/// Splits a record of the metadata log into type, version and message.
pub(super) fn metadata_frame(value: &[u8]) -> Result<(i32, i16, &[u8]), DecodeError> {
    let mut reader = Reader::new(value, 0, true);
    match reader.varint()? {
        METADATA_FRAME_VERSION => {}
        other => return Err(DecodeError::UnknownFrameVersion(other)),
    }
    let kind = reader.varint()?;
    let kind = i32::try_from(kind).map_err(|_| DecodeError::UnknownRecordType(i32::MAX))?;
    let version = reader.varint()?;
    let version = i16::try_from(version).map_err(|_| DecodeError::InvalidLength(i64::from(version)))?;
    Ok((kind, version, reader.rest()))
}

/// The bytes of a message alone.
#[cfg(any(test, feature = "client"))]
pub(super) fn encode_body<M: Message + Encode>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new(BytesMut::new(), version, M::is_flexible(version));
    encode_message(message, version, &mut writer)?;
    contiguous(writer)
}

fn split_prefix(bytes: &[u8]) -> Result<(i16, &[u8]), DecodeError> {
    let mut reader = Reader::new(bytes, 0, false);
    let prefix = reader.get()?;
    Ok((prefix, reader.rest()))
}

fn prefixed<M: Message + Encode>(message: &M, prefix: i16, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new(BytesMut::new(), version, M::is_flexible(version));
    writer.put(&prefix);
    encode_message(message, version, &mut writer)?;
    contiguous(writer)
}

/// The bytes of a message without record parts.
fn contiguous(writer: Writer) -> Result<Bytes, EncodeError> {
    let mut segments = writer.finish()?;
    match segments.pop() {
        Some(Segment::Bytes(bytes)) => Ok(bytes),
        _ => Ok(Bytes::new()),
    }
}

/// The only version that the frame around metadata records ever had.
const METADATA_FRAME_VERSION: u32 = 1;
