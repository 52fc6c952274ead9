//! Runs one coordinator in one leader epoch: gives it the log and the time, and its replies to those who asked.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use model::{LeaderEpoch, Offset};
use runtime::sync::{Notify, oneshot};
use runtime::{Clock, Effects, Monotonic};

use super::coordinator_log::CoordinatorLog;
use super::coordinator_machine::{
    Action, AppendToken, CoordinatorMachine, Input, LogRecord, Now, RequestToken, WriteError,
};
use super::coordinator_state::CoordinatorState;
use super::load::{LoadError, load};

type ActionOf<M> = Action<<M as CoordinatorMachine>::Response>;
type InputOf<M> = Input<<M as CoordinatorMachine>::Request, <M as CoordinatorMachine>::Notice>;

/// The coordinator of one partition, from its election to its resignation. Lives on the shard that leads the partition.
pub struct CoordinatorRunner<E: Effects, L: CoordinatorLog, M: CoordinatorMachine> {
    effects: E,
    log: L,
    /// Of the election: what is decided here is appended in this epoch or not at all.
    epoch: LeaderEpoch,
    state: RefCell<CoordinatorState<M>>,
    /// What came before the log was known.
    notices: RefCell<Vec<M::Notice>>,
    waiting: RefCell<BTreeMap<RequestToken, oneshot::Sender<M::Response>>>,
    requests: Cell<u64>,
    /// Appends in log order, each with the end that the high watermark must reach.
    appends: RefCell<VecDeque<(AppendToken, Offset)>>,
    /// A task waits for the first of `appends`.
    completing: Cell<bool>,
    /// The deadline that the timer task sleeps for.
    timer: Cell<Option<u64>>,
    timer_changed: Notify,
}

impl<E: Effects, L: CoordinatorLog, M: CoordinatorMachine> CoordinatorRunner<E, L, M> {
    /// Starts to load the log of a partition that this shard leads from now on, and calls `load_ended` when that has
    /// succeeded, failed or become pointless. The first thing that the machine learns behind its log is `notice`.
    pub fn start(
        effects: E,
        log: L,
        config: M::Config,
        notice: Option<M::Notice>,
        load_ended: impl FnOnce(Result<(), LoadError>) + 'static,
    ) -> Rc<Self> {
        let runner = Rc::new(Self {
            epoch: log.leader_epoch(),
            effects,
            log,
            state: RefCell::new(CoordinatorState::Loading),
            notices: RefCell::new(notice.into_iter().collect()),
            waiting: RefCell::default(),
            requests: Cell::new(0),
            appends: RefCell::default(),
            completing: Cell::new(false),
            timer: Cell::new(None),
            timer_changed: Notify::new(),
        });
        let running = Rc::clone(&runner);
        runner.effects.spawn(async move {
            load_ended(running.load(config).await);
            running.run_timers().await;
        });
        runner
    }

    /// The epoch in which it was elected.
    pub const fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Whether the log is still being read.
    pub fn is_loading(&self) -> bool {
        self.state.borrow().is_loading()
    }

