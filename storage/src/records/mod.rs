//! The records that producers send: unpacked, walked over and judged before they are appended.
//!
//! Only what clients send is looked at; what the broker itself writes, and what it has stored, is believed. The batch that
//! is stored has the client's records, byte for byte; its header gets the largest timestamp that the walk found, as in
//! Kafka, so that whatever reads headers later (recovery, indexes, retention, look-ups) reads the truth.

mod check;
mod header_rules;
mod rules;
mod unpack;
mod walk;

pub use check::{ClientBatch, RecordChecker};
pub(crate) use check::{Reading, UNPACKED_BYTES_MAX, invalid};
pub(crate) use header_rules::check_counts;
pub(crate) use rules::Facts;
pub use rules::{BrokenRule, RecordRules};
pub(crate) use unpack::{PIECE_BYTES, Unpack};
pub(crate) use walk::Visit;
