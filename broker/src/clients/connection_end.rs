//! The end of a connection that was answered to the last request.
//!
//! A socket that is closed with bytes in it takes back what it has sent: the peer gets a reset, and with it may lose answers
//! that it has not read. So the broker sends the end of its stream, and reads on until the peer has closed its side, too.

use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::{Either, select};
use runtime::{Clock, Effects};

use crate::clients::transport::Transport;

/// How long a peer may take to close its side.
pub(crate) const DISCARD_TIME_MAX: Duration = Duration::from_secs(1);

/// How much it may still send.
const DISCARD_BYTES_MAX: usize = 64 << 20;

/// Bytes received at a time.
const BUFFER_BYTES: usize = 4 << 10;

/// Reads what still arrives, to no purpose, until the peer has closed its side or has used up its time or its bytes.
pub(crate) async fn discard<E: Effects>(clock: &E::Clock, transport: &impl Transport<E>) {
    let deadline = clock.now() + DISCARD_TIME_MAX;
    let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
    let mut discarded = 0;
    while discarded < DISCARD_BYTES_MAX {
        let received = match select(pin!(transport.recv(buffer)), pin!(clock.sleep_until(deadline))).await {
            Either::Left((received, _)) => received,
            Either::Right(_) => return,
        };
        match received {
            (Ok(1..), filled) => {
                discarded += filled.len();
                buffer = filled;
                buffer.clear();
            }
            (Ok(0) | Err(_), _) => return,
        }
    }
}
