//! DescribeAcls: there are no access rules, and Kafka says so when it has no authorizer.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
use runtime::Effects;

use crate::api::request::RequestContext;
use crate::api::services::ShardServices;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 1..=3;

/// Answers one request.
#[expect(clippy::unused_async, reason = "handlers are called alike")]
pub async fn handle<E: Effects>(
    _shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    _request: DescribeAclsRequest<'_>,
) -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some("No Authorizer is configured.".to_owned()),
        ..DescribeAclsResponse::default()
    }
}
