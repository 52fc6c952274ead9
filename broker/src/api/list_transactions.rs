//! ListTransactions: this version has no transactions, so there are none to list.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
use runtime::Effects;

use crate::api::request::RequestContext;
use crate::api::services::ShardServices;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=2;

/// The states that a transaction can have in Kafka.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

/// Answers one request.
#[expect(clippy::unused_async, reason = "handlers are called alike")]
pub async fn handle<E: Effects>(
    _shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: ListTransactionsRequest<'_>,
) -> ListTransactionsResponse {
    let unknown = request.state_filters.iter().filter(|state| !STATES.contains(state));
    ListTransactionsResponse {
        unknown_state_filters: unknown.map(str::to_owned).collect(),
        ..ListTransactionsResponse::default()
    }
}
