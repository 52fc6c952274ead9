//! Listeners: every shard has a socket for each, and the kernel deals the connections out.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use runtime::{Clock, Effects, ListenOptions, Listener, Net, Stream};

use crate::api::services::ShardServices;
use crate::clients::connections::Connections;
use crate::clients::transport::Plain;

/// Opens this shard's socket of the listener `name`.
///
/// # Errors
/// The address cannot be listened on.
pub fn listen<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    connections: &Rc<Connections>,
    name: Arc<str>,
    address: SocketAddr,
    v6_only: bool,
) -> Result<SocketAddr, String> {
    let backlog = i32::try_from(shard.config().socket_backlog()).unwrap_or(i32::MAX);
    let options = ListenOptions { reuse_port: true, backlog, v6_only };
    let socket = shard.effects.net().listen(address, options).map_err(|error| error.to_string())?;
    let bound = socket.local_addr();
    shard.effects.spawn(accept(Rc::clone(shard), Rc::clone(connections), socket, name));
    Ok(bound)
}

async fn accept<E: Effects>(
    shard: Rc<ShardServices<E>>,
    connections: Rc<Connections>,
    socket: <E::Net as Net>::Listener,
    name: Arc<str>,
) {
    while !shard.stopping() {
        let accepted = {
            let accept = std::pin::pin!(socket.accept());
            let stopping = std::pin::pin!(connections.stopping.notified());
            match select(accept, stopping).await {
                Either::Left((accepted, _)) => accepted,
                Either::Right(_) => return,
            }
        };
        match accepted {
            Ok(stream) => {
                if shard.stopping() {
                    continue;
                }
                if connections.is_full(&shard) {
                    shard.stats.refused_connection();
                } else {
                    let addresses = [stream.local_addr(), stream.peer_addr()];
                    connections.add(&shard, Plain::new(shard.effects.clone(), stream), &name, addresses);
                }
            }
            Err(error) => {
                shard.stats.refused_connection();
                tracing::warn!(%error, "cannot accept connections");
                let clock = shard.effects.clock();
                clock.sleep_until(clock.now() + ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The pause after the system refused to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
