//! A whole broker on simulated disks, clocks and networks, and a client that speaks to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use broker::api::services::ShardServices;
use broker::config::BrokerConfig;
use broker::node::shard::Shard;
use broker::node::start::{StartOptions, bring_up, shard_ports, start_first, start_other};
use broker::node::stop::take_down;
use bytes::{BufMut, Bytes, BytesMut};
use net::FrameDecoder;
use net::protocol::{Decode, Encode, Request, Response, Segment, decode_response_frame, encode_request};
use runtime::sim::{SimEffects, SimWorld};
use runtime::{Effects, Net, Stream};

/// A running broker; dropping it does not stop it.
pub(crate) struct Broker {
    pub(crate) node: Rc<Shard<SimEffects>>,
    /// What its first shard has for handlers.
    pub(crate) shard: Rc<ShardServices<SimEffects>>,
    pub(crate) address: SocketAddr,
}

impl Broker {
    /// Starts a broker with `shards` shards on node `name`.
    pub(crate) async fn start(effects: SimEffects, shards: usize, settings: &[(&str, &str)]) -> Self {
        Self::start_for(effects, shards, settings, usize::MAX).await
    }

    /// The same with so many descriptors.
    pub(crate) async fn start_for(
        effects: SimEffects,
        shards: usize,
        settings: &[(&str, &str)],
        descriptors: usize,
    ) -> Self {
        Self::try_start(effects, shards, settings, descriptors).await.expect("the broker starts")
    }

    /// Starts a broker unless it refuses to.
    pub(crate) async fn try_start(
        effects: SimEffects,
        shards: usize,
        settings: &[(&str, &str)],
        descriptors: usize,
    ) -> Option<Self> {
        let mut all: BTreeMap<String, String> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        all.entry("log.dirs".into()).or_insert_with(|| "/data".into());
        let config = BrokerConfig::from_static(all).expect("the test's settings are valid");
        let ip = effects.net().ip();
        let listen = config.listeners().iter().map(|listener| SocketAddr::new(ip, listener.port)).collect();
        let options = StartOptions {
            config: Arc::new(config),
            listen,
            lock: false,
            descriptors,
            read_cache_bytes: 1 << 20,
            loggers: Arc::default(),
        };
        let mut ports = shard_ports(shards, 64).into_iter();
        let first = ports.next().expect("at least one shard");
        for (index, ports) in ports.enumerate() {
            let (effects, options) = (effects.shard(), options.clone());
            effects.clone().spawn(async move {
                let shard = start_other(index + 1, effects, &options, ports).await.expect("the shard starts");
                let Some(shard) = shard else { return };
                shard.connections.ended.notified().await;
            });
        }
        let node = start_first(effects, &options, first, shards).await.ok()?;
        let bound = bring_up(&node, &options).await.expect("the broker listens");
        let shard = Rc::clone(&node.services);
        Some(Self { node, shard, address: bound[0] })
    }

    /// Ends the broker in order.
    pub(crate) async fn stop(self) {
        take_down(&self.node).await;
    }
}

/// Runs `test` against a world of its own.
pub(crate) fn in_world<T>(seed: u64, test: impl AsyncFnOnce(SimWorld) -> T) -> T {
    let world = SimWorld::new(seed);
    let result = world.block_on(test(world.clone()));
    world.end();
    result
}

/// One connection to a broker.
pub(crate) struct Client {
    stream: <<SimEffects as Effects>::Net as Net>::Stream,
    decoder: FrameDecoder,
    correlation_id: i32,
}

impl Client {
    pub(crate) async fn connect(effects: &SimEffects, address: SocketAddr) -> Self {
        let stream = effects.net().connect(address).await.expect("the broker accepts");
        Self { stream, decoder: FrameDecoder::new(1 << 30, 4096), correlation_id: 0 }
    }

    /// Closes the connection.
    pub(crate) fn end(self) {
        self.stream.shutdown();
    }

    /// Sends a request and waits for its response; `None` if the connection ends instead.
    pub(crate) async fn call<'a, R>(&mut self, version: i16, request: &R) -> Option<R::Response>
    where
        R: Request<'a> + Encode,
        R::Response: Response + for<'b> Decode<'b>,
    {
        self.send(version, request).await?;
        self.response::<R::Response>(version).await
    }

    /// Sends a request only.
    pub(crate) async fn send<'a, R: Request<'a> + Encode>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Option<()> {
        self.correlation_id += 1;
        let frame = encode_request(version, self.correlation_id, Some("test"), request).expect("encodes");
        let parts = frame.into_iter().map(|segment| match segment {
            Segment::Bytes(bytes) => bytes,
            Segment::External { .. } => unreachable!("requests hold their records"),
        });
        self.stream.send(parts.collect()).await.ok()
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.send(vec![Bytes::copy_from_slice(bytes)]).await.ok()
    }

    /// Waits for the next response.
    pub(crate) async fn response<R: Response + for<'b> Decode<'b>>(&mut self, version: i16) -> Option<R> {
        let frame = self.frame().await?;
        let (_, response) =
            decode_response_frame(version, &frame).expect("the broker's responses are well-formed");
        Some(response)
    }

    /// Waits for the next frame, without its size; `None` when the connection has ended.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("the broker's frames are well-formed") {
                return Some(frame);
            }
            let buffer = self.decoder.take_buffer(usize::MAX);
            let (received, buffer) = self.stream.recv(buffer).await;
            self.decoder.received(buffer);
            if !matches!(received, Ok(1..)) {
                return None;
            }
        }
    }
}

/// A frame around `content`.
pub(crate) fn framed(content: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    bytes.put_i32(i32::try_from(content.len()).expect("short"));
    bytes.put_slice(content);
    bytes.to_vec()
}
