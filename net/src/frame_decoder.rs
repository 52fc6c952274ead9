//! Cuts the bytes of a connection into frames, without copying what can stay where it was received.
//!
//! Bytes are received into the decoder's own buffer: [`FrameDecoder::take_buffer`] lends it with room for what is
//! wanted next, [`FrameDecoder::received`] gives it back. Frames are slices of it. When a frame does not fit into
//! the room that is left, the part that is there moves into a new buffer, once, and the rest is received behind it.

use bytes::{Buf, Bytes, BytesMut};

/// Why no further frame can come out of a connection. The connection has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A size of zero or less: there is no request without a header.
    #[error("frame of {0} bytes")]
    NotPositive(i32),
    /// A size beyond `socket.request.max.bytes`.
    #[error("frame of {size} bytes, at most {size_max} are allowed")]
    TooLarge {
        /// The announced size.
        size: usize,
        /// The limit.
        size_max: usize,
    },
    /// Bytes with which another protocol begins; as a size they would be too large.
    #[error("{0} instead of Kafka's protocol: this listener speaks plain Kafka")]
    OtherProtocol(&'static str),
}

/// The incoming side of a connection.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    size_max: usize,
    /// Room for a receive of which nothing is known; between `READ_BYTES_MIN` and `read_bytes_max`.
    read_bytes: usize,
    read_bytes_max: usize,
    /// The largest of the last frames with their sizes; sinks slowly while frames are smaller.
    frame_bytes: usize,
    /// What the lent buffer held, and the room it had.
    lent: (usize, usize),
}

impl FrameDecoder {
    /// Frames of at most `size_max` bytes (without the four of the size), received up to about `read_bytes_max` at a
    /// time. An idle connection offers far less, and more as soon as it is used.
    #[must_use]
    pub fn new(size_max: usize, read_bytes_max: usize) -> Self {
        let read_bytes_max = read_bytes_max.max(READ_BYTES_MIN);
        let buffer = BytesMut::new();
        Self { buffer, size_max, read_bytes: READ_BYTES_MIN, read_bytes_max, frame_bytes: 0, lent: (0, 0) }
    }

    /// The next whole frame, without its size, or `None` when more bytes are needed first.
    ///
    /// # Errors
    /// When the next frame's size is not acceptable; from then on, always.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(size) = self.whole_frame()? else { return Ok(None) };
        self.buffer.advance(SIZE_BYTES);
        self.frame_bytes = (self.frame_bytes - self.frame_bytes / 16).max(SIZE_BYTES + size);
        Ok(Some(self.buffer.split_to(size).freeze()))
    }

    /// The first bytes of the next whole frame, as [`FrameDecoder::next_frame`] would return it.
    ///
    /// # Errors
    /// As [`FrameDecoder::next_frame`].
    pub fn peek_frame(&self) -> Result<Option<&[u8]>, FrameError> {
        Ok(self.whole_frame()?.map(|size| &self.buffer[SIZE_BYTES..SIZE_BYTES + size]))
    }

    /// How many bytes the next receive should have room for. A frame of which only a part is there gets room for all
    /// of the rest; a very large one by doubling, so that a size alone does not take memory. While frames are large, room
    /// is made for one at a time, so that each one lies in a buffer of its own and is not moved.
    #[must_use]
    pub fn wanted(&self) -> usize {
        let large = self.frame_bytes >= LARGE_FRAME_BYTES;
        let Ok(Some(size)) = self.announced_size() else {
            return if large { self.frame_bytes.min(UNSEEN_BYTES_MAX) } else { self.read_bytes };
        };
        let missing = (size + SIZE_BYTES).saturating_sub(self.buffer.len());
        let room = missing.min(self.buffer.len().max(UNSEEN_BYTES_MAX));
        if large && size >= LARGE_FRAME_BYTES { room } else { room.max(self.read_bytes) }
    }

    /// The size of the next frame, when it has begun to arrive and can be.
    #[must_use]
    pub fn next_frame_bytes(&self) -> Option<usize> {
        self.announced_size().ok().flatten()
    }

    /// Lends the buffer to receive into, with [`FrameDecoder::wanted`] bytes of room, but not much more than `room_max`.
    #[must_use]
    pub fn take_buffer(&mut self, room_max: usize) -> BytesMut {
        let wanted = self.wanted().min(room_max);
        let mut buffer = std::mem::take(&mut self.buffer);
        let room = buffer.capacity() - buffer.len();
        if self.frame_bytes >= LARGE_FRAME_BYTES {
            if room < wanted {
                // Exactly as much as is wanted: what else a receive would bring belongs to the next frame.
                let mut exact = BytesMut::with_capacity(buffer.len() + wanted);
                exact.extend_from_slice(&buffer);
                buffer = exact;
            }
        } else if wanted > self.read_bytes || room < self.read_bytes / 4 {
            // Else a nearly full buffer is used up first: it saves an allocation for small requests. Not when a large
            // frame waits, whose part would move twice.
            buffer.reserve(wanted);
        }
        self.lent = (buffer.len(), buffer.capacity() - buffer.len());
        buffer
    }

    /// Takes back the buffer of [`FrameDecoder::take_buffer`], with what was received at its end.
    pub fn received(&mut self, buffer: BytesMut) {
        debug_assert!(self.buffer.is_empty(), "one receive at a time");
        let (held, room) = self.lent;
        let received = buffer.len().saturating_sub(held);
        if received >= room {
            self.read_bytes = (self.read_bytes * 4).min(self.read_bytes_max);
        } else if received < self.read_bytes / 8 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
        self.buffer = buffer;
    }

    /// Takes bytes that were received elsewhere, by copying them.
    pub fn receive_copy(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that are held and have not come out as frames.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    fn announced_size(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<SIZE_BYTES>() else { return Ok(None) };
        let announced = i32::from_be_bytes(*prefix);
        match usize::try_from(announced) {
            Ok(0) | Err(_) => Err(FrameError::NotPositive(announced)),
            Ok(size) if size > self.size_max => Err(other_protocol(*prefix)
                .map_or(FrameError::TooLarge { size, size_max: self.size_max }, FrameError::OtherProtocol)),
            Ok(size) => Ok(Some(size)),
        }
    }

    /// The size of the next frame when all of it is there.
    fn whole_frame(&self) -> Result<Option<usize>, FrameError> {
        Ok(self.announced_size()?.filter(|size| self.buffer.len() - SIZE_BYTES >= *size))
    }
}

