//! What every message has in common, and how one is read and written as a whole.

use super::decode::Decode;
use super::error::{DecodeError, EncodeError};
use super::error_counts::ErrorCounts;
use super::generated::ApiKey;
use super::reader::Reader;
use super::repaired_text::RepairedText;
use super::writer::{Segment, Writer};
use super::{FRAME_BUFFER_BYTES, encode::Encode};
use crate::protocol::writer::FRAME_SIZE_BYTES;

use bytes::BytesMut;

/// A message: something with a version of its own.
pub trait Message {
    /// Kafka's name.
    const NAME: &'static str;
    /// The lowest version.
    const MIN_VERSION: i16;
    /// The highest version, unstable ones included.
    const MAX_VERSION: i16;
    /// The first version with compact lengths and tagged fields.
    const FIRST_FLEXIBLE: Option<i16>;

    /// Whether `version` exists.
    #[must_use]
    fn has_version(version: i16) -> bool {
        (Self::MIN_VERSION..=Self::MAX_VERSION).contains(&version)
    }

    /// Whether `version` has compact lengths and tagged fields.
    #[must_use]
    fn is_flexible(version: i16) -> bool {
        Self::FIRST_FLEXIBLE.is_some_and(|first| version >= first)
    }
}

/// A request, as a view of its frame.
pub trait Request<'a>: Message + Decode<'a> {
    /// The API it belongs to.
    const API_KEY: ApiKey;
    /// What answers it.
    type Response: Response;

    /// Reads a request body. What stands behind it is overlooked, as Kafka does: librdkafka 2.16 sends Metadata with
    /// three bytes too many.
    ///
    /// # Errors
    /// When `version` does not exist or the body is malformed.
    fn decode(version: i16, body: &'a [u8]) -> Result<Self, DecodeError> {
        read_message(version, body).map(|(message, _)| message)
    }

    /// As [`Request::decode`], within a limit, and with the number of elements in all arrays. Strings that are not UTF-8 are
    /// no error: they are read with U+FFFD for what is no character, as Kafka does. `repaired` keeps those, and is fresh for
    /// each request.
    ///
    /// # Errors
    /// When `version` does not exist or the body is malformed, when there are more than `elements_max` elements, or when
    /// too much would have to be repaired.
    fn decode_within(
        version: i16,
        body: &'a [u8],
        elements_max: usize,
        repaired: &'a RepairedText,
    ) -> Result<(Self, usize), DecodeError> {
        let elements_max = u32::try_from(elements_max).unwrap_or(u32::MAX);
        let reader = Reader::new(body, version, Self::is_flexible(version)).limited(elements_max);
        let read = |reader| read_from::<Self>(version, reader);
        let decoded = match read(reader) {
            Err(DecodeError::InvalidUtf8) => {
                read(reader.repairing(repaired))?;
                repaired.complete();
                read(reader.repairing(repaired))
            }
            decoded => decoded,
        };
        decoded.map(|(message, reader)| (message, reader.elements() as usize))
    }
}

/// A response.
pub trait Response: Message + Encode {
    /// The API it belongs to.
    const API_KEY: ApiKey;

    /// Writes the body.
    ///
    /// # Errors
    /// When `version` does not exist or cannot express the response.
    fn encode(&self, version: i16, writer: &mut Writer) -> Result<(), EncodeError> {
        encode_message(self, version, writer)
    }
}

/// Reads a message that must fill `bytes` exactly.
///
/// # Errors
/// When `version` does not exist or the bytes are malformed.
pub fn decode_message<'a, M: Message + Decode<'a>>(version: i16, bytes: &'a [u8]) -> Result<M, DecodeError> {
    let (message, reader) = read_message(version, bytes)?;
    reader.finish()?;
    Ok(message)
}

/// A message and the reader behind it.
fn read_message<'a, M: Message + Decode<'a>>(
    version: i16,
    bytes: &'a [u8],
) -> Result<(M, Reader<'a>), DecodeError> {
    read_from(version, Reader::new(bytes, version, M::is_flexible(version)))
}

fn read_from<'a, M: Message + Decode<'a>>(
    version: i16,
    mut reader: Reader<'a>,
) -> Result<(M, Reader<'a>), DecodeError> {
    if !M::has_version(version) {
        return Err(DecodeError::UnsupportedVersion { message: M::NAME, version });
    }
    let message = reader.get()?;
    Ok((message, reader))
}

