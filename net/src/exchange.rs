//! One client connection without its socket: bytes go in, requests that may start come out, responses go in,
//! and come out in the order of the requests.
//!
//! The owner's loop: receive into [`Exchange::take_buffer`] while [`Exchange::wants_read`], start what
//! [`Exchange::next_request`] yields, send what [`Exchange::next_ready`] yields and report it by
//! [`Exchange::sent`]. Both are worth asking again after every completion.

use bytes::{Bytes, BytesMut};

use crate::frame_decoder::{FrameDecoder, FrameError};
use crate::pipeline::{Concurrency, Pipeline, Turn};
use crate::protocol::{ApiKey, Segment};

/// The limits of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeLimits {
    /// The largest request: `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// Requests that are being worked on or whose response waits for its turn; further ones stay in the socket.
    pub in_flight_max: usize,
    /// Bytes of responses that wait for the socket; while there are as many, no request starts. A single response
    /// may be larger.
    pub out_bytes_max: usize,
    /// Room for one receive on a busy connection; an idle one has less.
    pub read_bytes_max: usize,
}

impl Default for ExchangeLimits {
    fn default() -> Self {
        Self {
            request_bytes_max: 104_857_600,
            in_flight_max: 64,
            out_bytes_max: 8 << 20,
            read_bytes_max: 64 << 10,
        }
    }
}

/// A request that may start now.
#[derive(Debug, PartialEq, Eq)]
pub struct StartedRequest {
    /// Its place in the order of responses.
    pub turn: Turn,
    /// Header and body: a slice of what was received.
    pub frame: Bytes,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Exchange {
    decoder: FrameDecoder,
    pipeline: Pipeline,
}

impl Exchange {
    /// A new connection, on which nothing has happened.
    #[must_use]
    pub fn new(limits: ExchangeLimits) -> Self {
        Self {
            decoder: FrameDecoder::new(limits.request_bytes_max, limits.read_bytes_max),
            pipeline: Pipeline::new(limits.in_flight_max, limits.out_bytes_max),
        }
    }

    /// The next request, if all of it is there and it may start beside those that run.
    ///
    /// # Errors
    /// When the bytes are no frames; requests before that point have all come out. The connection has to be closed
    /// once their responses have left.
    pub fn next_request(&mut self) -> Result<Option<StartedRequest>, FrameError> {
        let Some(frame) = self.decoder.peek_frame()? else { return Ok(None) };
        let Some(turn) = self.pipeline.begin(concurrency(frame)) else { return Ok(None) };
        let frame = self.decoder.next_frame()?;
        Ok(frame.map(|frame| StartedRequest { turn, frame }))
    }

    /// Whether more bytes are of use: not while a whole request waits for its turn, so that a client that sends
    /// faster than it is served is held back by TCP.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        matches!(self.decoder.peek_frame(), Ok(None))
    }

    /// How many bytes the next receive should have room for; see [`FrameDecoder::wanted`].
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.decoder.wanted()
    }

    /// The size of the next request, when it has begun to arrive.
    #[must_use]
    pub fn next_request_bytes(&self) -> Option<usize> {
        self.decoder.next_frame_bytes()
    }

    /// Lends the buffer to receive into; it has at least some room, and as much as [`Exchange::wanted`] says unless
    /// that is more than `room_max`.
    #[must_use]
    pub fn take_buffer(&mut self, room_max: usize) -> BytesMut {
        self.decoder.take_buffer(room_max)
    }

    /// Takes back the buffer, with what was received at its end.
    pub fn received(&mut self, buffer: BytesMut) {
        self.decoder.received(buffer);
    }

    /// Completes a request. No segments: it has no response, as a Produce with acks=0.
    pub fn complete(&mut self, turn: Turn, response: Vec<Segment>) {
        self.pipeline.complete(turn, response);
    }

    /// The response whose turn it is, if it is complete.
    pub fn next_ready(&mut self) -> Option<Vec<Segment>> {
        self.pipeline.next_ready()
    }

    /// Notes that `bytes` of the responses handed out have been written to the socket.
    pub fn sent(&mut self, bytes: usize) {
        self.pipeline.sent(bytes);
    }

    /// Requests whose response has not been handed out.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.pipeline.in_flight()
    }

    /// Bytes of responses that the socket has not taken yet.
    #[must_use]
    pub fn out_bytes(&self) -> usize {
        self.pipeline.out_bytes()
    }

    /// Received bytes that are no request yet.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.decoder.buffered_bytes()
    }

    /// Whether nothing is being worked on and nothing waits to be sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pipeline.is_idle()
    }
}

