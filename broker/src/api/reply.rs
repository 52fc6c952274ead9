//! A response that is ready to be sent, and what stands in it beside its own bytes: records, and ranges of files.

use net::protocol::{Response, Segment};
use runtime::{Disk, Effects};

use crate::api::request::{CloseReason, RequestContext};
use crate::api::response_records::ResponseRecords;

/// A response, ready to be sent.
pub struct Reply<E: Effects> {
    /// What goes on the wire; an external segment's token is an index into `external`.
    pub segments: Vec<Segment>,
    /// What the external segments stand for.
    pub external: Vec<ExternalPart<E>>,
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
        let segments = net::protocol::encode_response(context.api_version, context.correlation_id, response)?;
        Ok(Self { segments, external })
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
