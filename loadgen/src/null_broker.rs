//! A broker that parses produce requests and acknowledges at once, storing nothing.
//!
//! It answers what loadgen asks, on one thread: what a run against it reaches is the ceiling of the generator and the
//! network stack. Every topic exists with the same number of partitions; fetches are answered with made-up batches.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, BrokerId, CreateTopicsRequest, CreateTopicsResponse,
    InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest,
    MetadataResponse, ProducerId, RequestHeader, ResponseHeader,
};
use kafka_protocol::messages::{api_versions_response, create_topics_response, list_offsets_response};
use kafka_protocol::messages::{metadata_response, metadata_response::MetadataResponseTopic};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::batch::{BatchShape, BatchTemplate, HEADER_LEN, Keys};
use crate::batch_reader::Batch;
use crate::clock::{Nanos, SECOND};
use crate::conn::{Conn, Poller, Received};
use crate::fetch_request::{FETCH_KEY, FETCH_VERSION};
use crate::produce_request::{PRODUCE_KEY, PRODUCE_VERSION};
use crate::wire::{self, Cursor};

/// Settings of a null broker.
#[derive(Debug, Clone)]
pub(crate) struct NullBrokerSpec {
    /// Partitions of every topic.
    pub(crate) partitions: u32,
    /// Verify batch checksums.
    pub(crate) check_crc: bool,
    /// Bytes of records per partition in a Fetch response.
    pub(crate) fetch_bytes: usize,
}

/// The broker; [`Self::turn`] drives it.
pub(crate) struct NullBroker {
    listener: TcpListener,
    poller: Poller,
    peers: HashMap<u64, Peer>,
    next_token: u64,
    state: State,
    ready: Vec<u64>,
}

#[derive(Debug)]
struct Peer {
    conn: Conn,
    out: Vec<u8>,
}

/// What requests read and change.
#[derive(Debug)]
struct State {
    spec: NullBrokerSpec,
    address: SocketAddr,
    next_offsets: Vec<i64>,
    next_producer_id: i64,
    canned: BatchTemplate,
}

impl NullBroker {
    /// Listens on `address`.
    pub(crate) fn bind(address: SocketAddr, spec: NullBrokerSpec) -> Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
        listener.set_nonblocking(true)?;
        let poller = Poller::new()?;
        poller.add(listener.as_fd(), LISTENER_TOKEN)?;
        let shape = BatchShape { records: CANNED_RECORDS, value_len: CANNED_VALUE_LEN, keys: Keys::None };
        let state = State {
            address: listener.local_addr()?,
            next_offsets: vec![0; usize::try_from(spec.partitions)?],
            next_producer_id: 0,
            canned: BatchTemplate::new(&shape, &mut fastrand::Rng::with_seed(1)),
            spec,
        };
        let (peers, ready) = (HashMap::new(), Vec::new());
        Ok(Self { listener, poller, peers, next_token: LISTENER_TOKEN + 1, state, ready })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// Serves until an error of the machine.
    pub(crate) fn serve(&mut self) -> Result<()> {
        loop {
            self.turn(SECOND)?;
        }
    }

    /// Waits at most `timeout` for requests and answers them.
    pub(crate) fn turn(&mut self, timeout: Nanos) -> Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        self.poller.wait(timeout, &mut ready)?;
        for &token in &ready {
            if token == LISTENER_TOKEN {
                self.accept()?;
            } else if let Some(peer) = self.peers.get_mut(&token) {
                match peer.serve(&mut self.state, &self.poller, token) {
                    Ok(true) => {}
                    Ok(false) => drop(self.peers.remove(&token)),
                    Err(error) => {
                        eprintln!("null-broker: closing a connection: {error:#}");
                        self.peers.remove(&token);
                    }
                }
            }
        }
        self.ready = ready;
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            let conn = Conn::new(stream)?;
            self.poller.add(&conn, self.next_token)?;
            self.peers.insert(self.next_token, Peer { conn, out: Vec::new() });
            self.next_token += 1;
        }
        Ok(())
    }
}

