//! One file per Kafka API, each with the versions it offers. Which APIs this broker has is what stands here.

pub(crate) mod errors;

use std::ops::RangeInclusive;
use std::rc::Rc;

use bytes::Bytes;
use net::protocol::{ApiKey, RepairedText, Request};
use runtime::Effects;

use dispatch::{Handled, admit};

use crate::api::reply::Reply;
use crate::api::request::{CloseReason, RequestContext};
use crate::api::services::ShardServices;

mod cluster;
mod config_changes;
mod config_resources;
pub mod dispatch;
mod groups;
mod loggers;
pub mod metadata_answers;
mod named_topic;
mod named_twice;
mod owners;
mod pace;
mod partition_state;
pub mod reply;
pub mod request;
mod request_limits;
pub mod request_memory;
pub mod response_records;
pub mod services;
pub mod session;

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
                (ApiKey::Metadata, metadata::VERSIONS),
                $((<net::protocol::$module::$request as Request>::API_KEY, $module::VERSIONS),)*
            ];
            offered.sort_by_key(|(key, _)| key.code());
            offered
        }

        /// Has the handler of its API answer a request.
        async fn handle<E: Effects>(
            shard: &Rc<ShardServices<E>>,
            context: &RequestContext,
            body: &Bytes,
        ) -> Result<Handled<E>, CloseReason> {
            let repaired = RepairedText::default();
            match context.api_key {
                ApiKey::Produce => {
                    let (request, granted) =
                        admit(shard, context, produce::VERSIONS_READ, body, &repaired).await?;
                    Ok(Handled::Started(produce::start(shard, context, request, granted, body).await))
                }
                ApiKey::Fetch => {
                    let (request, _granted) = admit(shard, context, fetch::VERSIONS, body, &repaired).await?;
                    Box::pin(fetch::handle(shard, context, request)).await.map(Handled::Replied)
                }
                ApiKey::Metadata => {
                    let (request, _granted) =
                        admit(shard, context, metadata::VERSIONS, body, &repaired).await?;
                    Box::pin(metadata::handle(shard, context, request)).await.map(Handled::Replied)
                }
                $(key if key == <net::protocol::$module::$request as Request>::API_KEY => {
                    let (request, _granted): (net::protocol::$module::$request, _) =
                        admit(shard, context, $module::VERSIONS, body, &repaired).await?;
                    let response = Box::pin($module::handle(shard, context, request)).await;
                    Reply::encode(context, &response).map(Handled::Replied)
                })*
                key => Err(CloseReason::Unsupported { name: key.name(), version: context.api_version }),
            }
        }
    };
}

pub mod fetch;
pub mod metadata;
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
    describe_producers: DescribeProducersRequest,
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
    offset_commit: OffsetCommitRequest,
    offset_delete: OffsetDeleteRequest,
    offset_fetch: OffsetFetchRequest,
    offset_for_leader_epoch: OffsetForLeaderEpochRequest,
    sync_group: SyncGroupRequest,
}
