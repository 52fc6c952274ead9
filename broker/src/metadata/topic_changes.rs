//! Topics whose logs have yet to follow the metadata: one image after the other, in order, behind the image itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use model::TopicId;
use runtime::Effects;
use runtime::sync::oneshot;

use crate::node::shard::Shard;

/// Changes that wait for those before them. Lives on every shard; the controller bounds how many there are.
#[derive(Default)]
pub struct TopicChanges {
    waiting: RefCell<VecDeque<(Vec<TopicId>, oneshot::Sender<()>)>>,
    running: Cell<bool>,
}

impl TopicChanges {
    /// Queues topics to be brought in line with the image of that moment or a later one. The receiver hears when that is
    /// done, or that it will not be because the broker stops.
    pub fn add<E: Effects>(shard: &Rc<Shard<E>>, topics: Vec<TopicId>) -> oneshot::Receiver<()> {
        let changes = &shard.topic_changes;
        let (sender, receiver) = oneshot::channel();
        changes.waiting.borrow_mut().push_back((topics, sender));
        if !changes.running.replace(true) {
            shard.effects.spawn(run(Rc::clone(shard)));
        }
        receiver
    }

    fn next(&self) -> Option<(Vec<TopicId>, oneshot::Sender<()>)> {
        self.waiting.borrow_mut().pop_front()
    }
}

async fn run<E: Effects>(shard: Rc<Shard<E>>) {
    while let Some((topics, done)) = shard.topic_changes.next() {
        // The next start makes up for what is left out.
        if !shard.stopping() {
            shard.align_topics(topics).await;
            let _gone = done.send(());
        }
    }
    shard.topic_changes.running.set(false);
}