impl Peer {
    /// Answers what has arrived; false when the peer has closed.
    fn serve(&mut self, state: &mut State, poller: &Poller, token: u64) -> Result<bool> {
        // A peer that does not read its answers is not read from either.
        let open = if self.out.is_empty() { self.take_requests(state)? } else { true };
        let drained = self.conn.send(&self.out)?;
        if drained {
            self.out.clear();
        }
        if self.conn.output_watched == drained {
            self.conn.output_watched = !drained;
            poller.watch_output(&self.conn, token, !drained)?;
        }
        Ok(open)
    }

    fn take_requests(&mut self, state: &mut State) -> Result<bool> {
        let received = self.conn.receive()?;
        while let Some(place) = self.conn.next_frame()? {
            state.answer(self.conn.frame(place), &mut self.out)?;
        }
        Ok(received != Received::Closed)
    }
}

impl State {
    fn answer(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut cursor = Cursor::new(frame);
        let (key, version) = (cursor.i16()?, cursor.i16()?);
        match (key, version) {
            (PRODUCE_KEY, PRODUCE_VERSION) => self.produce(frame, out),
            (FETCH_KEY, FETCH_VERSION) => self.fetch(frame, out),
            (ApiVersionsRequest::KEY, _) => api_versions(frame, version, out),
            (MetadataRequest::KEY, 0..=9) => self.metadata(frame, version, out),
            (CreateTopicsRequest::KEY, 2..=7) => self.create_topics(frame, version, out),
            (ListOffsetsRequest::KEY, 1..=7) => Self::list_offsets(frame, version, out),
            (InitProducerIdRequest::KEY, 0..=4) => self.init_producer_id(frame, version, out),
            _ => bail!("API key {key} version {version} is not served"),
        }
    }

    fn produce(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let (correlation, mut cursor) = hot_header(frame)?;
        cursor.compact_bytes()?; // Transactional id.
        let acks = cursor.i16()?;
        cursor.i32()?; // Timeout.
        let start = begin_response(out, correlation);
        let topics = cursor.compact_len()?;
        wire::put_uvarint(out, wire::len_u32(topics) + 1);
        for _ in 0..topics {
            let name = cursor.compact_bytes()?;
            wire::put_uvarint(out, wire::len_u32(name.len()) + 1);
            out.extend_from_slice(name);
            let partitions = cursor.compact_len()?;
            wire::put_uvarint(out, wire::len_u32(partitions) + 1);
            for _ in 0..partitions {
                let index = cursor.u32()?;
                let (error, base_offset) = self.append(index, cursor.compact_bytes()?)?;
                cursor.skip_tags()?;
                out.extend_from_slice(&index.to_be_bytes());
                out.extend_from_slice(&error.to_be_bytes());
                out.extend_from_slice(&base_offset.to_be_bytes());
                out.extend_from_slice(&(-1i64).to_be_bytes());
                out.extend_from_slice(&0i64.to_be_bytes());
                out.extend_from_slice(&[1, 0, 0]); // No record errors, no message, no tags.
            }
            cursor.skip_tags()?;
            out.push(0);
        }
        cursor.skip_tags()?;
        out.extend_from_slice(&[0; 5]); // Throttle time and tags.
        if acks == 0 {
            out.truncate(start);
        } else {
            wire::finish_request(out, start);
        }
        Ok(())
    }

    /// Gives offsets to a partition's batch: error code and base offset.
    fn append(&mut self, index: u32, records: &[u8]) -> Result<(i16, i64)> {
        let Some(next) = self.next_offsets.get_mut(usize::try_from(index)?) else { return Ok((3, -1)) };
        let (batch, rest) = Batch::split(records)?.context("produce without a whole batch")?;
        ensure!(rest.is_empty(), "more than one batch for a partition");
        if self.spec.check_crc && !batch.crc_is_valid() {
            return Ok((2, -1));
        }
        let base_offset = *next;
        *next += i64::from(batch.record_count);
        Ok((0, base_offset))
    }

