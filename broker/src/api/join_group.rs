//! JoinGroup: a member joins its group's next generation; the answer may take as long as the rebalance.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;

use bytes::Bytes;
use net::protocol::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use runtime::Effects;

use super::groups::{ask, code_of};
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::coordination::groups::{JoinMember, JoinRequest, Protocol, Request};

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=9;

/// From this version on members say how long a rebalance may take them.
const VERSION_REBALANCE_TIMEOUT: i16 = 1;
/// From this version on a new member first gets an id and joins with it (KIP-394).
const VERSION_MEMBER_ID_REQUIRED: i16 = 4;
/// From this version on the protocol's name may be null.
const VERSION_NULLABLE_PROTOCOL: i16 = 7;
/// From this version on a leader may be told to keep the assignment (KIP-814).
const VERSION_SKIP_ASSIGNMENT: i16 = 9;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: JoinGroupRequest<'_>,
) -> JoinGroupResponse {
    let version = context.api_version;
    let rebalance_timeout_ms = if version >= VERSION_REBALANCE_TIMEOUT {
        request.rebalance_timeout_ms
    } else {
        request.session_timeout_ms
    };
    let random = (u128::from(shard.effects.random()) << 64) | u128::from(shard.effects.random());
    let join = JoinRequest {
        group_id: request.group_id.to_owned(),
        member_id: request.member_id.to_owned(),
        group_instance_id: request.group_instance_id.map(str::to_owned),
        client_id: context.client_id.as_deref().unwrap_or_default().to_owned(),
        client_host: client_host(context.session.peer_addr.ip()),
        protocol_type: request.protocol_type.to_owned(),
        protocols: request
            .protocols
            .iter()
            .map(|protocol| Protocol {
                name: protocol.name.to_owned(),
                // A copy: a view would keep the whole request in memory for as long as the member lives.
                metadata: Bytes::copy_from_slice(protocol.metadata),
            })
            .collect(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        requires_known_member_id: version >= VERSION_MEMBER_ID_REQUIRED,
        supports_skip_assignment: version >= VERSION_SKIP_ASSIGNMENT,
        reason: request.reason.map(str::to_owned),
        random: random.to_be_bytes(),
    };
    let joined = ask(shard, request.group_id, Request::Join(join)).await.into_join();
    let mut protocol_name = joined.protocol_name;
    if version < VERSION_NULLABLE_PROTOCOL {
        protocol_name.get_or_insert_default();
    }
    let member = |member: JoinMember| JoinGroupResponseMember {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        metadata: member.metadata,
    };
    JoinGroupResponse {
        throttle_time_ms: 0,
        error_code: code_of(joined.error),
        generation_id: joined.generation_id,
        protocol_type: joined.protocol_type,
        protocol_name,
        leader: joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id,
        members: joined.members.into_iter().map(member).collect(),
    }
}

/// An address as Java prints it: behind a slash, and IPv6 without leaving out zeros.
fn client_host(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("/{address}"),
        IpAddr::V6(address) => {
            let segments = address.segments().map(|segment| format!("{segment:x}"));
            format!("/{}", segments.join(":"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_look_as_in_kafka() {
        for (address, expect) in [
            ("127.0.0.1", "/127.0.0.1"),
            ("::1", "/0:0:0:0:0:0:0:1"),
            ("2001:db8::ff00:42:8329", "/2001:db8:0:0:0:ff00:42:8329"),
            ("::ffff:10.0.0.1", "/10.0.0.1"),
        ] {
            assert_eq!(client_host(address.parse().expect("an address")), expect);
        }
    }
}
