//! The way of every request of every API to its handler and back, so that no handler can forget a step:
//!
//! 1. its version is one that is offered ([`admit`]),
//! 2. it is read within the limits of its API, and what an answer to so much takes is granted ([`request_limits`]),
//! 3. its handler answers it,
//! 4. the errors in the answer are counted.
//!
//! Whoever the client is ([`Session::principal`](super::session::Session)) is allowed everything, and waits for no quota: both would be asked
//! between 2 and 3, where what it names is known and nothing has been done.

use std::ops::RangeInclusive;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use net::protocol::{ApiKey, ErrorCounts, RepairedText, Request};
use runtime::Effects;
use runtime::sync::Permit;

use super::{api_versions, request_limits};
use crate::api::reply::Reply;
use crate::api::request::{CloseReason, RequestContext};
use crate::api::services::ShardServices;

/// How far a request has come when the next one of its connection may begin.
pub enum Handled<E: Effects> {
    /// To its end.
    Replied(Reply<E>),
    /// A Produce: what it does is done, in order; the acknowledgement is waited for.
    Started(Started<E>),
}

/// A Produce whose batches are appended here or on their way to other shards.
pub struct Started<E: Effects> {
    /// Yields the reply, or `None` for `acks=0`.
    pub(super) pending: LocalBoxFuture<'static, Result<Option<Reply<E>>, CloseReason>>,
    /// Some of it is on the way, and keeps the frame that it arrived in.
    pub in_transit: bool,
}

/// Handles a request, up to where the next one may begin.
///
/// # Errors
/// The request is malformed or not offered; the connection must be closed.
pub async fn dispatch<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    body: &Bytes,
) -> Result<Handled<E>, CloseReason> {
    let handled =
        if context.api_key == ApiKey::ApiVersions && !api_versions::VERSIONS.contains(&context.api_version) {
            Handled::Replied(Reply::unsupported_api_versions(context)?)
        } else {
            super::handle(shard, context, body).await?
        };
    if let Handled::Replied(reply) = &handled {
        count_errors(shard, context, reply.errors());
    }
    Ok(handled)
}

/// Waits for the end of a request that was started.
///
/// # Errors
/// It failed and has no reply; the connection must be closed.
pub async fn finish<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    started: Started<E>,
) -> Result<Option<Reply<E>>, CloseReason> {
    let outcome = started.pending.await;
    match &outcome {
        Ok(Some(reply)) => count_errors(shard, context, reply.errors()),
        Err(CloseReason::FailedWithoutReply(code)) => count_errors(shard, context, &ErrorCounts::one(*code)),
        Ok(None) | Err(_) => {}
    }
    outcome
}

/// Reads a request of an API that offers `versions`, and waits for the memory that its answer takes.
///
/// # Errors
/// The version is not offered, the request is malformed, or it asks for too much.
pub(super) async fn admit<'a, E: Effects, R: Request<'a>>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    versions: RangeInclusive<i16>,
    body: &'a Bytes,
    repaired: &'a RepairedText,
) -> Result<(R, Option<Permit>), CloseReason> {
    let RequestContext { api_key, api_version, .. } = *context;
    if !versions.contains(&api_version) {
        return Err(CloseReason::Unsupported { name: api_key.name(), version: api_version });
    }
    let elements_max = request_limits::elements_max(&shard.request_memory, api_key);
    let (request, elements) = R::decode_within(api_version, body, elements_max, repaired)?;
    let granted = request_limits::grant(&shard.request_memory, api_key, elements, body.len()).await?;
    Ok((request, granted))
}

fn count_errors<E: Effects>(shard: &ShardServices<E>, context: &RequestContext, errors: &ErrorCounts) {
    for (code, count) in errors.iter() {
        shard.stats.answered_error(context.api_key, code, count);
        let session = &context.session;
        tracing::debug!(peer = %session.peer_addr, client = %session, api = context.api_key.name(), %code, count, "answered with an error");
    }
}
