//! The runner drives a counter, the smallest coordinator, over a log that the test controls.

mod counter;
mod elections;
mod fake_log;
mod loads;
mod writes;
