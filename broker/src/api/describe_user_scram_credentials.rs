//! DescribeUserScramCredentials: this version has no users, so none has credentials.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
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
    request: DescribeUserScramCredentialsRequest<'_>,
) -> DescribeUserScramCredentialsResponse {
    let users = request.users.iter().flat_map(|users| users.iter());
    let unknown = users.map(|user| DescribeUserScramCredentialsResult {
        user: user.name.to_owned(),
        error_code: ErrorCode::ResourceNotFound.code(),
        error_message: Some(format!(
            "Attempt to describe a user credential that does not exist: {}",
            user.name
        )),
        ..DescribeUserScramCredentialsResult::default()
    });
    DescribeUserScramCredentialsResponse {
        results: unknown.collect(),
        ..DescribeUserScramCredentialsResponse::default()
    }
}
