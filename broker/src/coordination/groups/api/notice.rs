//! What the group coordinator is told of topics, since offsets go with their topics.

use std::fmt;
use std::rc::Rc;

use model::Uuid;

/// Something that the coordinator has to know and that nobody asks it for.
#[derive(Debug, Clone)]
pub enum GroupNotice {
    /// A topic is gone; offsets committed in it are forgotten, but not those in a new one of its name.
    TopicDeleted {
        /// Its name.
        topic: String,
        /// Its id.
        topic_id: Uuid,
    },
    /// Topics that may have gone while nobody could take note of it: before a kill, or during a load.
    RemovedBefore(RemovedTopics),
}

/// Tells by name and id whether a topic was removed. The id is zero where a record does not tell.
#[derive(Clone)]
pub struct RemovedTopics(Rc<IsRemoved>);

type IsRemoved = dyn Fn(&str, Uuid) -> bool;

impl RemovedTopics {
    /// Topics for which `is_removed` is true.
    pub fn new(is_removed: impl Fn(&str, Uuid) -> bool + 'static) -> Self {
        Self(Rc::new(is_removed))
    }

    /// Whether the topic was removed.
    #[must_use]
    pub fn contains(&self, name: &str, topic_id: Uuid) -> bool {
        (self.0)(name, topic_id)
    }
}

impl fmt::Debug for RemovedTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemovedTopics")
    }
}
