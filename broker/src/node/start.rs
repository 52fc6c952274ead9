//! The start of a node: opens the data directory, then the logs on all shards, then the listeners.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use model::{LeaderEpoch, NodeId, PartitionId, TopicId, TopicPartition, Uuid};
use runtime::mesh::{MeshPort, mesh};
use runtime::{Clock, Effects};
use storage::{
    LOCK_PATIENCE, LogConfig, LogDir, LogDirOptions, LogManager, LogManagerOptions, PRODUCER_BYTES,
};

use crate::api::services::Identity;
use crate::clients::connections::close_idle;
use crate::clients::listener::listen;
use crate::config::{BrokerConfig, TopicConfig};
use crate::controller::{Controller, MetadataLog};
use crate::logging::Loggers;
use crate::mesh::placement::Placement;
use crate::metadata::{CLUSTER_METADATA, MetadataDelta, MetadataImage};
use crate::node::shard::{CallPorts, Shard, Shared};
use crate::replicas::Partition;

/// What every shard is started with.
#[derive(Clone)]
pub struct StartOptions {
    /// The broker's static settings.
    pub config: Arc<BrokerConfig>,
    /// The addresses to listen on, one for each of the configured listeners.
    pub listen: Vec<SocketAddr>,
    /// Whether the data directory is locked; off under simulation.
    pub lock: bool,
    /// Descriptors that the process may have: half are for connections, half for logs.
    pub descriptors: usize,
    /// Memory of each shard that keeps what fetches read from disk.
    pub read_cache_bytes: u64,
    /// The levels of the log, which clients may change.
    pub loggers: Arc<Loggers>,
}

/// Tells every shard how the start of shard 0 went.
pub type StartSignal = Option<Shared>;

/// A shard's meshes: for the start and for everything after it.
pub struct ShardPorts<E: Effects> {
    /// From shard 0: go, or give up.
    pub start: MeshPort<StartSignal>,
    /// Calls between shards.
    pub calls: CallPorts<E>,
}

/// The meshes of a node, one end for each shard. `capacity` is how many jobs for clients one shard may have on their way to
/// another; a full ring holds back the sender.
#[must_use]
pub fn shard_ports<E: Effects>(shards: usize, capacity: usize) -> Vec<ShardPorts<E>> {
    let starts = mesh(shards, 1).into_iter();
    let calls = mesh(shards, capacity).into_iter().zip(mesh(shards, 1));
    let calls = calls.map(|(services, node)| CallPorts { services, node });
    starts.zip(calls).map(|(start, calls)| ShardPorts { start, calls }).collect()
}

/// Opens the data directory and replays the metadata: the part of the start that only shard 0 does.
///
/// # Errors
/// What is wrong with the directory, in words for its owner.
pub async fn start_first<E: Effects>(
    effects: E,
    options: &StartOptions,
    ports: ShardPorts<E>,
    shards: usize,
) -> anyhow::Result<Rc<Shard<E>>> {
    let opened = open_first(&effects, options, shards).await;
    let (shared, logs, controller) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            for target in 1..shards {
                ports.start.send(target, None).await;
            }
            return Err(error);
        }
    };
    for target in 1..shards {
        ports.start.send(target, Some(shared.clone())).await;
    }
    Ok(Shard::new(0, effects, shared, options, logs, ports.calls, Some(controller)))
}

type Opened<E> = (Shared, Rc<LogManager<E>>, Rc<Controller<E>>);

async fn open_first<E: Effects>(
    effects: &E,
    options: &StartOptions,
    shards: usize,
) -> anyhow::Result<Opened<E>> {
    let config = &options.config;
    let node_id = NodeId(config.node_id());
    let dir_options =
        LogDirOptions { node_id, cluster_id: None, lock: options.lock.then_some(LOCK_PATIENCE) };
    let log_dir = LogDir::open(effects, config.log_dir(), dir_options).await?;
    // Before the first logs are opened, which then remove what is left of deleted partitions.
    let found = log_dir.partitions(effects).await?;
    let cluster_id = log_dir.cluster_id().to_owned();
    let shared = Shared {
        identity: Arc::new(Identity { node_id, cluster_id }),
        log_dir,
        placement: Placement::new(shards),
        offline: Arc::default(),
    };
    let logs = open_logs(effects, &shared, options).await?;
    let name = TopicPartition::new(CLUSTER_METADATA, PartitionId(0));
    let log_config = LogConfig {
        retention_ms: None,
        retention_bytes: None,
        delete_retention: false,
        // A change is one batch.
        max_message_bytes: usize::MAX,
        ..LogConfig::default()
    };
    let log = logs.open_log(name, METADATA_TOPIC_ID, log_config).await.context("the metadata log")?;
    if let Some(error) = log.offline() {
        return Err(error).context("the metadata log is damaged; restore the directory from a copy");
    }
    let topic_config = TopicConfig::resolve(config, &BTreeMap::new());
    let partition = Partition::lead_alone(
        effects.clone(),
        node_id,
        LeaderEpoch(0),
        log,
        &topic_config,
        Arc::clone(&shared.offline),
    );
    let controller = Controller::load(MetadataLog::new(partition)).await?;
    warn_of_unknown(&found, &controller.image());
    Ok((shared, logs, controller))
}