/// The rule for a frame, by the API key that it starts with.
fn concurrency(frame: &[u8]) -> Concurrency {
    let key = frame.first_chunk().map(|bytes| i16::from_be_bytes(*bytes));
    Concurrency::of(key.and_then(|key| ApiKey::try_from(key).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(api_key: i16, rest: &[u8]) -> Vec<u8> {
        let size = u32::try_from(rest.len() + 2).unwrap();
        [&size.to_be_bytes()[..], &api_key.to_be_bytes(), rest].concat()
    }

    fn receive(exchange: &mut Exchange, bytes: &[u8]) {
        let mut buffer = exchange.take_buffer(usize::MAX);
        buffer.extend_from_slice(bytes);
        exchange.received(buffer);
    }

    fn response(byte: u8) -> Vec<Segment> {
        vec![Segment::Bytes(Bytes::copy_from_slice(&[byte]))]
    }

    #[test]
    fn a_request_that_may_not_start_stays_and_stops_reading() {
        let mut exchange = Exchange::new(ExchangeLimits::default());
        let wire = [frame(0, b"a"), frame(0, b"b"), frame(3, b"c"), frame(0, b"d")].concat();
        receive(&mut exchange, &wire);
        let a = exchange.next_request().unwrap().unwrap();
        let b = exchange.next_request().unwrap().unwrap();
        assert_eq!((&a.frame[2..], &b.frame[2..]), (&b"a"[..], &b"b"[..]));
        assert_eq!(exchange.next_request(), Ok(None), "Metadata waits for both");
        assert!(!exchange.wants_read());
        exchange.complete(b.turn, response(b'b'));
        assert_eq!(exchange.next_ready(), None);
        exchange.complete(a.turn, response(b'a'));
        let c = exchange.next_request().unwrap().unwrap();
        assert_eq!(&c.frame[2..], b"c");
        assert_eq!(exchange.next_request(), Ok(None), "nothing beside Metadata");
        exchange.complete(c.turn, response(b'c'));
        let d = exchange.next_request().unwrap().unwrap();
        assert!(exchange.wants_read());
        exchange.complete(d.turn, Vec::new());
        for byte in [b'a', b'b', b'c'] {
            assert_eq!(exchange.next_ready(), Some(response(byte)));
        }
        assert_eq!(exchange.next_ready(), None, "d has no response");
        exchange.sent(3);
        assert!(exchange.is_idle());
        assert_eq!((exchange.buffered_bytes(), exchange.out_bytes()), (0, 0));
    }

    #[test]
    fn requests_before_a_bad_frame_are_served() {
        let mut exchange = Exchange::new(ExchangeLimits::default());
        receive(&mut exchange, &[frame(0, b"a"), vec![0xff; 8]].concat());
        let a = exchange.next_request().unwrap().unwrap();
        assert_eq!(exchange.next_request(), Err(FrameError::NotPositive(-1)));
        assert!(!exchange.wants_read());
        exchange.complete(a.turn, response(b'a'));
        assert_eq!(exchange.next_ready(), Some(response(b'a')));
    }

    #[test]
    fn a_frame_of_one_byte_is_handed_out_for_its_error() {
        let mut exchange = Exchange::new(ExchangeLimits::default());
        receive(&mut exchange, &[0, 0, 0, 1, 9]);
        assert_eq!(exchange.next_request().unwrap().unwrap().frame, &[9][..]);
    }
}
