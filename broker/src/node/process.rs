//! `millrace serve` as a process: real shards, signals, the admin listener and the banner.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use runtime::injector::{Injector, InjectorPort, injector};
use runtime::probe::Resources;
use runtime::signal::{Signal, Signals};
use runtime::{
    Clock, Effects, ShardOptions, UringEffects, raise_descriptor_limit, run_shards, wait_for_port,
};

use crate::admin::{AdminServer, Readiness, StatsBoard};
use crate::cli::start_plan::StartPlan;
use crate::cli::{Banner, IoMode, allowed_cores};
use crate::config::{BrokerConfig, StaticSettings, effective_settings};
use crate::logging::{self, LogFormat, Loggers};
use crate::node::shard::Shard;
use crate::node::start::{ShardPorts, StartOptions, bring_up, shard_ports, start_first, start_other};
use crate::node::stats_publisher::publish;
use crate::node::stop::take_down;

/// Jobs that one shard may have on their way to another; a full ring holds back the sender.
const MESH_CAPACITY: usize = 1024;

/// The process's exit code when a shard other than the first cannot start.
pub const EXIT_SHARD_FAILED: i32 = 71;

/// How long a start waits for a port that a killed broker is still about to give back.
const PORT_PATIENCE: Duration = Duration::from_secs(2);

/// Entries of each shard's submission queue.
const RING_ENTRIES: u32 = 1024;

/// What every shard's thread gets.
#[derive(Clone)]
struct Start {
    options: StartOptions,
    board: Arc<StatsBoard>,
    readiness: Readiness,
    ports: Arc<Mutex<Vec<Option<ShardPorts<UringEffects>>>>>,
    banner: Arc<Banner>,
    log_format: LogFormat,
    /// Where the first shard hears that the process has been told to end.
    stop: Arc<Mutex<Option<InjectorPort<Signal>>>>,
    shards: usize,
    /// Why the broker did not come up.
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

/// Serves until one of `signals` ends the process.
///
/// # Errors
/// What keeps the broker from starting, in words for its owner.
pub fn serve(
    config: BrokerConfig,
    signals: Signals,
    loggers: Arc<Loggers>,
    log_format: LogFormat,
) -> anyhow::Result<()> {
    let descriptors = descriptors();
    let allowed = allowed_cores().map_err(anyhow::Error::msg)?;
    let plan = StartPlan::new(config, &allowed, &Resources::read()).map_err(anyhow::Error::msg)?;
    let StartPlan { config, cores, memory, .. } = &plan;
    let read_cache_bytes = memory.read_cache_bytes;
    enough_descriptors(descriptors, cores.list.len()).map_err(anyhow::Error::msg)?;
    let listen = addresses(config)?;
    warn_of_exposure(&listen);
    tell_settings(config);
    let readiness = Readiness::default();
    let board = Arc::new(StatsBoard::new(cores.list.len()));
    let admin = match config.admin_listen() {
        Some(address) => {
            let source = Arc::clone(&board) as Arc<dyn crate::admin::StatsSource>;
            let started = AdminServer::start(address, source, readiness.clone());
            Some(started.with_context(|| format!("cannot listen on {address} for admin HTTP"))?)
        }
        None => None,
    };
    let banner = Banner {
        version: crate::cli::VERSION,
        cores: cores.clone(),
        memory: memory.clone(),
        data_dir: config.log_dir().to_owned(),
        io_mode: IoMode::probe(config.log_dir()).map_err(anyhow::Error::msg)?,
        listeners: Vec::new(),
        admin: admin.as_ref().map(|admin| admin.local_addr().to_string()),
    };
    let shards = cores.list.len();
    let ports = shard_ports(shards, MESH_CAPACITY).into_iter().map(Some).collect();
    let options: Vec<ShardOptions> = cores
        .list
        .iter()
        .map(|core| shard_options(config, read_cache_bytes, cores.is_pinned.then_some(*core)))
        .collect();
    let start = Start {
        options: StartOptions {
            config: Arc::new(config.clone()),
            listen,
            lock: true,
            descriptors,
            read_cache_bytes,
            loggers,
        },
        board,
        readiness,
        ports: Arc::new(Mutex::new(ports)),
        banner: Arc::new(banner),
        log_format,
        stop: Arc::default(),
        shards,
        failure: Arc::default(),
    };
    let failure = Arc::clone(&start.failure);
    let (stop, stopped) = injector(1);
    *start.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(stopped);
    std::thread::Builder::new().name("signals".into()).spawn(move || pass_on(&signals, &stop))?;
    let running = run_shards(options, move |index, effects| run_shard(index, effects, start.clone()))
        .context("a shard could not be set up; `millrace doctor` says what the system lacks")?;
    running.join();
    let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    failure.map_or(Ok(()), Err)
}

/// How many descriptors the process may have.
fn descriptors() -> usize {
    match raise_descriptor_limit() {
        Ok(descriptors) => usize::try_from(descriptors).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            usize::MAX
        }
    }
}

/// Descriptors of the process itself, and of each shard: below that, logs could not all be opened, nor connections served.
const DESCRIPTORS_MIN: usize = 64;
const DESCRIPTORS_PER_SHARD_MIN: usize = 64;

/// Refuses a start that would run out of descriptors in its midst.
fn enough_descriptors(descriptors: usize, shards: usize) -> Result<(), String> {
    let needed = DESCRIPTORS_MIN + shards * DESCRIPTORS_PER_SHARD_MIN;
    if descriptors >= needed {
        return Ok(());
    }
    Err(format!(
        "only {descriptors} files may be open at a time, at least {needed} are needed on {shards} cores: raise the limit (`ulimit -n`, LimitNOFILE, --ulimit nofile), or use fewer cores"
    ))
}

