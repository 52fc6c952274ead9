//! Proves that connections and handlers know nothing of sockets: a transport that cannot leave bytes as they are, and so
//! cannot use sendfile, serves the same records, whether they are in memory, in files, or have to be read again for a
//! client that reads slowly.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use broker::clients::transport::Transport;
use bytes::{Bytes, BytesMut};
use model::{Offset, RecordBatchBuilder};
use net::FrameDecoder;
use net::protocol::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use net::protocol::{Segment, decode_response_frame, encode_request};
use runtime::buffer::PAGE_SIZE;
use runtime::sim::SimEffects;
use runtime::{Clock, Disk, Effects, File, ListenOptions, Listener, Net, Stream};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, fetch, produced, send_produce, values};

type SimStream = <<SimEffects as Effects>::Net as Net>::Stream;
type SimFile = <<SimEffects as Effects>::Disk as Disk>::File;

/// Bytes that are scrambled together, as TLS has records: what the client gets of one is sent to its end.
const RECORD_BYTES: usize = 16_000;

/// Changes every byte by its place in the stream, so that none may be lost, doubled or moved.
#[derive(Default)]
struct Keystream(Cell<u64>);

impl Keystream {
    fn apply(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let [place, ..] = self.0.get().to_le_bytes();
            *byte ^= place ^ 0x5a;
            self.0.set(self.0.get() + 1);
        }
    }
}

/// A transport that changes every byte.
struct Scrambled {
    effects: SimEffects,
    stream: SimStream,
    received: Keystream,
    sent: Keystream,
    /// Received and not asked for yet.
    ahead: RefCell<BytesMut>,
    /// Scrambled, and not taken by the socket yet.
    pending: RefCell<BytesMut>,
    files_sent: Rc<Cell<usize>>,
}

impl Scrambled {
    /// Whether the socket has taken all that was scrambled.
    async fn flush<F: Future<Output = ()>>(&self, patience: impl FnMut() -> F) -> io::Result<bool> {
        let pending = self.pending.take();
        let taken = self.stream.send_while(vec![pending.clone().freeze()], patience).await?;
        let is_all = taken == pending.len();
        *self.pending.borrow_mut() = BytesMut::from(&pending[taken..]);
        Ok(is_all)
    }
}

impl Transport<SimEffects> for Scrambled {
    async fn recv(&self, mut buffer: BytesMut) -> (io::Result<usize>, BytesMut) {
        if self.ahead.borrow().is_empty() {
            let (received, mut more) = self.stream.recv(BytesMut::with_capacity(RECORD_BYTES)).await;
            self.received.apply(&mut more);
            *self.ahead.borrow_mut() = more;
            if !matches!(received, Ok(1..)) {
                return (received, buffer);
            }
        }
        let mut ahead = self.ahead.borrow_mut();
        // A part of it, to show that there may be more.
        let count = ahead.len().min(buffer.capacity() - buffer.len()).min(1_000);
        buffer.extend_from_slice(&ahead.split_to(count));
        (Ok(count), buffer)
    }

    async fn send_while<F: Future<Output = ()>>(
        &self,
        parts: Vec<Bytes>,
        mut patience: impl FnMut() -> F,
    ) -> io::Result<usize> {
        let mut taken = 0;
        for record in parts.iter().flat_map(|part| part.chunks(RECORD_BYTES)) {
            if !self.flush(&mut patience).await? {
                return Ok(taken);
            }
            let mut scrambled = BytesMut::from(record);
            self.sent.apply(&mut scrambled);
            *self.pending.borrow_mut() = scrambled;
            taken += record.len();
        }
        self.flush(patience).await?;
        Ok(taken)
    }

    async fn writable(&self) -> io::Result<()> {
        self.flush(std::future::pending).await?;
        self.stream.writable().await
    }

    async fn send_file(&self, file: &SimFile, position: u64, length: u64) -> io::Result<()> {
        self.files_sent.set(self.files_sent.get() + 1);
        let end = position + length;
        let mut at = position;
        while at < end {
            let page = at / PAGE_SIZE as u64 * PAGE_SIZE as u64;
            let buffer = self.effects.buffers().buffer(64 << 10).map_err(io::Error::other)?;
            let (read, buffer) = file.read_at(buffer, page, 64 << 10).await;
            let read = u64::try_from(read?).expect("small");
            let (from, to) = (at - page, read.min(end - page));
            if from >= to {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let index = |place: u64| usize::try_from(place).expect("small");
            let part = buffer.into_bytes(index(from)..index(to));
            self.send_while(vec![part], std::future::pending).await?;
            at = page + to;
        }
        Ok(())
    }

    async fn end_sending(&self) {
        let _gone = self.flush(std::future::pending).await;
        self.stream.shutdown_send();
    }

    fn abort(&self) {
        self.stream.shutdown();
    }
}

/// The other end of a [`Scrambled`].
struct ScrambledClient {
    stream: SimStream,
    received: Keystream,
    sent: Keystream,
    decoder: FrameDecoder,
}

impl ScrambledClient {
    async fn connect(effects: &SimEffects, address: SocketAddr) -> Self {
        Self {
            stream: effects.net().connect(address).await.expect("somebody listens"),
            received: Keystream::default(),
            sent: Keystream::default(),
            decoder: FrameDecoder::new(1 << 30, 4096),
        }
    }

