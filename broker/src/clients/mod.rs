//! Connections of clients: listeners, requests on their way in, responses on their way out, and the memory of both.

pub mod closing_lines;
pub(crate) mod connection;
pub(crate) mod connection_end;
pub mod connections;
pub(crate) mod inbound_memory;
pub mod listener;
pub(crate) mod outgoing;
pub(crate) mod response_sender;
pub mod slow_arrivals;
pub mod transport;
