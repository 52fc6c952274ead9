//! A non-blocking connection that is read by whole frames, and the epoll that watches many of them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::event::{Timespec, epoll};

use crate::clock::{Nanos, SECOND};
use crate::wire::FRAME_BYTES_MAX;

/// One connection. Frames are read into one buffer that grows to the largest frame.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    inbox: Vec<u8>,
    start: usize,
    end: usize,
    written: usize,
    /// Whether the poller watches for output; kept by whoever drives the connection.
    pub(crate) output_watched: bool,
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes, and perhaps more are waiting.
    More,
    /// Nothing further for now.
    Drained,
    /// The peer has closed.
    Closed,
}

impl Conn {
    /// Connects and switches to non-blocking.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)
            .with_context(|| format!("connecting to {address}"))?;
        Self::new(stream)
    }

    /// Takes over a connected socket.
    pub(crate) fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, inbox: vec![0; INBOX_BYTES], start: 0, end: 0, written: 0, output_watched: false })
    }

    /// Reads once into the inbox.
    pub(crate) fn receive(&mut self) -> Result<Received> {
        self.make_room()?;
        match self.stream.read(&mut self.inbox[self.end..]) {
            Ok(0) => Ok(Received::Closed),
            Ok(count) => {
                self.end += count;
                Ok(if self.end == self.inbox.len() { Received::More } else { Received::Drained })
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(Received::Drained),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(Received::Closed),
                _ => Err(error).context("reading from the broker"),
            },
        }
    }

    /// The place of the next whole frame, without its size field; it is consumed.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Range<usize>>> {
        let Some(len) = self.frame_len()? else { return Ok(None) };
        if self.end - self.start < 4 + len {
            return Ok(None);
        }
        let frame = self.start + 4..self.start + 4 + len;
        self.start = frame.end;
        Ok(Some(frame))
    }

    /// The bytes of a frame that [`Self::next_frame`] named; valid until the next [`Self::receive`].
    pub(crate) fn frame(&self, place: Range<usize>) -> &[u8] {
        &self.inbox[place]
    }

    /// Writes as much as the socket takes, going on where the last call with the same bytes ended.
    /// True when all are written.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<bool> {
        while self.written < bytes.len() {
            match self.stream.write(&bytes[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("writing to the broker"),
            }
        }
        self.written = 0;
        Ok(true)
    }

    /// The length of the frame at the front, once its size field is there.
    fn frame_len(&self) -> Result<Option<usize>> {
        let Some(size) = self.inbox[self.start..self.end].first_chunk::<4>() else { return Ok(None) };
        let len = usize::try_from(i32::from_be_bytes(*size)).context("negative frame length")?;
        ensure!(len <= FRAME_BYTES_MAX, "frame of {len} bytes, {FRAME_BYTES_MAX} allowed");
        Ok(Some(len))
    }

    /// Moves a partial frame to the front when it would not fit behind, and grows the inbox to hold it.
    fn make_room(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let need = self.frame_len()?.map_or(4, |len| 4 + len);
        if self.start + need > self.inbox.len() || self.end == self.inbox.len() {
            self.inbox.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if need > self.inbox.len() {
                self.inbox.resize(need, 0);
            }
        }
        Ok(())
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Level-triggered epoll.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// An empty set.
    pub(crate) fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll_create")?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Watches `source` for input; `token` names it in [`Self::wait`].
    pub(crate) fn add(&self, source: impl AsFd, token: u64) -> Result<()> {
        let data = epoll::EventData::new_u64(token);
        epoll::add(&self.epoll, source, data, epoll::EventFlags::IN).context("epoll_ctl")
    }

    /// Watches for output as well, or no longer.
    pub(crate) fn watch_output(&self, source: impl AsFd, token: u64, output: bool) -> Result<()> {
        let data = epoll::EventData::new_u64(token);
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, output);
        epoll::modify(&self.epoll, source, data, flags).context("epoll_ctl")
    }

    /// Waits at most `timeout` and pushes the tokens of the sources that are ready. The kernel counts in
    /// milliseconds here, so that the last of them are looked at without sleeping: a late send would be taken for latency.
    pub(crate) fn wait(&mut self, timeout: Nanos, ready: &mut Vec<u64>) -> Result<()> {
        let timeout = if timeout < BUSY { 0 } else { timeout - BUSY / 2 };
        let timeout =
            Timespec { tv_sec: i64::try_from(timeout / SECOND)?, tv_nsec: i64::try_from(timeout % SECOND)? };
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error).context("epoll_wait"),
        }
        ready.extend(self.events.iter().map(|event| {
            let data = event.data;
            data.u64()
        }));
        Ok(())
    }
}

/// Waits shorter than this are busy.
const BUSY: Nanos = 2_000_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// First size of an inbox: it stays in the second-level cache.
const INBOX_BYTES: usize = 256 * 1024;
const EVENTS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, Conn) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, Conn::new(listener.accept().unwrap().0).unwrap())
    }

    /// Waits for input, then reads until `count` frames are there.
    fn frames(conn: &mut Conn, count: usize) -> Vec<Vec<u8>> {
        let mut poller = Poller::new().unwrap();
        poller.add(&*conn, 1).unwrap();
        let mut frames = Vec::new();
        while frames.len() < count {
            poller.wait(10 * SECOND, &mut Vec::new()).unwrap();
            assert_ne!(conn.receive().unwrap(), Received::Closed);
            while let Some(place) = conn.next_frame().unwrap() {
                frames.push(conn.frame(place).to_vec());
            }
        }
        frames
    }

    #[test]
    fn frames_of_any_size_arrive_whole() {
        let (mut client, mut conn) = pair();
        let sizes = [0, 1, INBOX_BYTES - 4, 3, 1_000_000, 5];
        let mut stream = Vec::new();
        for (size, fill) in sizes.iter().zip(0u8..) {
            stream.extend_from_slice(&i32::try_from(*size).unwrap().to_be_bytes());
            stream.extend(std::iter::repeat_n(fill, *size));
        }
        let writer = std::thread::spawn(move || client.write_all(&stream).map(|()| client));
        for ((frame, size), fill) in frames(&mut conn, sizes.len()).iter().zip(sizes).zip(0u8..) {
            assert!(frame.len() == size && frame.iter().all(|&byte| byte == fill));
        }
        drop(writer.join().unwrap().unwrap());
        assert_eq!(conn.receive().unwrap(), Received::Closed);
    }

    #[test]
    fn absurd_frame_lengths_are_refused() {
        for size in [-1i32, i32::MAX] {
            let (mut client, mut conn) = pair();
            client.write_all(&size.to_be_bytes()).unwrap();
            let mut poller = Poller::new().unwrap();
            poller.add(&conn, 1).unwrap();
            poller.wait(10 * SECOND, &mut Vec::new()).unwrap();
            conn.receive().unwrap();
            assert!(conn.next_frame().is_err());
        }
    }
}
