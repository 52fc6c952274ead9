//! What a handler knows of a request, and why one is not answered.

use std::rc::Rc;

use net::protocol::{ApiKey, EncodeError, ErrorCode, RequestHeader};

use crate::api::session::Session;

/// What a handler knows of the request besides its body.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The connection that it came on.
    pub session: Rc<Session>,
    /// Which API it is of.
    pub api_key: ApiKey,
    /// The version of the body.
    pub api_version: i16,
    /// What the client will know the response by.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<Rc<str>>,
}

impl RequestContext {
    /// A request with this header.
    #[must_use]
    pub fn new(session: &Rc<Session>, header: &RequestHeader<'_>) -> Self {
        Self {
            session: Rc::clone(session),
            api_key: header.api_key,
            api_version: header.api_version,
            correlation_id: header.correlation_id,
            client_id: session.note_client_id(header.client_id.as_deref()),
        }
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