    async fn send_fetch(&self, offset: i64) {
        let partitions = [FetchPartition {
            fetch_offset: offset,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            partition_max_bytes: 50 << 20,
            ..FetchPartition::default()
        }];
        let topics = [FetchTopic { topic: "t", partitions: partitions[..].into(), ..FetchTopic::default() }];
        let request = FetchRequest {
            replica_id: -1,
            max_bytes: 50 << 20,
            session_epoch: -1,
            topics: topics[..].into(),
            ..FetchRequest::default()
        };
        let mut frame = BytesMut::new();
        for segment in encode_request(12, 1, None, &request).expect("encodes") {
            let Segment::Bytes(bytes) = segment else { unreachable!("a fetch has no records") };
            frame.extend_from_slice(&bytes);
        }
        self.sent.apply(&mut frame);
        self.stream.send(vec![frame.freeze()]).await.expect("sent");
    }

    async fn fetched(&mut self) -> FetchResponse {
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("unscrambled") {
                return decode_response_frame(12, &frame).expect("well-formed").1;
            }
            let mut buffer = self.decoder.take_buffer(usize::MAX);
            let before = buffer.len();
            let (received, filled) = self.stream.recv(std::mem::take(&mut buffer)).await;
            let mut filled = filled;
            self.received.apply(&mut filled[before..]);
            self.decoder.received(filled);
            assert!(matches!(received, Ok(1..)), "{received:?}");
        }
    }
}

#[test]
fn a_transport_that_changes_every_byte_serves_the_same_records() {
    in_world(112, async |world| {
        let settings = [("millrace.fetch.sealed", "sendfile"), ("log.segment.bytes", "1048576")];
        let node = world.node("broker");
        let broker = Broker::start(node.clone(), 1, &settings).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 1).await;
        for round in 0..6_u8 {
            let value = vec![b'a' + round; 700_000];
            let batch = RecordBatchBuilder::new(Offset(0)).record(1, None, Some(&value)).build();
            send_produce(&mut client, "t", &[0], -1, &batch).await.expect("sent");
            produced(&mut client).await.expect("appended");
        }
        broker.stop().await;

        let broker = Broker::start(node.clone(), 1, &settings).await;
        let mut plain = Client::connect(&world.node("client"), broker.address).await;
        let address = SocketAddr::new(broker.address.ip(), 9999);
        let options = ListenOptions { reuse_port: false, backlog: 1, v6_only: false };
        let listener = node.net().listen(address, options).expect("the port is free");
        let mut scrambled = ScrambledClient::connect(&world.node("client"), address).await;
        let stream = listener.accept().await.expect("it connects");
        let files_sent = Rc::new(Cell::new(0));
        let transport = Scrambled {
            effects: node.clone(),
            stream,
            received: Keystream::default(),
            sent: Keystream::default(),
            ahead: RefCell::default(),
            pending: RefCell::default(),
            files_sent: Rc::clone(&files_sent),
        };
        let addresses = [address, SocketAddr::new(broker.address.ip(), 1)];
        broker.node.connections.add(&broker.shard, transport, &Arc::from("SCRAMBLED"), addresses);
        // The last segment is not sealed; what is read of it stands in memory.
        for offset in [0, 5, 2] {
            let expected =
                fetch(&mut plain, "t", &[(0, offset)], 1, Duration::ZERO).await.expect("an answer");
            scrambled.send_fetch(offset).await;
            // So long that records in memory have been given up, and are read again.
            let clock = world.node("client").clock().clone();
            clock.sleep_until(clock.now() + Duration::from_secs(3)).await;
            let answer = scrambled.fetched().await;
            let found = values(&answer);
            assert_eq!(found, values(&expected), "from {offset}");
            assert_eq!(found[0].1.first().expect("a record").0, offset);
        }
        assert_eq!(files_sent.get(), 2, "of the sealed segments");
        broker.stop().await;
    });
}
