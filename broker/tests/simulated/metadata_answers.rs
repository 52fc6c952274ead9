//! Proves that the answer to a Metadata request for all topics is made once for all who ask alike, and that every change
//! is in the next one.

use model::{PartitionId, TopicPartition};
use net::protocol::ErrorCode;
use net::protocol::metadata::{MetadataRequest, MetadataResponse};

use broker::replicas::offline_partitions::OfflinePartition;

use crate::harness::{Broker, Client, in_world};
use crate::metadata::{delete, named};
use crate::records::create_topic;

async fn ask(client: &mut Client, version: i16, operations: bool) -> MetadataResponse {
    let request = MetadataRequest {
        topics: None,
        include_topic_authorized_operations: operations,
        ..MetadataRequest::default()
    };
    client.call(version, &request).await.expect("an answer")
}

fn names(response: &MetadataResponse) -> Vec<&str> {
    response.topics.iter().map(|topic| topic.name.as_deref().expect("a name")).collect()
}

#[test]
fn answers_are_made_once_and_show_every_change() {
    in_world(90, async |world| {
        let broker = Broker::start(world.node("broker"), 1, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        let mut other = Client::connect(&world.node("client"), broker.address).await;
        let made = || broker.shard.metadata_answers.made();
        create_topic(&mut client, "a", 2).await;
        let before = made();
        let first = ask(&mut client, 12, false).await;
        assert_eq!((names(&first), made()), (vec!["a"], before + 1));
        assert_eq!(ask(&mut other, 12, false).await, first);
        assert_eq!(ask(&mut client, 12, false).await, first);
        assert_eq!(made(), before + 1, "found");
        // Whoever asks for something else gets it.
        let allowed = ask(&mut client, 12, true).await.topics[0].topic_authorized_operations;
        assert_ne!(allowed, first.topics[0].topic_authorized_operations);
        assert_eq!(names(&ask(&mut client, 9, false).await), ["a"]);
        assert_eq!(made(), before + 3);

        create_topic(&mut client, "b", 1).await;
        assert_eq!(names(&ask(&mut other, 12, false).await), ["a", "b"]);
        delete(&mut client, "a").await;
        assert_eq!(names(&ask(&mut other, 12, false).await), ["b"]);

        let id = broker.shard.image().topic("b").expect("created").id;
        let name = TopicPartition::new("b", PartitionId(0));
        let offline = OfflinePartition { name, is_readable: false, reason: "test".into() };
        broker.shard.replicas.offline().note(id, offline);
        let code = |response: &MetadataResponse| named(response.topics[0].partitions[0].error_code);
        assert_eq!(code(&ask(&mut client, 12, false).await), ErrorCode::LeaderNotAvailable);
        broker.shard.replicas.offline().forget(id, PartitionId(0));
        assert_eq!(code(&ask(&mut client, 12, false).await), ErrorCode::None);
        broker.stop().await;
    });
}
