//! ListGroups: the groups of this broker.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use runtime::Effects;

use super::groups::group_error_code;
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::coordination::groups::{self, GroupError, ListRequest, Request, Response};

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=5;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: ListGroupsRequest<'_>,
) -> ListGroupsResponse {
    let list = Request::List(ListRequest {
        states: request.states_filter.iter().map(str::to_owned).collect(),
        types: request.types_filter.iter().map(str::to_owned).collect(),
    });
    let replies = shard
        .call_all(move |shard| {
            let list = list.clone();
            async move { shard.coordinators.groups.ask_all(&list).await }
        })
        .await;
    let mut groups = Vec::new();
    for reply in replies.into_iter().flatten().map(Response::into_list) {
        match reply {
            Ok(listed) => groups.extend(listed.into_iter().map(group)),
            // What moved away is listed by whoever has it now.
            Err(GroupError::NotCoordinator) => {}
            Err(error) => {
                let error_code = group_error_code(error).code();
                return ListGroupsResponse { error_code, ..ListGroupsResponse::default() };
            }
        }
    }
    // Which coordinator has which group is nobody's concern.
    groups.sort_by(|a: &ListedGroup, b| a.group_id.cmp(&b.group_id));
    ListGroupsResponse { groups, ..ListGroupsResponse::default() }
}

fn group(listed: groups::ListedGroup) -> ListedGroup {
    ListedGroup {
        group_id: listed.group_id,
        protocol_type: listed.protocol_type,
        group_state: listed.state.to_owned(),
        group_type: "classic".to_owned(),
    }
}
