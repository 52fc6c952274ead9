//! Proves that a damaged `__consumer_offsets` never answers with an old offset, or none, as if all was well; and that what
//! passes while groups are loaded costs only time.

use std::path::PathBuf;
use std::time::Duration;

use net::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use net::protocol::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use runtime::Clock;
use runtime::sim::{Fault, FaultKind, OpKind, SimWorld};

use crate::groups::find;
use crate::harness::{Broker, Client, in_world};
use crate::records::create_topic;

const SETTINGS: [(&str, &str); 1] = [("offsets.topic.num.partitions", "1")];

const GROUPS: [&str; 2] = ["a", "b"];

/// COORDINATOR_LOAD_IN_PROGRESS.
const LOADING: i16 = 14;

/// How often each group commits.
const COMMITS: i64 = 3;

async fn commit(client: &mut Client, group: &str, offset: i64, note: &str) -> i16 {
    let partitions = [OffsetCommitRequestPartition {
        committed_offset: offset,
        committed_metadata: Some(note),
        ..OffsetCommitRequestPartition::default()
    }];
    let topics = [OffsetCommitRequestTopic {
        name: "t",
        partitions: (&partitions[..]).into(),
        ..OffsetCommitRequestTopic::default()
    }];
    let request = OffsetCommitRequest {
        group_id: group,
        generation_id_or_member_epoch: -1,
        topics: (&topics[..]).into(),
        ..OffsetCommitRequest::default()
    };
    loop {
        let response = client.call(8, &request).await.expect("an answer");
        let code = response.topics[0].partitions[0].error_code;
        if code != LOADING {
            return code;
        }
    }
}

/// The error and the offset that a group is told.
async fn committed(client: &mut Client, group: &str) -> (i16, i64) {
    let index = [0];
    let topics = [OffsetFetchRequestTopics {
        name: "t",
        partition_indexes: (&index[..]).into(),
        ..OffsetFetchRequestTopics::default()
    }];
    let groups = [OffsetFetchRequestGroup {
        group_id: group,
        topics: Some((&topics[..]).into()),
        ..OffsetFetchRequestGroup::default()
    }];
    let request = OffsetFetchRequest {
        groups: (&groups[..]).into(),
        require_stable: true,
        ..OffsetFetchRequest::default()
    };
    loop {
        let mut response = client.call(8, &request).await.expect("an answer");
        let group = response.groups.remove(0);
        if group.error_code != LOADING {
            let offset = group.topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset);
            return (group.error_code, offset);
        }
    }
}

/// The files of a broker with committed offsets that has ended.
fn files(clean: bool) -> Vec<(PathBuf, Vec<u8>)> {
    in_world(70, async |world| {
        let broker = Broker::start(world.node("broker"), 1, &SETTINGS).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 1).await;
        assert_eq!(find(&mut client, 4, GROUPS[0]).await, 0);
        for offset in 1..=COMMITS {
            for group in GROUPS {
                assert_eq!(commit(&mut client, group, offset, "").await, 0);
            }
        }
        if clean {
            broker.stop().await;
            world.kill("broker");
        } else {
            world.crash("broker");
            // Brings the segments up to the journal, which is to be left out of this, and notes what is durable: until
            // then nobody could tell damage at the end of a log from an unfinished write.
            let _broker = Broker::start(world.node("broker"), 1, &SETTINGS).await;
            let clock = world.clock();
            clock.sleep_until(clock.now() + Duration::from_secs(60)).await;
            world.kill("broker");
        }
        let disk = world.disk("broker");
        let content = |path: PathBuf| (path.clone(), disk.read(path).expect("it was listed"));
        disk.files().into_iter().map(content).collect()
    })
}

/// Starts a broker over `files`; what the groups are told.
async fn told(world: &SimWorld, files: &[(PathBuf, Vec<u8>)]) -> [(i16, i64); 2] {
    let node = world.node("broker");
    for (path, content) in files {
        world.disk("broker").set_content(path, content.clone());
    }
    let broker = Broker::start(node, 1, &SETTINGS).await;
    let mut client = Client::connect(&world.node("client"), broker.address).await;
    let told = [committed(&mut client, GROUPS[0]).await, committed(&mut client, GROUPS[1]).await];
    broker.stop().await;
    told
}

/// Every `step`th bit of the files of `__consumer_offsets` whose name ends so.
fn flips(files: &[(PathBuf, Vec<u8>)], ending: &str, step: usize) -> Vec<(usize, usize)> {
    let of_groups = |(_, (path, _)): &(usize, &(PathBuf, Vec<u8>))| {
        let path = path.to_string_lossy();
        path.contains("/__consumer_offsets-0/") && path.ends_with(ending)
    };
    let mut flips = Vec::new();
    for (index, (_, content)) in files.iter().enumerate().filter(of_groups) {
        // Behind the records there may be zeros, written ahead.
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        flips.extend((0..used * 8).step_by(step).map(|bit| (index, bit)));
    }
    flips
}

#[test]
fn no_flipped_bit_gives_an_old_offset_without_an_error() {
    for (clean, step) in [(true, 9), (false, 13)] {
        let files = files(clean);
        let tried = [("log", step), ("index", 1), ("timeindex", 1), ("snapshot", 3), ("checkpoint", 1)];
        let mut refused = 0;
        for (file, bit) in tried.into_iter().flat_map(|(ending, step)| flips(&files, ending, step)) {
            let mut damaged = files.clone();
            damaged[file].1[bit / 8] ^= 1 << (bit % 8);
            let told = in_world(71, async |world| told(&world, &damaged).await);
            for answer in told {
                let place = || format!("{} bit {bit}, clean: {clean}", files[file].0.display());
                assert!(answer.0 != 0 || answer.1 == COMMITS, "{}: {answer:?}", place());
                refused += usize::from(answer.0 != 0);
            }
        }
        assert!(refused > 100, "most flips are in the log and noticed: {refused}");
    }
}

#[test]
fn what_passes_while_groups_load_costs_only_time() {
    in_world(72, async |world| {
        let settings = [SETTINGS[0], ("offsets.topic.segment.bytes", "1048576")];
        let broker = Broker::start(world.node("broker"), 1, &settings).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 1).await;
        assert_eq!(find(&mut client, 4, GROUPS[0]).await, 0);
        assert_eq!(commit(&mut client, GROUPS[1], COMMITS, "").await, 0);
        let note = "x".repeat(4096);
        for offset in 0..300 {
            assert_eq!(commit(&mut client, GROUPS[0], offset, &note).await, 0);
        }
        broker.stop().await;
        world.kill("broker");
        // The first segment is full, and nobody but the coordinator reads it.
        let first = "__consumer_offsets-0/00000000000000000000.log";
        let busy = Fault::new(OpKind::Read, FaultKind::NoSpace).on(first).after(0, 30);
        world.disk("broker").inject(busy);
        let broker = Broker::start(world.node("broker"), 1, &settings).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        assert_eq!(committed(&mut client, GROUPS[0]).await, (0, 299));
        assert_eq!(committed(&mut client, GROUPS[1]).await, (0, COMMITS));
        broker.stop().await;
    });
}
