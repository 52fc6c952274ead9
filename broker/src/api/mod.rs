//! One file per Kafka API, each with the versions it offers. Which APIs this broker has is what stands here.

pub(crate) mod errors;

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::{ApiKey, RepairedText, Request};
use runtime::Effects;

use request_limits::{admit, elements_max};

use crate::api::reply::Reply;
use crate::api::request::{CloseReason, RequestContext};
use crate::node::shard::Shard;

mod cluster;
mod config_changes;
mod config_resources;
mod groups;
mod loggers;
mod named_twice;
mod owners;
mod pace;
mod partition_state;
pub mod reply;
pub mod request;
mod request_limits;
pub mod request_memory;
pub mod response_records;

/// Declares the handlers: for each API its module and request type.
macro_rules! handlers {
    ($($module:ident: $request:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// Every API that this broker offers, with its versions.
        #[must_use]
        pub fn offered() -> Vec<(ApiKey, RangeInclusive<i16>)> {
            let mut offered = vec![
                (ApiKey::Produce, produce::VERSIONS),
                (ApiKey::Fetch, fetch::VERSIONS),
                $((<net::protocol::$module::$request as Request>::API_KEY, $module::VERSIONS),)*
            ];
            offered.sort_by_key(|(key, _)| key.code());
            offered
        }

        /// Handles a request of any API but Produce, from the decoded body to the encoded reply.
        ///
        /// # Errors
        /// The request is malformed or not offered; the connection must be closed.
        pub async fn dispatch<E: Effects>(
            shard: &Rc<Shard<E>>,
            key: ApiKey,
            context: &RequestContext,
            body: &[u8],
        ) -> Result<Reply<E>, CloseReason> {
            let version = context.api_version;
            let repaired = RepairedText::default();
            let elements_max = elements_max(&shard.request_memory, key);
            match key {
                ApiKey::Fetch if fetch::VERSIONS.contains(&version) => {
                    let (request, _) = Request::decode_within(version, body, elements_max, &repaired)?;
                    Box::pin(fetch::handle(shard, context, request)).await
                }
                $(key if key == <net::protocol::$module::$request as Request>::API_KEY
                    && $module::VERSIONS.contains(&version) =>
                {
                    let decoded = <net::protocol::$module::$request as Request>::decode_within(
                        version, body, elements_max, &repaired,
                    );
                    let (request, elements) = decoded?;
                    let _granted = admit(shard, key, elements, body.len()).await?;
                    let response = Box::pin($module::handle(shard, context, request)).await;
                    Reply::encode(context, &response)
                })*
                _ => Err(CloseReason::Unsupported { name: key.name(), version }),
            }
        }
    };
}

pub mod fetch;
pub mod produce;

handlers! {
    alter_configs: AlterConfigsRequest,
    api_versions: ApiVersionsRequest,
    consumer_group_heartbeat: ConsumerGroupHeartbeatRequest,
    create_partitions: CreatePartitionsRequest,
    create_topics: CreateTopicsRequest,
    delete_groups: DeleteGroupsRequest,
    delete_records: DeleteRecordsRequest,
    delete_topics: DeleteTopicsRequest,
    describe_acls: DescribeAclsRequest,
    describe_client_quotas: DescribeClientQuotasRequest,
    describe_cluster: DescribeClusterRequest,
    describe_configs: DescribeConfigsRequest,
    describe_groups: DescribeGroupsRequest,
    describe_log_dirs: DescribeLogDirsRequest,
    describe_quorum: DescribeQuorumRequest,
    describe_topic_partitions: DescribeTopicPartitionsRequest,
    describe_user_scram_credentials: DescribeUserScramCredentialsRequest,
    find_coordinator: FindCoordinatorRequest,
    heartbeat: HeartbeatRequest,
    incremental_alter_configs: IncrementalAlterConfigsRequest,
    init_producer_id: InitProducerIdRequest,
    join_group: JoinGroupRequest,
    leave_group: LeaveGroupRequest,
    list_config_resources: ListConfigResourcesRequest,
    list_groups: ListGroupsRequest,
    list_offsets: ListOffsetsRequest,
    list_partition_reassignments: ListPartitionReassignmentsRequest,
    list_transactions: ListTransactionsRequest,
    metadata: MetadataRequest,
    offset_commit: OffsetCommitRequest,
    offset_delete: OffsetDeleteRequest,
    offset_fetch: OffsetFetchRequest,
    offset_for_leader_epoch: OffsetForLeaderEpochRequest,
    sync_group: SyncGroupRequest,
}