/// Names the directories that no topic accounts for: a deletion was cut off, or the metadata is not what it was. They
/// stay, and a topic of their name stays offline.
fn warn_of_unknown(found: &[TopicPartition], image: &MetadataImage) {
    let is_unknown = |tp: &&TopicPartition| {
        let topic = image.topic(&tp.topic);
        &*tp.topic != CLUSTER_METADATA && topic.is_none_or(|topic| topic.partition(tp.partition).is_none())
    };
    let unknown: Vec<String> = found.iter().filter(is_unknown).map(TopicPartition::dir_name).collect();
    if !unknown.is_empty() {
        let first = unknown[..unknown.len().min(UNKNOWN_NAMED_MAX)].join(", ");
        tracing::warn!(count = unknown.len(), first, "partitions on disk belong to no known topic");
    }
}

async fn open_logs<E: Effects>(
    effects: &E,
    shared: &Shared,
    options: &StartOptions,
) -> anyhow::Result<Rc<LogManager<E>>> {
    let options = log_manager_options(options, shared.placement.shards());
    Ok(LogManager::open(effects.clone(), Arc::clone(&shared.log_dir), options).await?)
}

fn log_manager_options(options: &StartOptions, shards: usize) -> LogManagerOptions {
    let config = &options.config;
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let defaults = LogManagerOptions::default();
    let files = options.descriptors / 2 / shards.max(1);
    LogManagerOptions {
        sealed_read: config.sealed_read(),
        // A sealed segment has up to two files open; the rest is for what is written beside the logs.
        active_open_max: defaults.active_open_max.min(files / 8 * 3),
        sealed_open_max: defaults.sealed_open_max.min(files / 8),
        // The rest of the budget is for what comes in and for reads of old data.
        append_bytes_max: config.memory_per_shard_bytes() / 2,
        read_cache_bytes: options.read_cache_bytes,
        disk_reserve_bytes: config.disk_reserve_bytes(),
        retention_check_ms: millis(config.retention_check_interval()),
        checkpoint_bytes: config.checkpoint_bytes(),
        checkpoint_ms: millis(config.checkpoint_interval()),
        producer_id_expiration_ms: millis(config.producer_id_expiration()),
        producer_expiry_check_ms: millis(config.producer_expiry_check_interval()),
        producers_max: config.memory_per_shard_bytes() / PRODUCERS_SHARE / PRODUCER_BYTES,
        unlink_pause: config.unlink_pause(),
        journal_bytes: config.journal_bytes_per_shard(),
        ..defaults
    }
}

/// Waits for shard 0 and starts another shard.
///
/// # Errors
/// `None` if shard 0 gave up; else what went wrong here.
pub async fn start_other<E: Effects>(
    index: usize,
    effects: E,
    options: &StartOptions,
    ports: ShardPorts<E>,
) -> anyhow::Result<Option<Rc<Shard<E>>>> {
    let (_, shared) = ports.start.recv().await;
    let Some(shared) = shared else { return Ok(None) };
    let logs = open_logs(&effects, &shared, options).await?;
    Ok(Some(Shard::new(index, effects, shared, options, logs, ports.calls, None)))
}

/// Opens all partitions on all shards, then all listeners; runs on shard 0.
///
/// # Errors
/// An address that cannot be listened on.
pub async fn bring_up<E: Effects>(
    shard: &Rc<Shard<E>>,
    options: &StartOptions,
) -> anyhow::Result<Vec<SocketAddr>> {
    let services = &shard.services;
    let controller = services.controller.as_ref().context("only shard 0 brings the broker up")?;
    let image = controller.image();
    let everything = Arc::new(MetadataDelta::everything(&image));
    let partitions = image.partition_count();
    let began = services.effects.clock().now();
    services
        .call_all(move |shard| {
            let (image, everything) = (Arc::clone(&image), Arc::clone(&everything));
            shard.apply_image(image, &everything)
        })
        .await;
    if partitions > 0 {
        let took_ms = services.effects.clock().now().since(began).as_millis();
        let clean = services.logs.dir().was_clean();
        tracing::info!(partitions, clean, took_ms, "logs opened");
    }
    let mut bound = Vec::new();
    for (listener, address) in options.config.listeners().iter().zip(&options.listen) {
        let (name, mut address) = (Arc::<str>::from(&*listener.name), *address);
        // Else clients of an IPv4 listener on the same port could end up with this one.
        let shares = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        let v6_only = address.is_ipv6() && address.port() != 0 && options.listen.iter().any(shares);
        for target in 0..services.placement.shards() {
            let name = Arc::clone(&name);
            let listening = shard.call(target, move |shard| async move {
                listen(&shard.services, &shard.connections, name, address, v6_only)
            });
            let listening = listening.await;
            // Port 0 is chosen by the first shard, the others join it.
            address = listening.map_err(|error| anyhow::anyhow!("cannot listen on {address}: {error}"))?;
        }
        bound.push(address);
    }
    let close_idle = |shard: Rc<Shard<E>>| async move {
        let (services, connections) = (Rc::clone(&shard.services), Rc::clone(&shard.connections));
        shard.services.effects.spawn(close_idle(services, connections));
    };
    shard.call_all(close_idle).await;
    Ok(bound)
}

/// Kafka's id of the metadata topic.
const METADATA_TOPIC_ID: TopicId = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// Directories of no known topic that the start names.
const UNKNOWN_NAMED_MAX: usize = 10;

/// The part of a shard's memory that may go to what is remembered of producers.
const PRODUCERS_SHARE: usize = 8;
