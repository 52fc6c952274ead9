//! Connections: frames come out as a plain splitter would cut them, whatever the pieces they arrive in; requests start
//! by the rule of overlap; responses leave in the order of the requests.

use bytes::Bytes;
use net::protocol::Segment;
use net::{Exchange, ExchangeLimits, Turn};

use crate::Mutator;

const LIMITS: ExchangeLimits =
    ExchangeLimits { request_bytes_max: 1000, in_flight_max: 4, out_bytes_max: 64, read_bytes_max: 64 };

pub(crate) fn case(mutator: &mut Mutator) {
    let wire = wire(mutator);
    let (frames, broken) = split(&wire);
    let mut client = Client { exchange: Exchange::new(LIMITS), running: Vec::new(), started: 0, answered: 0 };
    let mut rest = &wire[..];
    // Each round receives, starts, completes or sends something; thrice as many as could be needed.
    for _ in 0..(wire.len() + frames.len()) * 3 + 100 {
        if client.exchange.wants_read() && !rest.is_empty() {
            let piece = rest.len().min(mutator.below(200) + 1);
            let mut buffer = client.exchange.take_buffer(usize::MAX);
            assert!(buffer.capacity() > buffer.len(), "room to receive into");
            let piece = piece.min(buffer.capacity() - buffer.len());
            buffer.extend_from_slice(&rest[..piece]);
            client.exchange.received(buffer);
            rest = &rest[piece..];
        }
        let stopped = client.start(&frames);
        if let Some(index) = (!client.running.is_empty()).then(|| mutator.below(client.running.len())) {
            client.complete(index);
        }
        client.send();
        let done = client.answered == frames.len() && (rest.is_empty() || stopped);
        if done && client.exchange.is_idle() {
            assert_eq!(stopped, broken, "an error exactly when the bytes are no frames");
            return;
        }
    }
    panic!("{} of {} requests were answered", client.answered, frames.len());
}

struct Client {
    exchange: Exchange,
    running: Vec<(Turn, usize, bool)>,
    started: usize,
    answered: usize,
}

impl Client {
    /// Starts all that may start; says whether its bytes were found broken.
    fn start(&mut self, frames: &[&[u8]]) -> bool {
        loop {
            match self.exchange.next_request() {
                Err(_) => return true,
                Ok(None) => return false,
                Ok(Some(request)) => {
                    assert_eq!(request.frame, frames[self.started], "the next frame, whole");
                    let produce = request.frame.starts_with(&[0, 0]);
                    let alone = self.running.iter().all(|(.., overlaps)| produce && *overlaps);
                    assert!(alone, "only Produce runs beside Produce");
                    self.running.push((request.turn, self.started, produce));
                    self.started += 1;
                    assert!(self.exchange.in_flight() <= LIMITS.in_flight_max);
                }
            }
        }
    }

    fn complete(&mut self, index: usize) {
        let (turn, number, _) = self.running.swap_remove(index);
        let number = u64::try_from(number).expect("small").to_be_bytes();
        self.exchange.complete(turn, vec![Segment::Bytes(Bytes::copy_from_slice(&number))]);
    }

    fn send(&mut self) {
        while let Some(response) = self.exchange.next_ready() {
            let number = u64::try_from(self.answered).expect("small").to_be_bytes();
            assert_eq!(response, [Segment::Bytes(Bytes::copy_from_slice(&number))], "in request order");
            self.exchange.sent(8);
            self.answered += 1;
        }
    }
}

/// Frames of Produce and of other requests, now and then with a size that lies.
fn wire(mutator: &mut Mutator) -> Vec<u8> {
    let mut wire = Vec::new();
    for _ in 0..mutator.below(12) {
        let mut frame = vec![0, *mutator.pick(&[0, 0, 0, 3])];
        frame.resize(1 + mutator.below(*mutator.clone().pick(&[8, 100, 999])), 7);
        wire.extend(u32::try_from(frame.len()).expect("small").to_be_bytes());
        wire.extend(frame);
    }
    if mutator.below(2) == 0 {
        mutator.mutate(&mut wire);
    }
    wire
}

/// The whole frames before the end or the first impossible size, and whether there is one.
fn split(mut wire: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut frames = Vec::new();
    while let Some((size, rest)) = wire.split_first_chunk::<4>() {
        let size = usize::try_from(i32::from_be_bytes(*size)).unwrap_or(0);
        if size == 0 || size > LIMITS.request_bytes_max {
            return (frames, true);
        }
        let Some((frame, rest)) = rest.split_at_checked(size) else { break };
        frames.push(frame);
        wire = rest;
    }
    (frames, false)
}
