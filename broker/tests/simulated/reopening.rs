//! Proves that a partition whose log cannot be opened for a reason that passes serves as soon as it has passed, without a
//! restart, and that one whose identity is damaged keeps its records.

use std::time::Duration;

use runtime::Clock;
use runtime::sim::{Fault, FaultKind, OpKind, SimWorld};

use crate::harness::{Broker, Client, in_world};
use crate::metadata::delete;
use crate::records::{create_topic, fetch, produce, values};

/// The error of a partition that is offline.
const STORAGE_ERROR: i16 = 56;

async fn connect(world: &SimWorld) -> (Broker, Client) {
    let broker = Broker::start(world.node("broker"), 1, &[]).await;
    let client = Client::connect(&world.node("client"), broker.address).await;
    (broker, client)
}

async fn wait(world: &SimWorld) {
    let clock = world.clock();
    clock.sleep_until(clock.now() + Duration::from_secs(20)).await;
}

async fn error_of_produce(client: &mut Client) -> i16 {
    produce(client, "t", &[0], -1, "value").await.expect("an answer")[0].0
}

async fn found(client: &mut Client) -> Vec<(i64, String)> {
    let response = fetch(client, "t", &[(0, 0)], 1, Duration::ZERO).await.expect("an answer");
    values(&response).remove(0).1
}

fn refuse_writes(world: &SimWorld) {
    world.disk("broker").inject(Fault::new(OpKind::Write, FaultKind::NoSpace).on("/t-0/"));
}

#[test]
fn a_creation_that_meets_a_full_disk_is_completed_when_there_is_room() {
    in_world(40, async |world| {
        let (broker, mut client) = connect(&world).await;
        refuse_writes(&world);
        create_topic(&mut client, "t", 1).await;
        wait(&world).await;
        assert_eq!(error_of_produce(&mut client).await, STORAGE_ERROR);
        world.disk("broker").clear_faults();
        wait(&world).await;
        assert_eq!(error_of_produce(&mut client).await, 0);
        broker.stop().await;
    });
}

#[test]
fn a_creation_that_finds_no_descriptors_is_completed_when_there_are_some() {
    in_world(41, async |world| {
        let (broker, mut client) = connect(&world).await;
        // So that the metadata log has its file open.
        create_topic(&mut client, "other", 1).await;
        let disk = world.disk("broker");
        disk.set_descriptors(Some(disk.open_files()));
        create_topic(&mut client, "t", 1).await;
        disk.set_descriptors(None);
        wait(&world).await;
        assert_eq!(error_of_produce(&mut client).await, 0);
        broker.stop().await;
    });
}

#[test]
fn a_topic_whose_creation_waits_for_room_can_be_deleted_and_created_again() {
    in_world(42, async |world| {
        let (broker, mut client) = connect(&world).await;
        refuse_writes(&world);
        create_topic(&mut client, "t", 1).await;
        delete(&mut client, "t").await;
        wait(&world).await;
        world.disk("broker").clear_faults();
        create_topic(&mut client, "t", 1).await;
        assert_eq!(error_of_produce(&mut client).await, 0);
        broker.stop().await;
    });
}

#[test]
fn a_directory_with_an_id_that_nobody_has_is_neither_used_nor_set_aside() {
    in_world(43, async |world| {
        let (broker, mut client) = connect(&world).await;
        create_topic(&mut client, "t", 1).await;
        assert_eq!(error_of_produce(&mut client).await, 0);
        broker.stop().await;
        world.kill("broker");
        let identity = "/data/t-0/partition.metadata";
        let good = world.disk("broker").read(identity).expect("it is there");
        // As Kafka writes it, without a checksum.
        let other = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAABw";
        world.disk("broker").set_content(identity, other.into());
        let (broker, mut client) = connect(&world).await;
        assert_eq!(error_of_produce(&mut client).await, STORAGE_ERROR);
        broker.stop().await;
        world.kill("broker");
        world.disk("broker").set_content(identity, good);
        let (broker, mut client) = connect(&world).await;
        assert_eq!(found(&mut client).await, [(0, "value".to_owned())]);
        broker.stop().await;
        world.kill("broker");
        // Who gives the records up deletes the topic; they are kept all the same.
        world.disk("broker").set_content(identity, other.into());
        let (broker, mut client) = connect(&world).await;
        delete(&mut client, "t").await;
        create_topic(&mut client, "t", 1).await;
        assert_eq!(error_of_produce(&mut client).await, 0);
        let kept = world.disk("broker").files();
        assert!(kept.iter().any(|path| path.to_string_lossy().contains("-stray/")), "{kept:?}");
        broker.stop().await;
    });
}
