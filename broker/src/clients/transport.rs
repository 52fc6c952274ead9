//! What a connection's bytes go through between the protocol and the socket. Connections know no socket, and handlers no transport:
//! what a response is made of, ranges of files among it, is the same for every kind.

use std::io;

use bytes::{Bytes, BytesMut};
use runtime::{Disk, Effects, Net, Stream};

/// One client's connection, from the bytes of requests and responses down to the socket. Kinds differ in what they make of the
/// bytes on the wire; which kind a connection has is settled when it is accepted.
///
/// One task may receive while another sends; each does one thing at a time.
pub trait Transport<E: Effects>: 'static {
    /// Receives into the spare capacity of `buffer` (which must not be empty) and appends; 0 bytes: the client has closed its
    /// side. What was received beyond the capacity is kept for the next call.
    fn recv(&self, buffer: BytesMut) -> impl Future<Output = (io::Result<usize>, BytesMut)>;

    /// Sends all parts, one behind the other, but ends when nothing is taken until the future that `patience` makes completes.
    /// Yields how many bytes were taken: those are never sent again; the parts are dropped.
    ///
    /// # Errors
    /// The connection is gone.
    fn send_while<F: Future<Output = ()>>(
        &self,
        parts: Vec<Bytes>,
        patience: impl FnMut() -> F,
    ) -> impl Future<Output = io::Result<usize>>;

    /// Waits until more is taken, or the connection has ended.
    ///
    /// # Errors
    /// The connection is gone.
    fn writable(&self) -> impl Future<Output = io::Result<()>>;

    /// Sends a range of a file, by sendfile where the bytes go out as they are.
    ///
    /// # Errors
    /// The connection is gone, or the file has no such range.
    fn send_file(
        &self,
        file: &<E::Disk as Disk>::File,
        position: u64,
        length: u64,
    ) -> impl Future<Output = io::Result<()>>;

    /// Tells the client that nothing more will be sent; it may go on sending.
    fn end_sending(&self) -> impl Future<Output = ()>;

    /// Ends both directions at once; what is under way completes.
    fn abort(&self);
}

/// Bytes as they are, straight to the socket.
pub(crate) struct Plain<E: Effects> {
    effects: E,
    stream: <E::Net as Net>::Stream,
}

impl<E: Effects> Plain<E> {
    pub(crate) const fn new(effects: E, stream: <E::Net as Net>::Stream) -> Self {
        Self { effects, stream }
    }
}

impl<E: Effects> Transport<E> for Plain<E> {
    fn recv(&self, buffer: BytesMut) -> impl Future<Output = (io::Result<usize>, BytesMut)> {
        self.stream.recv(buffer)
    }

    fn send_while<F: Future<Output = ()>>(
        &self,
        parts: Vec<Bytes>,
        patience: impl FnMut() -> F,
    ) -> impl Future<Output = io::Result<usize>> {
        self.stream.send_while(parts, patience)
    }

    fn writable(&self) -> impl Future<Output = io::Result<()>> {
        self.stream.writable()
    }

    fn send_file(
        &self,
        file: &<E::Disk as Disk>::File,
        position: u64,
        length: u64,
    ) -> impl Future<Output = io::Result<()>> {
        self.effects.send_file(&self.stream, file, position, length)
    }

    async fn end_sending(&self) {
        self.stream.shutdown_send();
    }

    fn abort(&self) {
        self.stream.shutdown();
    }
}
