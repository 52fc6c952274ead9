//! Control requests: blocking, by the `kafka-protocol` crate, before and after the measured part.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreateTopicsRequest, DeleteTopicsRequest, InitProducerIdRequest,
    ListOffsetsRequest, MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::messages::{create_topics_request, list_offsets_request, metadata_request};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::batch::ProducerIdentity;
use crate::wire::{self, FRAME_BYTES_MAX};

/// A blocking connection to one broker that knows which versions it speaks.
#[derive(Debug)]
pub(crate) struct Control {
    stream: TcpStream,
    address: SocketAddr,
    versions: HashMap<i16, (i16, i16)>,
    correlation: i32,
}

/// The partitions of a topic: index and the address of the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicLeaders {
    /// Sorted by partition.
    pub(crate) partitions: Vec<(u32, SocketAddr)>,
}

/// Which end of a partition [`Control::list_offsets`] asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LogEnd {
    /// The first offset.
    Earliest = -2,
    /// The offset after the last record.
    Latest = -1,
}

impl Control {
    /// Connects and asks for the versions.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        let mut control = Self { stream, address, versions: HashMap::new(), correlation: 0 };
        let response = control.call(0, &ApiVersionsRequest::default())?;
        check(response.error_code, "ApiVersions")?;
        let keys = response.api_keys.iter();
        control.versions = keys.map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(control)
    }

    /// Fails with a clear text unless the broker speaks `version` of the API.
    pub(crate) fn require(&self, key: i16, name: &str, version: i16) -> Result<()> {
        let address = self.address;
        match self.versions.get(&key) {
            None => bail!("the broker at {address} does not offer {name}"),
            Some(&(min, max)) if (min..=max).contains(&version) => Ok(()),
            Some((min, max)) => {
                bail!("the broker at {address} offers {name} versions {min}-{max}, loadgen speaks {version}")
            }
        }
    }

    /// The leaders of `topic`; `None` if it does not exist.
    pub(crate) fn leaders(&mut self, topic: &str) -> Result<Option<TopicLeaders>> {
        let response = self.metadata(topic)?;
        let found = response.topics.first().context("Metadata answers no topic")?;
        if found.error_code == ResponseError::UnknownTopicOrPartition.code() {
            return Ok(None);
        }
        check(found.error_code, "Metadata")?;
        let mut partitions = Vec::with_capacity(found.partitions.len());
        for partition in &found.partitions {
            if partition.error_code != 0 {
                return Ok(None);
            }
            let leader = leader_address(&response, partition.leader_id)?;
            partitions.push((u32::try_from(partition.partition_index)?, leader));
        }
        partitions.sort_unstable_by_key(|&(index, _)| index);
        Ok(Some(TopicLeaders { partitions }))
    }

    /// Whether Metadata lists a broker and, if asked, a leader for each partition of `topic`.
    pub(crate) fn answers_metadata(&mut self, topic: Option<&str>) -> Result<bool> {
        if let Some(topic) = topic {
            return Ok(self.leaders(topic)?.is_some_and(|leaders| !leaders.partitions.is_empty()));
        }
        let version = self.pick::<MetadataRequest>("Metadata", 9)?;
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        Ok(!self.call(version, &request)?.brokers.is_empty())
    }

    /// The leaders of `topic`, which is created with `partitions` (1 if not given) unless it exists.
    pub(crate) fn ensure_topic(&mut self, topic: &str, partitions: Option<u32>) -> Result<TopicLeaders> {
        if self.leaders(topic)?.is_none() {
            self.create_topic(topic, partitions.unwrap_or(1), 1, &[])?;
        }
        self.wait_for_leaders(topic)?.first(partitions)
    }

    /// Creates a topic; one that exists already is an error.
    pub(crate) fn create_topic(
        &mut self,
        topic: &str,
        partitions: u32,
        replication: i16,
        configs: &[(String, String)],
    ) -> Result<()> {
        let configs = configs.iter().map(|(name, value)| {
            create_topics_request::CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let creatable = create_topics_request::CreatableTopic::default()
            .with_name(TopicName(text(topic)))
            .with_num_partitions(i32::try_from(partitions)?)
            .with_replication_factor(replication)
            .with_configs(configs.collect());
        let request =
            CreateTopicsRequest::default().with_topics(vec![creatable]).with_timeout_ms(CREATE_TIMEOUT_MS);
        let version = self.pick::<CreateTopicsRequest>("CreateTopics", 7)?;
        // Thousands of partitions may take a broker minutes.
        self.stream.set_read_timeout(Some(CREATE_TIMEOUT))?;
        let response = self.call(version, &request)?;
        self.stream.set_read_timeout(Some(TIMEOUT))?;
        let created = response.topics.first().context("CreateTopics answers no topic")?;
        let detail = created.error_message.as_ref().map(|message| format!(" ({})", message.as_str()));
        let created = check(created.error_code, &format!("creating topic {topic}"));
        created.map_err(|error| anyhow!("{error}{}", detail.unwrap_or_default()))
    }

    /// Deletes a topic.
    pub(crate) fn delete_topic(&mut self, topic: &str) -> Result<()> {
        let version = self.pick::<DeleteTopicsRequest>("DeleteTopics", 5)?;
        let names = vec![TopicName(text(topic))];
        let request = DeleteTopicsRequest::default().with_topic_names(names).with_timeout_ms(TIMEOUT_MS);
        let response = self.call(version, &request)?;
        let deleted = response.responses.first().context("DeleteTopics answers no topic")?;
        check(deleted.error_code, &format!("deleting topic {topic}"))
    }

    /// Waits until every partition of `topic` has a leader that serves it: Metadata may name one a moment too early.
    pub(crate) fn wait_for_leaders(&mut self, topic: &str) -> Result<TopicLeaders> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(leaders) = self.leaders(topic)?
                && leaders.serve(topic)
            {
                return Ok(leaders);
            }
            ensure!(Instant::now() < deadline, "topic {topic} has no leaders after {TIMEOUT:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// First or next offset of each of `partitions`, which this broker leads; in the order asked.
    pub(crate) fn list_offsets(&mut self, topic: &str, partitions: &[u32], end: LogEnd) -> Result<Vec<i64>> {
        let asked = partitions.iter().map(|&index| {
            Ok(list_offsets_request::ListOffsetsPartition::default()
                .with_partition_index(i32::try_from(index)?)
                .with_timestamp(end as i64))
        });
        let topics = list_offsets_request::ListOffsetsTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(asked.collect::<Result<_>>()?);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topics]);
        let version = self.pick::<ListOffsetsRequest>("ListOffsets", 7)?;
        let response = self.call(version, &request)?;
        let mut offsets = HashMap::new();
        for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
            check(answer.error_code, "ListOffsets")?;
            offsets.insert(u32::try_from(answer.partition_index)?, answer.offset);
        }
        let find = |index| offsets.get(index).copied().context("ListOffsets left out a partition");
        partitions.iter().map(find).collect()
    }

    /// A new identity for an idempotent producer.
    pub(crate) fn init_producer_id(&mut self) -> Result<ProducerIdentity> {
        let version = self.pick::<InitProducerIdRequest>("InitProducerId", 4)?;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(TIMEOUT_MS)
            .with_producer_id(kafka_protocol::messages::ProducerId(-1))
            .with_producer_epoch(-1);
        let deadline = Instant::now() + TIMEOUT;
        let response = loop {
            let response = self.call(version, &request)?;
            let retriable =
                ResponseError::try_from_code(response.error_code).is_some_and(|e| e.is_retriable());
            if !retriable || Instant::now() >= deadline {
                break response;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        check(response.error_code, "InitProducerId")?;
        Ok(ProducerIdentity { id: response.producer_id.0, epoch: response.producer_epoch })
    }

    fn metadata(&mut self, topic: &str) -> Result<MetadataResponse> {
        let asked = metadata_request::MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
        let request =
            MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
        let version = self.pick::<MetadataRequest>("Metadata", 9)?;
        self.call(version, &request)
    }

    /// The highest version both sides speak, up to `max`.
    fn pick<R: Request>(&self, name: &str, max: i16) -> Result<i16> {
        let offered = self.versions.get(&R::KEY).map_or(max, |&(_, offered)| offered.min(max));
        self.require(R::KEY, name, offered)?;
        Ok(offered)
    }

    fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        self.correlation += 1;
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str(wire::CLIENT_ID)));
        header.encode(&mut frame, R::header_version(version))?;
        request.encode(&mut frame, version)?;
        let mut message = wire::len_u32(frame.len()).to_be_bytes().to_vec();
        message.extend_from_slice(&frame);
        self.stream.write_all(&message).with_context(|| format!("writing to {}", self.address))?;
        let mut response = self.read_frame().with_context(|| format!("reading from {}", self.address))?;
        let header = ResponseHeader::decode(&mut response, R::Response::header_version(version))?;
        ensure!(header.correlation_id == self.correlation, "response out of order");
        R::Response::decode(&mut response, version)
    }

    fn read_frame(&mut self) -> Result<Bytes> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let len = usize::try_from(i32::from_be_bytes(size)).context("negative frame length")?;
        ensure!(len <= FRAME_BYTES_MAX, "frame of {len} bytes");
        let mut frame = vec![0; len];
        self.stream.read_exact(&mut frame)?;
        Ok(Bytes::from(frame))
    }
}

