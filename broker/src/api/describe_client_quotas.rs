//! DescribeClientQuotas: this version has no quotas, so there are none to describe.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::describe_client_quotas::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use runtime::Effects;

use crate::api::request::RequestContext;
use crate::api::services::ShardServices;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=1;

/// Answers one request.
#[expect(clippy::unused_async, reason = "handlers are called alike")]
pub async fn handle<E: Effects>(
    _shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    _request: DescribeClientQuotasRequest<'_>,
) -> DescribeClientQuotasResponse {
    // Null would be for errors.
    DescribeClientQuotasResponse { entries: Some(Vec::new()), ..DescribeClientQuotasResponse::default() }
}
