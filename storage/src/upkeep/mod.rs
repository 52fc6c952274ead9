//! What happens to logs in the background: sealing, checkpoints, retention, removal of files.

pub(crate) mod maintenance;
pub(crate) mod producer_expiry;
pub(crate) mod removal;
pub(crate) mod retention;
pub(crate) mod retention_due;
