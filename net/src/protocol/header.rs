//! The header before every request.

use std::borrow::Cow;

use super::error::DecodeError;
use super::generated::ApiKey;
use super::reader::Reader;
use super::repaired_text::repair;

/// The header of one request. Its version is that of the frame's body and need not be one that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// Which API.
    pub api_key: ApiKey,
    /// Which version of it.
    pub api_version: i16,
    /// What the client will know the response by.
    pub correlation_id: i32,
    /// The client's name for itself; what is not UTF-8 in it has been replaced.
    pub client_id: Option<Cow<'a, str>>,
}

impl<'a> RequestHeader<'a> {
    /// Splits a frame, without its size, into header and body.
    ///
    /// # Errors
    /// `UnknownApiKey`, or that the header is malformed.
    pub fn decode(frame: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut reader = Reader::new(frame, 0, false);
        let api_key = ApiKey::try_from(reader.get::<i16>()?)?;
        let api_version = reader.get()?;
        let correlation_id = reader.get()?;
        // Its length is never compact, so that a broker can read the header of any ApiVersions request.
        let client_id = reader.text_bytes()?.map(text);
        let mut reader = Reader::new(reader.rest(), api_version, api_key.is_flexible(api_version));
        reader.skip_tagged_fields()?;
        Ok((Self { api_key, api_version, correlation_id, client_id }, reader.rest()))
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| Cow::Owned(repair(bytes)), Cow::Borrowed)
}
