//! A request on its way through the broker, and what becomes of it.

use std::net::SocketAddr;

use bytes::Bytes;
use net::protocol::{EncodeError, ErrorCode, Response, Segment};
use runtime::{Disk, Effects};

use crate::clients::outgoing::ExternalPart;

/// What a handler knows of the request besides its body.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The version of the body.
    pub api_version: i16,
    /// What the client will know the response by.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<String>,
    /// The address that the client connected to.
    pub local_addr: SocketAddr,
    /// The listener that accepted the connection, by its place in the settings.
    pub listener: usize,
    /// The client's own address.
    pub peer_addr: SocketAddr,
    /// The connection's number on its shard.
    pub connection_id: u64,
    /// The whole frame, without its size.
    pub frame: Bytes,
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

/// Why a connection is closed by us.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The frame's header or body cannot be read.
    #[error("malformed request: {0}")]
    Malformed(#[from] net::protocol::DecodeError),
    /// The request is within the size of a request, but more than its API may build an answer from.
    #[error("a {name} request of {bytes} bytes asks for too much at once")]
    TooMuch {
        /// The API.
        name: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// An API or version that this broker does not offer.
    #[error("{name} version {version} is not supported")]
    Unsupported {
        /// The API.
        name: &'static str,
        /// The version.
        version: i16,
    },
    /// A request without a reply failed; closing is the only way to tell.
    #[error("a produce request with acks=0 failed with {0}")]
    FailedWithoutReply(ErrorCode),
    /// Our own response cannot be encoded.
    #[error("the response cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
}
