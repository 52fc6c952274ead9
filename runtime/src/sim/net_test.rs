//! Connections deliver in order, in pieces, and fail in the ways that real ones do.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{SimEffects, SimStream, SimWorld};
use crate::effects::{Disk, Effects, ListenOptions, Listener, Net, OpenOptions, Stream};

struct Pair {
    world: SimWorld,
    server: SimEffects,
    /// The client's end and the server's.
    ends: [SimStream; 2],
}

fn pair(seed: u64) -> Pair {
    let world = SimWorld::new(seed);
    let (server, client) = (world.node("server"), world.node("client"));
    let address = SocketAddr::new(server.net().ip(), 9092);
    let listen = ListenOptions { reuse_port: true, backlog: 4, v6_only: false };
    let ends = world.block_on(async {
        let listener = server.net().listen(address, listen).unwrap();
        let first = client.net().connect(address).await.unwrap();
        [first, listener.accept().await.unwrap()]
    });
    Pair { world, server, ends }
}

async fn received(stream: &SimStream, count: usize) -> (Vec<u8>, BTreeSet<usize>) {
    let (mut all, mut sizes) = (Vec::new(), BTreeSet::new());
    while all.len() < count {
        let (size, buffer) = stream.recv(BytesMut::with_capacity(1 << 20)).await;
        let size = size.unwrap();
        if size == 0 {
            break;
        }
        sizes.insert(size);
        all.extend_from_slice(&buffer);
    }
    (all, sizes)
}

#[test]
fn bytes_arrive_in_order_and_in_pieces_of_any_size() {
    let mut sizes = BTreeSet::new();
    for seed in 0..20 {
        let Pair { world, server, ends: [client, accepted] } = pair(seed);
        // More than the window, so that the sender has to wait for the reader.
        let sent: Vec<u8> = (0..600_000u32).map(|i| i.to_le_bytes()[(i % 3) as usize]).collect();
        let parts = sent.chunks(70_000).map(Bytes::copy_from_slice).collect();
        server.spawn(async move {
            client.send(parts).await.unwrap();
            client.shutdown();
        });
        let (all, pieces) = world.block_on(received(&accepted, usize::MAX));
        assert!(all == sent, "seed {seed}");
        sizes.extend(pieces);
    }
    assert!(sizes.len() > 50, "{} sizes", sizes.len());
}

#[test]
fn nobody_listening_is_refused_and_a_dead_node_is_silence() {
    let world = SimWorld::new(1);
    let client = world.node("client");
    let other = world.node("other");
    let address = SocketAddr::new(other.net().ip(), 1);
    let connect = || world.block_on(client.net().connect(address)).map(|_| ()).unwrap_err().kind();
    assert_eq!(connect(), ErrorKind::ConnectionRefused);
    world.crash("other");
    assert_eq!(connect(), ErrorKind::TimedOut);
}

#[test]
fn a_partition_holds_up_one_direction_until_it_heals() {
    let Pair { world, ends: [client, accepted], .. } = pair(5);
    world.partition("client", "server");
    world.block_on(async {
        client.send(vec![Bytes::from("up")]).await.unwrap();
        accepted.send(vec![Bytes::from("down")]).await.unwrap();
        assert_eq!(received(&client, 4).await.0, b"down");
    });
    let waiting = accepted.clone();
    let (done, heard) = (std::rc::Rc::new(std::cell::Cell::new(false)), std::rc::Rc::default());
    let (flag, text) = (done.clone(), std::rc::Rc::<std::cell::RefCell<Vec<u8>>>::clone(&heard));
    world.node("server").spawn(async move {
        *text.borrow_mut() = received(&waiting, 2).await.0;
        flag.set(true);
    });
    world.run_for(Duration::from_secs(60));
    assert!(!done.get());
    world.heal();
    world.run_for(Duration::from_secs(1));
    assert_eq!(*heard.borrow(), b"up");
}

#[test]
fn after_a_power_cut_the_peer_hears_nothing_until_the_node_is_back() {
    let Pair { world, ends: [client, _accepted], .. } = pair(5);
    world.crash("server");
    world.block_on(client.send(vec![Bytes::from("hello?")])).unwrap();
    world.run_for(Duration::from_secs(5));
    let _again = world.node("server");
    world.block_on(client.send(vec![Bytes::from("anybody?")])).unwrap();
    world.run_for(Duration::from_secs(5));
    let error = world.block_on(client.send(vec![Bytes::from("!")])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_killed_process_ends_or_resets_its_connections() {
    let mut seen = BTreeSet::new();
    for seed in 0..30 {
        let Pair { world, ends: [client, _accepted], .. } = pair(seed);
        world.kill("server");
        let (result, _) = world.block_on(client.recv(BytesMut::with_capacity(8)));
        seen.insert(result.map_err(|error| error.kind()).ok());
    }
    assert_eq!(seen, BTreeSet::from([None, Some(0)]));
}

#[test]
fn a_reset_ends_both_sides() {
    let Pair { world, ends, .. } = pair(5);
    world.reset_connections("server", "client");
    for end in &ends {
        let (result, _) = world.block_on(end.recv(BytesMut::with_capacity(8)));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_file_is_sent_behind_what_was_sent_before() {
    let Pair { world, server, ends: [client, accepted] } = pair(5);
    let content: Vec<u8> = (0..200_000u32).map(|i| i.to_le_bytes()[1]).collect();
    world.disk("server").set_content("f", content.clone());
    let expect = [b"head".to_vec(), content[100..150_100].to_vec()].concat();
    let shard = server.clone();
    server.spawn(async move {
        let file = shard.disk().open(Path::new("f"), OpenOptions::default()).await.unwrap();
        accepted.send(vec![Bytes::from("head")]).await.unwrap();
        shard.send_file(&accepted, &file, 100, 150_000).await.unwrap();
        let error = shard.send_file(&accepted, &file, 199_999, 2).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    });
    let (all, _) = world.block_on(received(&client, expect.len()));
    assert!(all[..expect.len()] == expect);
}

#[test]
fn an_address_is_taken_unless_both_share_it() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    let address: SocketAddr = "127.0.0.1:9092".parse().unwrap();
    let share = ListenOptions { reuse_port: true, backlog: 1, v6_only: false };
    let alone = ListenOptions { reuse_port: false, backlog: 1, v6_only: false };
    let first = node.net().listen(address, share).unwrap();
    let second = node.shard().net().listen(address, share).unwrap();
    let refused = node.net().listen(address, alone).map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    drop((first, second));
    let any = node.net().listen("127.0.0.1:0".parse().unwrap(), alone).unwrap();
    assert_ne!(any.local_addr().port(), 0);
}
