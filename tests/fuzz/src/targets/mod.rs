//! One file for each parser.

pub(crate) mod append;
mod batches;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod coordinator;
mod data_directory;
pub(crate) mod dump_log;
pub(crate) mod journal;
pub(crate) mod log_directory;
pub(crate) mod metadata_log;
pub(crate) mod record;
pub(crate) mod record_batch;
pub(crate) mod record_walk;
pub(crate) mod request;
pub(crate) mod response;

use std::sync::LazyLock;

use net::protocol::samples::{Schema, Shape, schemas};

use crate::Mutator;

static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(schemas);

/// A random message of one of these kinds: its schema, its version, its bytes.
fn sample(mutator: &mut Mutator, kinds: &[&str]) -> (&'static Schema, i16, Vec<u8>) {
    let schema = loop {
        let schema = mutator.pick(&SCHEMAS);
        if kinds.contains(&schema.kind.as_str()) {
            break schema;
        }
    };
    let versions: Vec<i16> = schema.versions.clone().collect();
    let version = *mutator.pick(&versions);
    let shape = *mutator.pick(&[Shape::Fullest, Shape::Random, Shape::Random]);
    let unknown_tags = mutator.below(4) == 0;
    (schema, version, schema.sample(version, mutator.next(), shape, unknown_tags).bytes)
}
