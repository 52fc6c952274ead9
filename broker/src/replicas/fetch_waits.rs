//! The fetches that wait on this shard, each known by the connection that it came from. A connection has at most one,
//! so that the number of waits is bounded by the number of connections.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::replicas::partition::FetchWait;

/// A connection: its shard and its number there.
pub type ConnectionKey = (usize, u64);

/// The waits of one shard.
#[derive(Default)]
pub struct FetchWaits {
    waits: RefCell<HashMap<ConnectionKey, Rc<FetchWait>>>,
}

impl FetchWaits {
    /// Registers the connection's wait; one that it had before is over.
    pub fn insert(&self, who: ConnectionKey, wait: Rc<FetchWait>) {
        if let Some(before) = self.waits.borrow_mut().insert(who, wait) {
            before.wake();
        }
    }

    /// The connection's wait.
    #[must_use]
    pub fn get(&self, who: ConnectionKey) -> Option<Rc<FetchWait>> {
        self.waits.borrow().get(&who).cloned()
    }

    /// Ends the connection's wait.
    pub fn cancel(&self, who: ConnectionKey) {
        if let Some(wait) = self.waits.borrow_mut().remove(&who) {
            wait.wake();
        }
    }
}