/// What begins with these bytes, if they are told apart: the most common mistakes of a client's settings.
const fn other_protocol(start: [u8; SIZE_BYTES]) -> Option<&'static str> {
    match &start {
        [0x16, 3, 0..=4, _] => Some("a TLS handshake"),
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"DELE" | b"OPTI" | b"CONN" | b"PATC" | b"TRAC" => {
            Some("an HTTP request")
        }
        b"PRI " => Some("an HTTP/2 connection"),
        b"AMQP" => Some("an AMQP connection"),
        b"SSH-" => Some("an SSH connection"),
        _ => None,
    }
}

const SIZE_BYTES: usize = 4;

/// Room that an idle connection offers.
const READ_BYTES_MIN: usize = 2048;

/// From this size on a frame is received by itself.
const LARGE_FRAME_BYTES: usize = 16 << 10;

/// Room that a frame gets before any of it has arrived: the requests of ordinary clients fit (max.request.size is
/// 1 MiB by default); beyond it, room grows with what has really been received.
const UNSEEN_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(content: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(content.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes
    }

    /// Receives `bytes` in pieces of `piece` through the lent buffer and returns all frames.
    fn frames(bytes: &[u8], piece: usize) -> Vec<Bytes> {
        let mut decoder = FrameDecoder::new(1 << 20, 64);
        let mut frames = Vec::new();
        for chunk in bytes.chunks(piece) {
            let mut buffer = decoder.take_buffer(usize::MAX);
            buffer.extend_from_slice(chunk);
            decoder.received(buffer);
            while let Some(frame) = decoder.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        assert_eq!(decoder.buffered_bytes(), 0);
        frames
    }

    #[test]
    fn frames_come_out_whole_and_in_order_however_they_arrive() {
        let contents: Vec<Vec<u8>> = [1, 2, 63, 64, 65, 500, 1].iter().map(|n| vec![0x5a; *n]).collect();
        let wire: Vec<u8> = contents.iter().flat_map(|content| frame(content)).collect();
        for piece in 1..=wire.len() {
            assert_eq!(frames(&wire, piece), contents, "in pieces of {piece}");
        }
    }

    #[test]
    fn other_protocols_are_named() {
        for (start, expect) in [
            (&b"GET / HTTP/1.1"[..], FrameError::OtherProtocol("an HTTP request")),
            (b"\x16\x03\x01\x02\x00", FrameError::OtherProtocol("a TLS handshake")),
            (b"AMQP\0\0\x09\x01", FrameError::OtherProtocol("an AMQP connection")),
            (b"\x16\x04\x01\x02", FrameError::TooLarge { size: 0x1604_0102, size_max: 1 << 20 }),
        ] {
            let mut decoder = FrameDecoder::new(1 << 20, 64);
            decoder.receive_copy(start);
            assert_eq!(decoder.next_frame(), Err(expect));
        }
    }

    #[test]
    fn large_frames_of_one_size_are_never_moved() {
        let mut decoder = FrameDecoder::new(1 << 20, 64 << 10);
        let wire = frame(&[7; 70_000]).repeat(20);
        let mut rest = &wire[..];
        let mut start = std::ptr::null();
        let mut seen = 0;
        while seen < 20 {
            let held = decoder.buffered_bytes();
            let mut buffer = decoder.take_buffer(usize::MAX);
            if held == 0 {
                start = buffer.as_ptr();
            }
            let count = (buffer.capacity() - buffer.len()).min(rest.len()).min(40_000);
            buffer.extend_from_slice(&rest[..count]);
            rest = &rest[count..];
            decoder.received(buffer);
            while let Some(frame) = decoder.next_frame().unwrap() {
                seen += 1;
                // The first frames teach the size.
                assert!(seen <= 2 || frame.as_ptr() == start.wrapping_add(4), "frame {seen} was moved");
            }
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_errors_for_good() {
        let rows = [
            (0, FrameError::NotPositive(0)),
            (-1, FrameError::NotPositive(-1)),
            (i32::MIN, FrameError::NotPositive(i32::MIN)),
            (1001, FrameError::TooLarge { size: 1001, size_max: 1000 }),
            (i32::MAX, FrameError::TooLarge { size: 0x7fff_ffff, size_max: 1000 }),
        ];
        for (size, error) in rows {
            let mut decoder = FrameDecoder::new(1000, 64);
            decoder.receive_copy(&frame(b"before"));
            decoder.receive_copy(&i32::to_be_bytes(size));
            assert_eq!(decoder.next_frame().unwrap().unwrap(), &b"before"[..]);
            assert_eq!(decoder.next_frame(), Err(error));
            decoder.receive_copy(&frame(b"after"));
            assert_eq!(decoder.next_frame(), Err(error));
        }
    }

    #[test]
    fn a_large_frame_is_received_into_one_buffer() {
        let mut decoder = FrameDecoder::new(100 << 20, 4096);
        decoder.receive_copy(&(900_000_u32).to_be_bytes());
        decoder.receive_copy(&[1; 96]);
        assert_eq!(decoder.wanted(), 900_000 - 96);
        let mut buffer = decoder.take_buffer(usize::MAX);
        let place = buffer.as_ptr();
        buffer.resize(900_004, 2);
        assert_eq!(buffer.as_ptr(), place, "no second allocation");
        decoder.received(buffer);
        let frame = decoder.next_frame().unwrap().unwrap();
        assert_eq!(frame.as_ptr(), place.wrapping_add(4), "no copy");
    }

    #[test]
    fn room_follows_use() {
        let mut decoder = FrameDecoder::new(1 << 20, 64 << 10);
        assert_eq!(decoder.wanted(), READ_BYTES_MIN);
        for expect in [4 * READ_BYTES_MIN, 16 * READ_BYTES_MIN, 64 << 10, 64 << 10] {
            let mut buffer = decoder.take_buffer(usize::MAX);
            let room = buffer.capacity() - buffer.len();
            let small = frame(&[1; 1020]);
            buffer.extend_from_slice(&small.repeat(room / small.len()));
            decoder.received(buffer);
            while decoder.next_frame().unwrap().is_some() {}
            assert_eq!(decoder.wanted(), expect);
        }
        for _ in 0..10 {
            let mut buffer = decoder.take_buffer(usize::MAX);
            buffer.extend_from_slice(&frame(b"small"));
            decoder.received(buffer);
            assert!(decoder.next_frame().unwrap().is_some());
        }
        assert_eq!(decoder.wanted(), READ_BYTES_MIN);
    }

    #[test]
    fn an_announced_size_alone_takes_little_memory() {
        let mut decoder = FrameDecoder::new(100 << 20, 4096);
        decoder.receive_copy(&(100_u32 << 20).to_be_bytes());
        assert_eq!(decoder.wanted(), UNSEEN_BYTES_MAX);
        decoder.receive_copy(&vec![0; 3 << 20]);
        assert_eq!(decoder.wanted(), (3 << 20) + 4);
    }
}
