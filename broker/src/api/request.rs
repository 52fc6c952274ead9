//! What a handler knows of a request, and why one is not answered.

use std::net::SocketAddr;

use bytes::Bytes;
use net::protocol::{EncodeError, ErrorCode};

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
