//! Kafka on the wire: the generated protocol and the connection's state machine.
//!
//! This crate knows frames, messages and the order of responses; it does not know that partitions exist.
#![forbid(unsafe_code)]

pub mod protocol;