/// Writes a message behind what `writer` holds. Errors of single fields come out of [`Writer::finish`].
///
/// # Errors
/// When `version` does not exist.
pub fn encode_message<M: Message + Encode + ?Sized>(
    message: &M,
    version: i16,
    writer: &mut Writer,
) -> Result<(), EncodeError> {
    if !M::has_version(version) {
        return Err(EncodeError::UnsupportedVersion { message: M::NAME, version });
    }
    writer.set_version(version, M::is_flexible(version));
    writer.put(message);
    Ok(())
}

/// A response frame, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedResponse {
    /// Size, header, body, with record parts left where they are.
    pub segments: Vec<Segment>,
    /// The result codes in it.
    pub errors: ErrorCounts,
}

impl EncodedResponse {
    /// The same response to another request of its version. Everything behind the correlation id is shared.
    #[must_use]
    pub fn for_request(&self, correlation_id: i32) -> Self {
        let mut segments = self.segments.clone();
        if let Some(Segment::Bytes(first)) = segments.first_mut() {
            let mut head = BytesMut::with_capacity(FRAME_SIZE_BYTES + CORRELATION_ID_BYTES);
            head.extend_from_slice(
                &first.split_to(FRAME_SIZE_BYTES + CORRELATION_ID_BYTES)[..FRAME_SIZE_BYTES],
            );
            head.extend_from_slice(&correlation_id.to_be_bytes());
            segments.insert(0, Segment::Bytes(head.freeze()));
        }
        Self { segments, errors: self.errors.clone() }
    }
}

/// Stands behind the size of a response frame.
const CORRELATION_ID_BYTES: usize = 4;

/// Writes a whole response frame.
///
/// # Errors
/// When `version` does not exist or cannot express the response.
pub fn encode_response<R: Response>(
    version: i16,
    correlation_id: i32,
    response: &R,
) -> Result<EncodedResponse, EncodeError> {
    encode_response_into(BytesMut::with_capacity(FRAME_BUFFER_BYTES), version, correlation_id, response)
}

/// As [`encode_response`], into an empty buffer of the caller's.
///
/// # Errors
/// When `version` does not exist or cannot express the response.
pub fn encode_response_into<R: Response>(
    mut buffer: BytesMut,
    version: i16,
    correlation_id: i32,
    response: &R,
) -> Result<EncodedResponse, EncodeError> {
    buffer.clear();
    buffer.extend_from_slice(&[0; FRAME_SIZE_BYTES]);
    let mut writer = Writer::new(buffer, version, R::API_KEY.response_header_version(version) == 1);
    writer.put(&correlation_id);
    writer.begin_tags();
    response.encode(version, &mut writer)?;
    writer.patch_frame_size();
    let errors = writer.take_error_codes();
    Ok(EncodedResponse { segments: writer.finish()?, errors })
}

/// A whole request frame: size, header, body.
///
/// # Errors
/// When `version` does not exist or cannot express the request.
#[cfg(any(test, feature = "client"))]
pub fn encode_request<'a, R: Request<'a> + Encode>(
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    request: &R,
) -> Result<Vec<Segment>, EncodeError> {
    let mut buffer = BytesMut::with_capacity(FRAME_BUFFER_BYTES);
    buffer.extend_from_slice(&[0; FRAME_SIZE_BYTES]);
    // The client id keeps its two-byte length in every header, so that any broker can read it.
    let mut writer = Writer::new(buffer, version, false);
    writer.put(&R::API_KEY.code());
    writer.put(&version);
    writer.put(&correlation_id);
    writer.put(&client_id);
    writer.set_version(version, R::is_flexible(version));
    writer.begin_tags();
    encode_message(request, version, &mut writer)?;
    writer.patch_frame_size();
    writer.finish()
}

/// Reads a response frame without its size: the correlation id and the body.
///
/// # Errors
/// When the frame is malformed.
#[cfg(any(test, feature = "client"))]
pub fn decode_response_frame<'a, R: Response + Decode<'a>>(
    version: i16,
    frame: &'a [u8],
) -> Result<(i32, R), DecodeError> {
    let mut reader = Reader::new(frame, version, R::API_KEY.response_header_version(version) == 1);
    let correlation_id = reader.get()?;
    reader.skip_tagged_fields()?;
    Ok((correlation_id, decode_message(version, reader.rest())?))
}