    /// How many things it coordinates.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.borrow().active().map_or(0, M::count)
    }

    /// Hands over a request; the answer comes through the receiver.
    pub fn ask(self: &Rc<Self>, request: M::Request) -> oneshot::Receiver<M::Response> {
        let (sender, receiver) = oneshot::channel();
        let refusal = self.state.borrow().refusal();
        if let Some(refusal) = refusal {
            let _ = sender.send(M::refuse(&request, refusal));
            return receiver;
        }
        let token = RequestToken(self.requests.get());
        self.requests.set(token.0 + 1);
        self.waiting.borrow_mut().insert(token, sender);
        self.step(Input::Request { token, request });
        receiver
    }

    /// Lets the machine know something, once it knows its log.
    pub fn notify(self: &Rc<Self>, notice: M::Notice) {
        if self.is_loading() {
            self.notices.borrow_mut().push(notice);
        } else {
            self.step(Input::Notice(notice));
        }
    }

    /// Answers everyone who waits and ends.
    pub fn resign(self: &Rc<Self>) {
        let machine = self.state.borrow_mut().resign();
        if let Some(mut machine) = machine {
            for action in machine.step(Input::Resign, self.now()) {
                match action {
                    Action::Reply { token, response } => self.reply(token, response),
                    Action::Append { .. } => debug_assert!(false, "who resigns writes nothing more"),
                }
            }
        }
        self.notices.take();
        self.timer_changed.notify_one();
    }

    async fn load(self: &Rc<Self>, config: M::Config) -> Result<(), LoadError> {
        match load::<E, L, M>(&self.effects, &self.log, &config, || self.is_loading()).await {
            Ok(machine) => {
                let count = machine.count();
                if self.state.borrow_mut().loaded(machine) {
                    if count > 0 {
                        tracing::info!(partition = %self.log.name(), count, "{} loaded", M::COORDINATES);
                    }
                    self.step(Input::LoadDone);
                    for notice in self.notices.take() {
                        self.step(Input::Notice(notice));
                    }
                }
                Ok(())
            }
            Err(error) => {
                self.notices.take();
                if self.state.borrow_mut().load_failed() { Err(error) } else { Ok(()) }
            }
        }
    }

    /// Tells the machine when its time has come, for as long as it serves.
    async fn run_timers(self: &Rc<Self>) {
        loop {
            let deadline = match self.state.borrow().active() {
                Some(machine) => machine.next_deadline(),
                None => return,
            };
            self.timer.set(deadline);
            let at = deadline.map_or(Monotonic(u64::MAX), |ms| Monotonic(0) + Duration::from_millis(ms));
            let sleep = std::pin::pin!(self.effects.clock().sleep_until(at));
            let changed = std::pin::pin!(self.timer_changed.notified());
            if let Either::Left(_) = select(sleep, changed).await {
                self.step(Input::Tick);
            }
        }
    }

    fn now(&self) -> Now {
        let clock = self.effects.clock();
        Now { monotonic_ms: clock.now().as_millis(), wall_ms: clock.unix_ms() }
    }

    /// Gives the machine an input, if it serves, and carries out what follows.
    fn step(self: &Rc<Self>, input: InputOf<M>) {
        let Some(actions) = self.decide(input) else { return };
        let mut steps = VecDeque::from([actions]);
        while let Some(actions) = steps.pop_front() {
            self.carry_out(actions, &mut steps);
        }
        self.complete_appends();
        let deadline = self.state.borrow().active().and_then(M::next_deadline);
        if deadline.is_some_and(|deadline| self.timer.get().is_none_or(|timer| deadline < timer)) {
            self.timer_changed.notify_one();
        }
    }

    fn decide(&self, input: InputOf<M>) -> Option<Vec<ActionOf<M>>> {
        let now = self.now();
        Some(self.state.borrow_mut().active_mut()?.step(input, now))
    }

    /// Carries out what one step decided; what follows from a refused append goes to `steps`.
    fn carry_out(&self, actions: Vec<ActionOf<M>>, steps: &mut VecDeque<Vec<ActionOf<M>>>) {
        let mut last = Ok(());
        for action in actions {
            match action {
                Action::Reply { token, response } => self.reply(token, response),
                Action::Append { token, records, continues } => {
                    let before = if continues { last } else { Ok(()) };
                    match before.and_then(|()| self.append(&records)) {
                        Ok(end) => {
                            self.appends.borrow_mut().push_back((token, end));
                            last = Ok(());
                        }
                        Err(error) => {
                            last = Err(error);
                            steps.extend(self.decide(Input::Appended { token, result: Err(error) }));
                        }
                    }
                }
            }
        }
    }

    fn reply(&self, token: RequestToken, response: M::Response) {
        if let Some(asker) = self.waiting.borrow_mut().remove(&token) {
            // A connection that is gone does not want its answer.
            let _ = asker.send(response);
        }
    }

    fn append(&self, records: &[LogRecord]) -> Result<Offset, WriteError> {
        let now = self.log.leader_epoch();
        if now != self.epoch {
            let (partition, elected) = (self.log.name(), self.epoch);
            tracing::warn!(%partition, %elected, %now, "the leader epoch has changed: a coordinator appends nothing more");
            return Err(WriteError::StaleEpoch);
        }
        self.log.append(records, self.epoch, self.now().wall_ms)
    }

    /// Makes sure that somebody waits for the appends that are under way.
    fn complete_appends(self: &Rc<Self>) {
        if self.appends.borrow().is_empty() || self.completing.replace(true) {
            return;
        }
        let runner = Rc::clone(self);
        self.effects.spawn(async move {
            loop {
                let first = runner.appends.borrow_mut().pop_front();
                let Some((token, end)) = first else { break };
                let result = runner.log.committed(end).await;
                runner.step(Input::Appended { token, result });
            }
            runner.completing.set(false);
        });
    }
}