    fn fetch(&self, frame: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let (correlation, mut cursor) = hot_header(frame)?;
        cursor.take(4 * 4 + 1 + 4 + 4)?; // Replica, limits, isolation, session.
        let start = begin_response(out, correlation);
        out.extend_from_slice(&[0; 10]); // Throttle time, error, session.
        let topics = cursor.compact_len()?;
        wire::put_uvarint(out, wire::len_u32(topics) + 1);
        for _ in 0..topics {
            let name = cursor.compact_bytes()?;
            wire::put_uvarint(out, wire::len_u32(name.len()) + 1);
            out.extend_from_slice(name);
            let partitions = cursor.compact_len()?;
            wire::put_uvarint(out, wire::len_u32(partitions) + 1);
            for _ in 0..partitions {
                let index = cursor.u32()?;
                cursor.i32()?;
                let offset = cursor.i64()?;
                cursor.take(4 + 8)?;
                let partition_bytes_max = usize::try_from(cursor.i32()?)?;
                cursor.skip_tags()?;
                self.put_records(out, index, offset, partition_bytes_max);
            }
            cursor.skip_tags()?;
            out.push(0);
        }
        out.push(0);
        wire::finish_request(out, start);
        Ok(())
    }

    /// One partition's answer: as many copies of the canned batch as fit.
    fn put_records(&self, out: &mut Vec<u8>, index: u32, mut offset: i64, bytes_max: usize) {
        let batch = self.canned.bytes();
        let copies = (bytes_max.min(self.spec.fetch_bytes) / batch.len()).max(1);
        out.extend_from_slice(&index.to_be_bytes());
        out.extend_from_slice(&0i16.to_be_bytes());
        out.extend_from_slice(&ENDLESS.to_be_bytes());
        out.extend_from_slice(&ENDLESS.to_be_bytes());
        out.extend_from_slice(&0i64.to_be_bytes());
        out.push(0); // No aborted transactions.
        out.extend_from_slice(&(-1i32).to_be_bytes());
        wire::put_uvarint(out, wire::len_u32(copies * batch.len()) + 1);
        for _ in 0..copies {
            out.extend_from_slice(&offset.to_be_bytes());
            out.extend_from_slice(&batch[8..]);
            offset += i64::try_from(self.canned.records()).unwrap_or(0);
        }
        out.push(0);
    }

    fn metadata(&self, frame: &[u8], version: i16, out: &mut Vec<u8>) -> Result<()> {
        let (correlation, request) = decode::<MetadataRequest>(frame, version)?;
        let partitions = (0..i32::try_from(self.spec.partitions)?).map(|index| {
            metadata_response::MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(BrokerId(0))
                .with_replica_nodes(vec![BrokerId(0)])
                .with_isr_nodes(vec![BrokerId(0)])
        });
        let partitions: Vec<_> = partitions.collect();
        let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
            MetadataResponseTopic::default().with_name(topic.name).with_partitions(partitions.clone())
        });
        let broker = metadata_response::MetadataResponseBroker::default()
            .with_node_id(BrokerId(0))
            .with_host(StrBytes::from_string(self.address.ip().to_string()))
            .with_port(i32::from(self.address.port()));
        let response = MetadataResponse::default().with_brokers(vec![broker]).with_topics(topics.collect());
        encode::<MetadataRequest>(&response, correlation, version, out)
    }

    fn create_topics(&self, frame: &[u8], version: i16, out: &mut Vec<u8>) -> Result<()> {
        let (correlation, request) = decode::<CreateTopicsRequest>(frame, version)?;
        let partitions = i32::try_from(self.spec.partitions)?;
        let topics = request.topics.into_iter().map(|topic| {
            create_topics_response::CreatableTopicResult::default()
                .with_name(topic.name)
                .with_num_partitions(partitions)
        });
        let response = CreateTopicsResponse::default().with_topics(topics.collect());
        encode::<CreateTopicsRequest>(&response, correlation, version, out)
    }

    fn list_offsets(frame: &[u8], version: i16, out: &mut Vec<u8>) -> Result<()> {
        let (correlation, request) = decode::<ListOffsetsRequest>(frame, version)?;
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|asked| {
                list_offsets_response::ListOffsetsPartitionResponse::default()
                    .with_partition_index(asked.partition_index)
                    .with_offset(if asked.timestamp == -1 { ENDLESS } else { 0 })
            });
            list_offsets_response::ListOffsetsTopicResponse::default()
                .with_name(topic.name)
                .with_partitions(partitions.collect())
        });
        let response = ListOffsetsResponse::default().with_topics(topics.collect());
        encode::<ListOffsetsRequest>(&response, correlation, version, out)
    }

    fn init_producer_id(&mut self, frame: &[u8], version: i16, out: &mut Vec<u8>) -> Result<()> {
        let (correlation, _) = decode::<InitProducerIdRequest>(frame, version)?;
        let id = ProducerId(self.next_producer_id);
        self.next_producer_id += 1;
        let response = InitProducerIdResponse::default().with_producer_id(id).with_producer_epoch(0);
        encode::<InitProducerIdRequest>(&response, correlation, version, out)
    }
}

