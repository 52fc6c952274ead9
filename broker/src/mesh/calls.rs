//! Calls from shard to shard: a job goes over the mesh, runs where the data lives, and its result
//! comes back the same way. Jobs of one shard to another run in the order in which they were sent.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;

use runtime::Effects;
use runtime::mesh::MeshPort;
use runtime::sync::oneshot;

use crate::node::shard::Shard;

/// What travels over the mesh.
pub type Job<E> = Box<dyn FnOnce(&Rc<Shard<E>>) + Send>;

type AnyResult = Box<dyn Any + Send>;

/// This shard's end of the mesh and the calls that wait for their results. Lives on every shard.
pub struct Calls<E: Effects> {
    port: Rc<MeshPort<Job<E>>>,
    next_id: Cell<u64>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<AnyResult>>>,
    sent: Cell<u64>,
}

impl<E: Effects> Calls<E> {
    /// Takes the shard's end of the mesh.
    #[must_use]
    pub fn new(port: MeshPort<Job<E>>) -> Self {
        Self {
            port: Rc::new(port),
            next_id: Cell::new(0),
            waiting: RefCell::new(HashMap::new()),
            sent: Cell::new(0),
        }
    }

    /// Jobs and results sent to other shards so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Runs the jobs that arrive, for as long as the shard lives.
    pub async fn serve(&self, shard: Rc<Shard<E>>) {
        loop {
            let (_, job) = self.port.recv().await;
            job(&shard);
        }
    }

    async fn send(&self, target: usize, job: Job<E>) {
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
struct Waiting<'a, E: Effects> {
    calls: &'a Calls<E>,
    id: u64,
}

impl<E: Effects> Drop for Waiting<'_, E> {
    fn drop(&mut self) {
        self.calls.waiting.borrow_mut().remove(&self.id);
    }
}

impl<E: Effects> Shard<E> {
    /// Calls `start` on shard `target` and completes with the output of the future that it returns. What `start` does
    /// before it returns happens in the order of the calls. The future returned here must be polled for the call to
    /// leave.
    pub async fn call<R, F, Fut>(self: &Rc<Self>, target: usize, start: F) -> R
    where
        R: Send + 'static,
        F: FnOnce(Rc<Self>) -> Fut + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        if target == self.index {
            return start(Rc::clone(self)).await;
        }
        self.send_call(target, start).await.await
    }

    /// The two halves of [`Shard::call`] to another shard: the first future completes when the job is on its
    /// way, the second with the result. So a caller can keep its calls in order without waiting for results.
    pub async fn send_call<R, F, Fut>(
        self: &Rc<Self>,
        target: usize,
        start: F,
    ) -> impl Future<Output = R> + use<R, F, Fut, E>
    where
        R: Send + 'static,
        F: FnOnce(Rc<Self>) -> Fut + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        let origin = self.index;
        let id = self.calls.next_id.get();
        self.calls.next_id.set(id + 1);
        let (sender, receiver) = oneshot::channel();
        self.calls.waiting.borrow_mut().insert(id, sender);
        let job: Job<E> = Box::new(move |shard: &Rc<Self>| {
            let work = start(Rc::clone(shard));
            let there = Rc::clone(shard);
            shard.effects.spawn(async move {
                let result: AnyResult = Box::new(work.await);
                let reply: Job<E> = Box::new(move |back: &Rc<Self>| back.calls.complete(id, result));
                there.calls.send(origin, reply).await;
            });
        });
        self.calls.send(target, job).await;
        let shard = Rc::clone(self);
        async move {
            let _waiting = Waiting { calls: &shard.calls, id };
            let result = receiver.await.expect("shards end together, so a called shard answers");
            *result.downcast::<R>().expect("the reply has the type of the call")
        }
    }
}
