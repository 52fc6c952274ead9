//! A response that is ready to be sent, and what stands in it beside its own bytes: records, and ranges of files.

use net::protocol::{
    EncodedResponse, ErrorCounts, Response, Segment, encode_response, unsupported_api_versions_response,
};
use runtime::{Disk, Effects};

use crate::api::request::{CloseReason, RequestContext};
use crate::api::response_records::ResponseRecords;

/// A response, ready to be sent. Only encoding makes one, so that its errors are known.
pub struct Reply<E: Effects> {
    segments: Vec<Segment>,
    external: Vec<ExternalPart<E>>,
    errors: ErrorCounts,
}

impl<E: Effects> Reply<E> {
    /// Encodes a response without file parts.
    ///
    /// # Errors
    /// The response cannot be expressed in the request's version.
    pub fn encode<R: Response>(context: &RequestContext, response: &R) -> Result<Self, CloseReason> {
        Self::encode_with_external(context, response, Vec::new())
    }

    /// Encodes a response whose external record parts are indexes into `external`.
    ///
    /// # Errors
    /// The response cannot be expressed in the request's version.
    pub fn encode_with_external<R: Response>(
        context: &RequestContext,
        response: &R,
        external: Vec<ExternalPart<E>>,
    ) -> Result<Self, CloseReason> {
        Ok(Self::of(encode_response(context.api_version, context.correlation_id, response)?, external))
    }

    /// Answers ApiVersions of a version that is not offered.
    ///
    /// # Errors
    /// None in practice.
    pub(super) fn unsupported_api_versions(context: &RequestContext) -> Result<Self, CloseReason> {
        Ok(Self::of(unsupported_api_versions_response(context.correlation_id)?, Vec::new()))
    }

    /// Answers with a response that was encoded for another request of the same version.
    pub(super) fn repeated(context: &RequestContext, encoded: &EncodedResponse) -> Self {
        Self::of(encoded.for_request(context.correlation_id), Vec::new())
    }

    fn of(encoded: EncodedResponse, external: Vec<ExternalPart<E>>) -> Self {
        let EncodedResponse { segments, errors } = encoded;
        Self { segments, external, errors }
    }

    /// The error codes in it.
    #[must_use]
    pub const fn errors(&self) -> &ErrorCounts {
        &self.errors
    }

    /// What goes on the wire, and what its external segments stand for: their tokens are indexes into it.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Segment>, Vec<ExternalPart<E>>) {
        (self.segments, self.external)
    }
}

/// A part of a response for which a token stands in its segments.
pub enum ExternalPart<E: Effects> {
    /// A range of a file.
    File(FilePart<E>),
    /// Records in memory.
    Records(ResponseRecords),
}

/// A range of a file that stands in a response.
pub struct FilePart<E: Effects> {
    /// The file.
    pub file: <E::Disk as Disk>::File,
    /// The first byte.
    pub position: u64,
    /// How many bytes.
    pub length: u64,
}