/// Skips the header of a flexible request: correlation id and the body.
fn hot_header(frame: &[u8]) -> Result<(i32, Cursor<'_>)> {
    let mut cursor = Cursor::new(frame);
    cursor.take(4)?;
    let correlation = cursor.i32()?;
    let client_id = cursor.i16()?;
    cursor.take(usize::try_from(client_id).unwrap_or(0))?;
    cursor.skip_tags()?;
    Ok((correlation, cursor))
}

/// Size (filled in later), correlation id, no tags.
fn begin_response(out: &mut Vec<u8>, correlation: i32) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&correlation.to_be_bytes());
    out.push(0);
    start
}

fn api_versions(frame: &[u8], version: i16, out: &mut Vec<u8>) -> Result<()> {
    let mut cursor = Cursor::new(frame);
    cursor.take(4)?;
    let correlation = cursor.i32()?;
    let keys = SERVED.iter().map(|&(key, min, max)| {
        api_versions_response::ApiVersion::default()
            .with_api_key(key)
            .with_min_version(min)
            .with_max_version(max)
    });
    let mut response = ApiVersionsResponse::default().with_api_keys(keys.collect());
    let known = (0..=3).contains(&version);
    if !known {
        response.error_code = 35;
    }
    encode::<ApiVersionsRequest>(&response, correlation, if known { version } else { 0 }, out)
}

fn decode<R: Request>(frame: &[u8], version: i16) -> Result<(i32, R)> {
    let mut bytes = Bytes::copy_from_slice(frame);
    let header = RequestHeader::decode(&mut bytes, R::header_version(version))?;
    let request = R::decode(&mut bytes, version)?;
    ensure!(!bytes.has_remaining(), "bytes after the end of a request");
    Ok((header.correlation_id, request))
}

fn encode<R: Request>(
    response: &R::Response,
    correlation: i32,
    version: i16,
    out: &mut Vec<u8>,
) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(out, R::Response::header_version(version))?;
    response.encode(out, version)?;
    wire::finish_request(out, start);
    Ok(())
}

const LISTENER_TOKEN: u64 = 0;
const CANNED_RECORDS: usize = 64;
const CANNED_VALUE_LEN: usize = 1_000;
const _: () = assert!(CANNED_RECORDS * CANNED_VALUE_LEN > HEADER_LEN);
/// An end that no run reaches.
const ENDLESS: i64 = 1 << 50;
/// Key, lowest and highest version of what is answered.
const SERVED: [(i16, i16, i16); 7] = [
    (PRODUCE_KEY, PRODUCE_VERSION, PRODUCE_VERSION),
    (FETCH_KEY, FETCH_VERSION, FETCH_VERSION),
    (ListOffsetsRequest::KEY, 1, 7),
    (MetadataRequest::KEY, 0, 9),
    (ApiVersionsRequest::KEY, 0, 3),
    (CreateTopicsRequest::KEY, 2, 7),
    (InitProducerIdRequest::KEY, 0, 4),
];