impl TopicLeaders {
    /// Whether each leader answers for its partitions.
    fn serve(&self, topic: &str) -> bool {
        let mut by_leader: BTreeMap<SocketAddr, Vec<u32>> = BTreeMap::new();
        for &(partition, leader) in &self.partitions {
            by_leader.entry(leader).or_default().push(partition);
        }
        by_leader.into_iter().all(|(leader, partitions)| {
            let offsets = Control::connect(leader)
                .and_then(|mut control| control.list_offsets(topic, &partitions, LogEnd::Latest));
            offsets.is_ok()
        })
    }

    /// Only the first `count` partitions.
    fn first(mut self, count: Option<u32>) -> Result<Self> {
        if let Some(count) = count {
            let existing = self.partitions.len();
            let count = usize::try_from(count)?;
            ensure!(count <= existing, "the topic exists with {existing} partitions, {count} wanted");
            self.partitions.truncate(count);
        }
        Ok(self)
    }
}

/// The first address that `bootstrap` (HOST:PORT, commas between several) resolves to.
pub(crate) fn resolve(bootstrap: &str) -> Result<SocketAddr> {
    let first = bootstrap.split(',').next().unwrap_or(bootstrap).trim();
    let mut addresses = first.to_socket_addrs().with_context(|| format!("resolving {first} (HOST:PORT)"))?;
    addresses.next().with_context(|| format!("{first} has no address"))
}

/// A Kafka error code in words.
pub(crate) fn error_name(code: i16) -> String {
    ResponseError::try_from_code(code).map_or_else(|| format!("error {code}"), |error| format!("{error:?}"))
}

fn leader_address(response: &MetadataResponse, leader: BrokerId) -> Result<SocketAddr> {
    let broker = response.brokers.iter().find(|broker| broker.node_id == leader);
    let broker = broker.with_context(|| format!("Metadata does not list leader {}", leader.0))?;
    resolve(&format!("{}:{}", broker.host.as_str(), broker.port))
}

fn check(code: i16, what: &str) -> Result<()> {
    ensure!(code == 0, "{what}: {}", error_name(code));
    Ok(())
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

const TIMEOUT: Duration = Duration::from_secs(30);
const CREATE_TIMEOUT: Duration = Duration::from_secs(300);
const CREATE_TIMEOUT_MS: i32 = 300_000;
const TIMEOUT_MS: i32 = 30_000;
