//! The whole broker in the simulator: what clients see, on any number of shards, across restarts, power cuts and faults.

mod admin_rules;
mod clean_stop;
mod damaged_groups;
mod damaged_metadata;
mod empty_answers;
mod every_version;
mod fetch_memory;
mod fetch_rules;
mod fetch_sessions;
mod first_start;
mod groups;
mod harness;
mod large_requests;
mod leftovers;
mod listeners;
mod metadata;
mod named_twice;
mod not_there_yet;
mod offline_partitions;
mod power_cut;
mod produce_rules;
mod records;
mod reopening;
mod request_errors;
mod request_limits;
mod text_rules;
