//! The coordinators of one kind on this shard: one for each partition of their internal topic that it leads.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use model::{PartitionId, TopicId};
use runtime::sync::{Notify, oneshot};
use runtime::{Clock, Effects};

use crate::coordination::runner::{
    CoordinatorLog, CoordinatorMachine, CoordinatorRunner, LoadError, Refusal,
};
use crate::replicas::offline_partitions::{OfflinePartition, OfflinePartitions};

/// How long a request waits for a coordinator that is not there yet.
const LOAD_PATIENCE: Duration = Duration::from_secs(2);

type Runners<E, L, M> = BTreeMap<(TopicId, PartitionId), Rc<CoordinatorRunner<E, L, M>>>;

/// Says whether this shard leads a partition, or may when it is open.
pub type MayLead = Box<dyn Fn((TopicId, PartitionId)) -> bool>;

/// The elected coordinators of one kind. Lives on every shard.
pub struct ElectedCoordinators<E: Effects, L: CoordinatorLog, M: CoordinatorMachine> {
    effects: E,
    offline: Arc<OfflinePartitions>,
    may_lead: MayLead,
    runners: RefCell<Runners<E, L, M>>,
    /// One came, loaded or went.
    changed: Notify,
    stopped: Cell<bool>,
}

enum Found<E: Effects, L: CoordinatorLog, M: CoordinatorMachine> {
    /// It serves, or says why not.
    Loaded(Rc<CoordinatorRunner<E, L, M>>),
    /// Its log is being read.
    Loading,
    /// Its partition is being opened.
    NotYet,
    Nowhere,
}

impl<E: Effects, L: CoordinatorLog, M: CoordinatorMachine> ElectedCoordinators<E, L, M> {
    /// None yet. What cannot be loaded is noted in `offline`.
    #[must_use]
    pub fn new(effects: E, offline: Arc<OfflinePartitions>, may_lead: MayLead) -> Rc<Self> {
        Rc::new(Self {
            effects,
            offline,
            may_lead,
            runners: RefCell::default(),
            changed: Notify::new(),
            stopped: Cell::new(false),
        })
    }

    /// This shard leads a partition from now on: its coordinator starts to load, and learns of `notice` first. One of an
    /// earlier epoch, or of the same on another opening of the log, resigns.
    pub fn elected(self: &Rc<Self>, log: L, config: M::Config, notice: Option<M::Notice>) {
        let partition = (log.topic_id(), log.name().partition);
        let epoch = log.leader_epoch();
        let is_late = self.runners.borrow().get(&partition).is_some_and(|runner| runner.epoch() > epoch);
        if is_late || self.stopped.get() {
            return;
        }
        let (all, name) = (Rc::clone(self), log.name().clone());
        let load_ended = move |loaded: Result<(), LoadError>| {
            if let Err(error) = loaded {
                let what = M::COORDINATES;
                tracing::error!(partition = %name, %error, "the {what} of this partition cannot be loaded: they have no coordinator");
                let reason = format!("its {what} cannot be loaded: {error}");
                all.offline.note(partition.0, OfflinePartition { name, is_readable: true, reason });
            }
            all.changed.notify_all();
        };
        let runner = CoordinatorRunner::start(self.effects.clone(), log, config, notice, load_ended);
        let previous = self.runners.borrow_mut().insert(partition, runner);
        if let Some(previous) = previous {
            previous.resign();
        }
        self.changed.notify_all();
    }

    /// This shard does not lead a partition any more.
    pub fn resign(&self, partition: (TopicId, PartitionId)) {
        let runner = self.runners.borrow_mut().remove(&partition);
        if let Some(runner) = runner {
            runner.resign();
            self.changed.notify_all();
        }
    }

    /// The broker shuts down: everyone who waits is told to look for another coordinator.
    pub fn stop(&self) {
        self.stopped.set(true);
        for runner in self.runners.take().into_values() {
            runner.resign();
        }
        self.changed.notify_all();
    }

    /// Lets every coordinator know something.
    pub fn notify_all(&self, notice: &M::Notice)
    where
        M::Notice: Clone,
    {
        for runner in self.all() {
            runner.notify(notice.clone());
        }
    }

    /// Asks the coordinator of a partition that belongs to this shard. What the request does happens before this returns,
    /// the future only waits for the answer; unless the coordinator is still being opened or loads: then the request
    /// waits for that a while.
    pub fn ask(
        self: &Rc<Self>,
        partition: (TopicId, PartitionId),
        request: M::Request,
    ) -> impl Future<Output = M::Response> + use<E, L, M> {
        match self.find(partition) {
            Found::Loaded(runner) => Either::Left(answer(runner.ask(request))),
            _ => Either::Right(Rc::clone(self).ask_when_loaded(partition, request)),
        }
    }

    /// Asks every coordinator of this shard the same.
    pub async fn ask_all(self: &Rc<Self>, request: &M::Request) -> Vec<M::Response>
    where
        M::Request: Clone,
    {
        let partitions: Vec<_> = self.runners.borrow().keys().copied().collect();
        join_all(partitions.into_iter().map(|partition| self.ask(partition, request.clone()))).await
    }

    /// How many things are coordinated here.
    #[must_use]
    pub fn count(&self) -> usize {
        self.runners.borrow().values().map(|runner| runner.count()).sum()
    }

    /// Waits for a coordinator that is still being opened or loads. To be sent away costs more: librdkafka comes back after
    /// three seconds.
    async fn ask_when_loaded(
        self: Rc<Self>,
        partition: (TopicId, PartitionId),
        request: M::Request,
    ) -> M::Response {
        let clock = self.effects.clock();
        let deadline = clock.now() + LOAD_PATIENCE;
        loop {
            match self.find(partition) {
                Found::Loaded(runner) => return answer(runner.ask(request)).await,
                Found::Nowhere => return M::refuse(&request, Refusal::NotCoordinator),
                Found::Loading => {
                    if let Some(answer) = M::answer_while_loading(&request) {
                        return answer;
                    }
                }
                Found::NotYet => {}
            }
            let changed = pin!(self.changed.notified());
            if let Either::Right(_) = select(changed, pin!(clock.sleep_until(deadline))).await {
                return M::refuse(&request, Refusal::Loading);
            }
        }
    }

    fn find(&self, partition: (TopicId, PartitionId)) -> Found<E, L, M> {
        match self.runners.borrow().get(&partition) {
            Some(runner) if runner.is_loading() => Found::Loading,
            Some(runner) => Found::Loaded(Rc::clone(runner)),
            None if self.stopped.get() || !(self.may_lead)(partition) => Found::Nowhere,
            None => Found::NotYet,
        }
    }

    fn all(&self) -> Vec<Rc<CoordinatorRunner<E, L, M>>> {
        self.runners.borrow().values().map(Rc::clone).collect()
    }
}

async fn answer<A>(receiver: oneshot::Receiver<A>) -> A {
    receiver.await.expect("a coordinator answers all, at the latest when it resigns")
}
