//! Proves that questions about what this version does not have are answered as Kafka answers without it, in every version.

use net::protocol::describe_acls::DescribeAclsRequest;
use net::protocol::describe_client_quotas::DescribeClientQuotasRequest;
use net::protocol::describe_quorum::{DescribeQuorumRequest, PartitionData, TopicData};
use net::protocol::describe_user_scram_credentials::{DescribeUserScramCredentialsRequest, UserName};
use net::protocol::list_config_resources::ListConfigResourcesRequest;
use net::protocol::list_partition_reassignments::ListPartitionReassignmentsRequest;
use net::protocol::list_transactions::ListTransactionsRequest;

use crate::every_version::in_every_version;
use crate::harness::{Broker, Client, in_world};
use crate::records::create_topic;

#[test]
fn access_rules_quotas_and_users() {
    in_world(90, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        let c = &mut client;
        in_every_version(
            c,
            |_| DescribeAclsRequest::default(),
            |version, response| {
                let told = (response.error_code, response.resources.len());
                assert_eq!(told, (54, 0), "version {version}: security is disabled");
                assert_eq!(response.error_message.as_deref(), Some("No Authorizer is configured."));
            },
        )
        .await;
        in_every_version(
            c,
            |_| DescribeClientQuotasRequest::default(),
            |version, response| {
                assert_eq!(
                    (response.error_code, response.entries),
                    (0, Some(Vec::new())),
                    "version {version}"
                );
            },
        )
        .await;
        let users = [UserName { name: "alice" }];
        for (users, expected) in [(None, vec![]), (Some((&users[..]).into()), vec![("alice", 91)])] {
            let request = |_| DescribeUserScramCredentialsRequest { users };
            in_every_version(c, request, |_, response| {
                let told = response.results.iter().map(|result| (result.user.as_str(), result.error_code));
                assert_eq!((response.error_code, told.collect::<Vec<_>>()), (0, expected.clone()));
            })
            .await;
        }
        broker.stop().await;
    });
}

#[test]
fn the_quorum_and_what_moves() {
    in_world(91, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        let c = &mut client;
        create_topic(c, "t", 2).await;
        let zero = [PartitionData { partition_index: 0 }];
        let topics = ["__cluster_metadata", "t"]
            .map(|topic_name| TopicData { topic_name, partitions: (&zero[..]).into() });
        in_every_version(
            c,
            |_| DescribeQuorumRequest { topics: (&topics[..]).into() },
            |version, response| {
                assert_eq!(response.error_code, 0, "version {version}");
                let quorum = &response.topics[0].partitions[0];
                let voters: Vec<_> = quorum.current_voters.iter().map(|voter| voter.replica_id).collect();
                assert_eq!((quorum.error_code, quorum.leader_id, &voters[..]), (0, 1, &[1][..]));
                assert_eq!(quorum.current_voters[0].log_end_offset, quorum.high_watermark);
                assert!(quorum.high_watermark > 0 && quorum.observers.is_empty());
                assert_eq!(response.topics[1].partitions[0].error_code, 3, "no other topic has one");
                assert_eq!(response.nodes.len(), usize::from(version >= 2));
            },
        )
        .await;
        in_every_version(
            c,
            |_| ListPartitionReassignmentsRequest::default(),
            |_, response| {
                assert_eq!((response.error_code, response.topics.len()), (0, 0));
            },
        )
        .await;
        let states = ["Ongoing", "Nonsense"];
        let request =
            |_| ListTransactionsRequest { state_filters: (&states[..]).into(), ..Default::default() };
        in_every_version(c, request, |_, response| {
            assert_eq!((response.error_code, response.transaction_states.len()), (0, 0));
            assert_eq!(response.unknown_state_filters, ["Nonsense"]);
        })
        .await;
        let topic = [2];
        for types in [&[][..], &topic[..]] {
            let request = |version| ListConfigResourcesRequest {
                resource_types: if version == 0 { (&[][..]).into() } else { types.into() },
            };
            in_every_version(c, request, |version, response| {
                assert_eq!(response.error_code, 0);
                let names = response.config_resources.iter();
                let names: Vec<_> =
                    names.map(|found| (found.resource_type, found.resource_name.as_str())).collect();
                let expected = match (version, types.is_empty()) {
                    (0, _) => vec![],
                    (_, true) => vec![(4, "1"), (8, "1"), (2, "t")],
                    (_, false) => vec![(2, "t")],
                };
                assert_eq!(names, expected, "version {version}");
            })
            .await;
        }
        broker.stop().await;
    });
}
