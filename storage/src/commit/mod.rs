//! From appended to durable: the commit loop, and the journal that takes many small appends by one write.

pub(crate) mod commit_loop;
pub(crate) mod journal;
pub(crate) mod state;
