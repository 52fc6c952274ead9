//! ListPartitionReassignments: with one node no replica ever moves.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use runtime::Effects;

use crate::api::request::RequestContext;
use crate::api::services::ShardServices;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=0;

/// Answers one request.
#[expect(clippy::unused_async, reason = "handlers are called alike")]
pub async fn handle<E: Effects>(
    _shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    _request: ListPartitionReassignmentsRequest<'_>,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
