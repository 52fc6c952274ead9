//! DescribeCluster: who belongs to the cluster (KIP-700).

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use runtime::Effects;

use super::cluster::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, advertised};
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=2;

/// The only kind of endpoint that a broker's listener describes; 2 would be the controllers.
const ENDPOINT_BROKERS: i8 = 1;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    if request.endpoint_type != ENDPOINT_BROKERS {
        let code = if request.endpoint_type == 2 {
            ErrorCode::MismatchedEndpointType
        } else {
            ErrorCode::UnsupportedEndpointType
        };
        return DescribeClusterResponse {
            error_code: code.code(),
            error_message: Some(format!(
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type {}",
                request.endpoint_type
            )),
            ..DescribeClusterResponse::default()
        };
    }
    let (host, port) = advertised(shard, context);
    DescribeClusterResponse {
        endpoint_type: ENDPOINT_BROKERS,
        cluster_id: shard.identity.cluster_id.clone(),
        controller_id: shard.identity.node_id.0,
        brokers: vec![DescribeClusterBroker {
            broker_id: shard.identity.node_id.0,
            host,
            port,
            rack: shard.config().rack().map(str::to_owned),
            is_fenced: false,
        }],
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        },
        ..DescribeClusterResponse::default()
    }
}
