//! Kafka's messages on the wire.
//!
//! Requests are decoded as views of their frame ([`Request::decode`]), responses are owned structs that are encoded
//! around their record bytes ([`encode_response`]). The structs themselves are generated from Kafka's schemas, one
//! module for each API ([`produce`], [`fetch`], ...), the records of internal logs in [`records`].
//!
//! Invariants: whatever the bytes, decoding neither panics, nor reads past the frame, nor allocates in proportion to a
//! length that the frame merely claims. Record bytes are never copied.

mod api_key;
mod api_versions_fallback;
mod array;
mod codec;
mod decode;
mod encode;
mod error;
mod error_code;
mod error_counts;
mod generated;
mod header;
mod message;
mod reader;
mod record;
mod record_parts;
mod repaired_text;
#[cfg(test)]
mod roundtrip_test;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
#[cfg(test)]
mod wire_test;
mod writer;

pub use api_versions_fallback::unsupported_api_versions_response;
pub use array::{Array, ArrayIter};
pub use decode::Decode;
pub use encode::Encode;
pub use error::{DecodeError, EncodeError};
pub use error_code::UnknownErrorCode;
pub use error_counts::ErrorCounts;
pub use generated::*;
pub use header::RequestHeader;
pub use message::{
    EncodedResponse, Message, Request, Response, decode_message, encode_message, encode_response,
    encode_response_into,
};
#[cfg(any(test, feature = "client"))]
pub use message::{decode_response_frame, encode_request};
pub use reader::Reader;
pub use record::{MetadataBody, RecordKey, RecordValue, VersionedData, encode_metadata, record_type};
pub use record_parts::{Records, RecordsPart};
pub use repaired_text::{REPAIRED_BYTES_MAX, RepairedText};
pub use writer::{Segment, Writer};

/// The first size of a response's buffer: most responses fit, others grow.
const FRAME_BUFFER_BYTES: usize = 256;