/// Tells the first shard about the first signal. Further ones change nothing: supervisors and terminals send several.
fn pass_on(signals: &Signals, stop: &Injector<Signal>) {
    let mut told = false;
    while let Ok(signal) = signals.wait() {
        if told {
            tracing::warn!(
                signal = signal.name(),
                "already shutting down; SIGKILL would end the broker at once, and the next start recover its logs"
            );
        } else {
            // Nobody takes it if the broker ends of itself.
            let _ending = stop.try_send(signal);
            told = true;
        }
    }
}

fn shard_options(config: &BrokerConfig, read_cache_bytes: u64, core: Option<usize>) -> ShardOptions {
    let read_cache_bytes = usize::try_from(read_cache_bytes).unwrap_or(usize::MAX);
    ShardOptions {
        core,
        ring_entries: RING_ENTRIES,
        // The rest is for requests on their way in.
        buffer_budget_bytes: (config.memory_per_shard_bytes() / 4 * 3).saturating_add(read_cache_bytes),
        spin: config.spin(),
        stall_threshold: config.stall_threshold(),
        ..ShardOptions::default()
    }
}

fn addresses(config: &BrokerConfig) -> anyhow::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for listener in config.listeners() {
        let text = listener.address();
        let address = if listener.host.is_empty() {
            all_interfaces(listener.port)
        } else {
            let resolved = text.to_socket_addrs().with_context(|| format!("cannot resolve {text}"))?;
            let Some(address) = resolved.into_iter().next() else { bail!("{text} has no address") };
            address
        };
        wait_for_port(address, PORT_PATIENCE)?;
        addresses.push(address);
    }
    Ok(addresses)
}

/// The address that takes IPv6 and IPv4 clients, where there is IPv6.
fn all_interfaces(port: u16) -> SocketAddr {
    let has_v6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    let ip = if has_v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    SocketAddr::new(ip, port)
}

/// There is no security yet, so whoever reaches a port may do everything.
fn warn_of_exposure(listen: &[SocketAddr]) {
    let open: Vec<String> =
        listen.iter().filter(|address| !address.ip().is_loopback()).map(ToString::to_string).collect();
    if !open.is_empty() {
        tracing::warn!(
            listening = open.join(","),
            "other machines can connect, and there is no authentication and no encryption: whoever reaches this port can \
             read, write and delete everything; keep it within a trusted network"
        );
    }
}

/// What somebody, or the machine, has set otherwise than the table of settings.
fn tell_settings(config: &BrokerConfig) {
    let settings: Vec<String> = effective_settings(config, &StaticSettings::default())
        .into_iter()
        .filter(|setting| !setting.is_default)
        .map(|setting| format!("{}={}", setting.name, setting.value))
        .collect();
    tracing::info!(settings = settings.join(" "), "settings that are not defaults");
}

async fn run_shard(index: usize, effects: UringEffects, start: Start) {
    let ports = {
        let mut ports = start.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports[index].take().expect("each shard takes its own ports once")
    };
    let outcome = if index == 0 {
        run_first(effects, &start, ports).await
    } else {
        run_other(index, effects, &start, ports).await
    };
    if let Err(error) = outcome {
        if index != 0 {
            // The others wait for this shard and would never come up.
            logging::tell(start.log_format, &format!("shard {index} cannot start: {error:#}"));
            logging::flush();
            std::process::exit(EXIT_SHARD_FAILED);
        }
        start.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

async fn run_first(
    effects: UringEffects,
    start: &Start,
    ports: ShardPorts<UringEffects>,
) -> anyhow::Result<()> {
    let stop = start.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
    let stop = stop.expect("the first shard starts once");
    let shard = start_first(effects, &start.options, ports, start.shards).await?;
    spawn_publisher(&shard, start);
    let outcome = match bring_up(&shard, &start.options).await {
        Ok(bound) => {
            let banner = Banner {
                listeners: bound.iter().map(ToString::to_string).collect(),
                ..(*start.banner).clone()
            };
            match start.log_format {
                LogFormat::Text => logging::say(&banner.to_string()),
                LogFormat::Json => banner.log(),
            }
            start.readiness.set(true);
            let signal = stop.recv().await;
            tracing::info!(signal = signal.map(Signal::name), "shutting down");
            Ok(())
        }
        Err(error) => Err(error),
    };
    start.readiness.set(false);
    let began = shard.services.effects.clock().now();
    take_down(&shard).await;
    tracing::info!(took_ms = shard.services.effects.clock().now().since(began).as_millis(), "shut down");
    outcome
}

async fn run_other(
    index: usize,
    effects: UringEffects,
    start: &Start,
    ports: ShardPorts<UringEffects>,
) -> anyhow::Result<()> {
    let Some(shard) = start_other(index, effects, &start.options, ports).await? else { return Ok(()) };
    spawn_publisher(&shard, start);
    shard.connections.ended.notified().await;
    Ok(())
}

fn spawn_publisher(shard: &Rc<Shard<UringEffects>>, start: &Start) {
    let services = Rc::clone(&shard.services);
    let (effects, board) = (services.effects.clone(), Arc::clone(&start.board));
    let read_cache_bytes = start.options.read_cache_bytes;
    let executor = move || effects.stats().executor;
    shard.services.effects.spawn(publish(services, read_cache_bytes, board, executor));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_without_descriptors_is_refused() {
        for (descriptors, shards, enough) in
            [(32, 1, false), (127, 1, false), (128, 1, true), (256, 4, false)]
        {
            assert_eq!(enough_descriptors(descriptors, shards).is_ok(), enough, "{descriptors} {shards}");
        }
    }
}
