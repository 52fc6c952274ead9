//! What the generated modules build on, in one import.

pub(super) use bytes::Bytes;
pub(super) use model::Uuid;

pub(super) use super::array::Array;
pub(super) use super::decode::{Decode, Nullable, nullable_struct};
pub(super) use super::encode::{Encode, EncodeNullable, put_not_null, put_nullable_struct};
pub(super) use super::error::{DecodeError, EncodeError};
pub(super) use super::message::{Message, Request, Response, decode_message};
pub(super) use super::reader::Reader;
#[cfg(any(test, feature = "client"))]
pub(super) use super::record::encode_body;
pub(super) use super::record::{
    MetadataBody, RecordKey, RecordValue, VersionedData, encode_metadata, metadata_frame, record_type,
};
pub(super) use super::record_parts::Records;
pub(super) use super::writer::Writer;
