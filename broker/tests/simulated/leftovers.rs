//! Proves that what a deletion leaves behind, when it is cut off or fails, is removed or makes way for a topic of the same
//! name.

use std::time::Duration;

use runtime::Clock;
use runtime::sim::{Fault, FaultKind, OpKind, SimWorld};

use crate::harness::{Broker, Client, in_world};
use crate::metadata::delete;
use crate::records::{create_topic, fetch, produce, values};

async fn connect(world: &SimWorld) -> (Broker, Client) {
    let broker = Broker::start(world.node("broker"), 2, &[]).await;
    let client = Client::connect(&world.node("client"), broker.address).await;
    (broker, client)
}

/// How many partition directories have a name with this ending.
fn directories(world: &SimWorld, ending: &str) -> usize {
    let files = world.disk("broker").files();
    files
        .iter()
        .filter(|file| {
            let directory = file.parent().expect("files lie in directories").to_string_lossy();
            file.ends_with("partition.metadata") && directory.ends_with(ending)
        })
        .count()
}

/// Creates the topic again and uses it.
async fn create_and_use(client: &mut Client) {
    create_topic(client, "t", 1).await;
    assert_eq!(produce(client, "t", &[0], -1, "second").await, Some(vec![(0, 0)]));
    let response = fetch(client, "t", &[(0, 0)], 1, Duration::ZERO).await.expect("an answer");
    assert_eq!(values(&response), [(0, vec![(0, "second".to_owned())])]);
}

#[test]
fn deleted_partitions_are_removed_by_the_next_start() {
    in_world(20, async |world| {
        let (broker, mut client) = connect(&world).await;
        create_topic(&mut client, "t", 3).await;
        delete(&mut client, "t").await;
        broker.stop().await;
        world.kill("broker");
        assert_eq!(directories(&world, "-delete"), 3);
        let (broker, _client) = connect(&world).await;
        let clock = world.clock();
        clock.sleep_until(clock.now() + Duration::from_secs(1)).await;
        assert_eq!(directories(&world, "-delete"), 0);
        broker.stop().await;
    });
}

#[test]
fn a_topic_can_be_created_again_after_its_deletion_was_cut_off() {
    for restart in [false, true] {
        in_world(21, async |world| {
            let (mut broker, mut client) = connect(&world).await;
            create_topic(&mut client, "t", 1).await;
            assert_eq!(produce(&mut client, "t", &[0], -1, "first").await, Some(vec![(0, 0)]));
            // The deletion is recorded, but the directory keeps its name.
            world.disk("broker").inject(Fault::new(OpKind::Meta, FaultKind::Eio).on("t-0").after(0, 1));
            delete(&mut client, "t").await;
            if restart {
                world.crash("broker");
                (broker, client) = connect(&world).await;
            }
            assert_eq!((directories(&world, "/t-0"), directories(&world, "-stray")), (1, 0));
            create_and_use(&mut client).await;
            assert_eq!((directories(&world, "/t-0"), directories(&world, "-stray")), (1, 1), "kept");
            broker.stop().await;
        });
    }
}

#[test]
fn a_topic_whose_partition_is_offline_can_be_deleted_and_created_again() {
    in_world(22, async |world| {
        let (broker, mut client) = connect(&world).await;
        create_topic(&mut client, "t", 1).await;
        broker.stop().await;
        world.kill("broker");
        world.disk("broker").set_content("/data/t-0/partition.metadata", b"damaged".to_vec());
        let (broker, mut client) = connect(&world).await;
        let refused = produce(&mut client, "t", &[0], -1, "first").await.expect("an answer");
        assert_eq!(refused[0].0, 56, "a storage error");
        delete(&mut client, "t").await;
        create_and_use(&mut client).await;
        assert_eq!((directories(&world, "/t-0"), directories(&world, "-stray")), (1, 1), "kept");
        broker.stop().await;
    });
}
