//! Kafka on the wire: the generated protocol and the connection's state machine.
//!
//! This crate knows frames, messages and the order of responses; it does not know that partitions exist.
#![forbid(unsafe_code)]

mod exchange;
mod frame_decoder;
mod pipeline;
pub mod protocol;

pub use exchange::{Exchange, ExchangeLimits, StartedRequest};
pub use frame_decoder::{FrameDecoder, FrameError};
pub use pipeline::{Concurrency, Pipeline, Turn};
