//! Puts the broker together: shards, one handler per Kafka API, coordinators, controller, settings,
//! admin HTTP. Wire types stop at the handlers' door; inside, `model` nouns.
#![forbid(unsafe_code)]

pub mod admin;
pub mod calls;
pub mod cli;
pub mod config;
pub mod connection;
mod connection_end;
pub mod coordinator;
pub mod coordinators;
mod errors;
pub mod fetch_elements;
pub mod fetch_memory;
pub mod fetch_owners;
mod fetch_read;
pub mod fetch_session;
pub mod fetch_waits;
pub mod handlers;
pub mod logging;
pub mod memory_plan;
pub mod metadata;
pub mod offline_partitions;
pub mod outgoing;
pub mod partition;
pub mod process;
pub mod producer_ids;
pub mod reopening;
pub mod request;
pub mod request_memory;
mod response_sender;
pub mod server;
pub mod shard;
pub mod slow_arrivals;
pub mod start_plan;
pub mod stats;
pub mod stats_publisher;
pub mod topic_changes;
