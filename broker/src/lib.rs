//! Puts the broker together: shards, one handler per Kafka API, coordinators, controller, settings,
//! admin HTTP. Wire types stop at the handlers' door; inside, `model` nouns.
#![forbid(unsafe_code)]

pub mod admin;
pub mod api;
pub mod cli;
pub mod clients;
pub mod config;
pub mod controller;
pub mod coordination;
pub mod logging;
pub mod mesh;
pub mod metadata;
pub mod node;
pub mod replicas;
pub mod stats;
