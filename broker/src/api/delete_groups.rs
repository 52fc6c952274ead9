//! DeleteGroups: forgets groups without members, and their offsets.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use runtime::Effects;

use super::groups::{ask_about, code_of, explain, in_order_of};
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::coordination::groups::{Request, Response};

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=3;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: DeleteGroupsRequest<'_>,
) -> DeleteGroupsResponse {
    // A group that is named twice is deleted and answered once.
    let mut seen = BTreeSet::new();
    let groups: Vec<&str> = request.groups_names.iter().filter(|group| seen.insert(*group)).collect();
    let replies = ask_about(shard, groups.iter().copied(), Request::Delete).await;
    let results = replies.into_iter().flat_map(Response::into_delete);
    let result = |(group_id, error): (String, Option<_>)| DeletableGroupResult {
        error_code: code_of(error),
        error_message: error.map(|error| explain(error, &group_id)),
        group_id,
    };
    let results = results.map(result).map(|result| (result.group_id.clone(), result));
    DeleteGroupsResponse { throttle_time_ms: 0, results: in_order_of(groups.into_iter(), results) }
}
