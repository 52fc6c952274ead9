//! Calls from shard to shard: a job goes over the mesh, runs where the data lives, and its result
//! comes back the same way. Jobs of one shard to another run in the order in which they were sent.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;

use futures_util::future::join_all;
use runtime::mesh::MeshPort;
use runtime::sync::oneshot;

/// What travels over the mesh: runs with what is called on the shard that it arrives at.
pub type Job<T> = Box<dyn FnOnce(&Rc<T>) + Send>;

type AnyResult = Box<dyn Any + Send>;

/// What can be called on another shard; every shard has one.
pub trait Callee: Sized + 'static {
    /// Its end of the mesh.
    fn calls(&self) -> &Calls<Self>;

    /// Runs a task on its shard.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
}

/// A shard's end of the mesh and the calls that wait for their results. Lives on every shard.
pub struct Calls<T> {
    index: usize,
    port: MeshPort<Job<T>>,
    next_id: Cell<u64>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<AnyResult>>>,
    sent: Cell<u64>,
}

impl<T: Callee> Calls<T> {
    /// Takes the end of the mesh of the shard of that number.
    #[must_use]
    pub fn new(index: usize, port: MeshPort<Job<T>>) -> Self {
        Self { index, port, next_id: Cell::new(0), waiting: RefCell::new(HashMap::new()), sent: Cell::new(0) }
    }

    /// Jobs and results sent to other shards so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Runs the jobs that arrive, for as long as the shard lives.
    pub async fn serve(here: Rc<T>) {
        loop {
            let (_, job) = here.calls().port.recv().await;
            job(&here);
        }
    }

    /// Calls `start` on shard `target` and completes with the output of the future that it returns. What `start` does
    /// before it returns happens in the order of the calls. The future returned here must be polled for the call to
    /// leave.
    pub async fn call<R, F, Fut>(here: &Rc<T>, target: usize, start: F) -> R
    where
        R: Send + 'static,
        F: FnOnce(Rc<T>) -> Fut + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        if target == here.calls().index {
            return start(Rc::clone(here)).await;
        }
        Self::send_call(here, target, start).await.await
    }

    /// Calls `start` on every shard and yields the results in order of the shards.
    pub async fn call_all<R, F, Fut>(here: &Rc<T>, start: F) -> Vec<R>
    where
        R: Send + 'static,
        F: FnOnce(Rc<T>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        let shards = here.calls().port.shards();
        join_all((0..shards).map(|target| Self::call(here, target, start.clone()))).await
    }

    /// Has `what` run on shard `target`, behind the calls that were sent before it, and waits for no answer.
    pub async fn tell(here: &Rc<T>, target: usize, what: impl FnOnce(&Rc<T>) + Send + 'static) {
        if target == here.calls().index {
            return what(here);
        }
        here.calls().send(target, Box::new(what)).await;
    }

    /// The two halves of [`Calls::call`] to another shard: the first future completes when the job is on its
    /// way, the second with the result. So a caller can keep its calls in order without waiting for results.
    pub async fn send_call<R, F, Fut>(
        here: &Rc<T>,
        target: usize,
        start: F,
    ) -> impl Future<Output = R> + use<R, F, Fut, T>
    where
        R: Send + 'static,
        F: FnOnce(Rc<T>) -> Fut + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        let calls = here.calls();
        let (origin, id) = (calls.index, calls.next_id.get());
        calls.next_id.set(id + 1);
        let (sender, receiver) = oneshot::channel();
        calls.waiting.borrow_mut().insert(id, sender);
        let job: Job<T> = Box::new(move |called: &Rc<T>| {
            let work = start(Rc::clone(called));
            let there = Rc::clone(called);
            called.spawn(async move {
                let result: AnyResult = Box::new(work.await);
                let reply: Job<T> = Box::new(move |back: &Rc<T>| back.calls().complete(id, result));
                there.calls().send(origin, reply).await;
            });
        });
        calls.send(target, job).await;
        let caller = Rc::clone(here);
        async move {
            let _waiting = Waiting { calls: caller.calls(), id };
            let result = receiver.await.expect("shards end together, so a called shard answers");
            *result.downcast::<R>().expect("the reply has the type of the call")
        }
    }

    async fn send(&self, target: usize, job: Job<T>) {
        self.sent.set(self.sent.get() + 1);
        self.port.send(target, job).await;
    }

    fn complete(&self, id: u64, result: AnyResult) {
        // A caller that has gone away no longer wants its result.
        if let Some(waiting) = self.waiting.borrow_mut().remove(&id) {
            let _ = waiting.send(result);
        }
    }
}

/// Forgets a call whose caller went away.
struct Waiting<'a, T> {
    calls: &'a Calls<T>,
    id: u64,
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.calls.waiting.borrow_mut().remove(&self.id);
    }
}
