//! One request for many partitions is one call to each shard that owns any of them, and one list of answers in the order of
//! the request.

use std::future::Future;
use std::rc::Rc;

use futures_util::future::join_all;

use super::calls::{Callee, Calls};

/// Things by the shard that they are for. There are few shards, and most requests are for one.
#[derive(Debug)]
pub struct ByShard<Q> {
    groups: Vec<(usize, Vec<Q>)>,
}

impl<Q> Default for ByShard<Q> {
    fn default() -> Self {
        Self { groups: Vec::new() }
    }
}

impl<Q> ByShard<Q> {
    /// Adds something for a shard, behind what there is for it.
    pub fn push(&mut self, target: usize, what: Q) {
        match self.groups.iter_mut().find(|(owner, _)| *owner == target) {
            Some((_, group)) => group.push(what),
            None => self.groups.push((target, vec![what])),
        }
    }

    /// Each shard that anything is for, and all of that.
    #[must_use]
    pub fn groups(&self) -> &[(usize, Vec<Q>)] {
        &self.groups
    }
}

impl<Q> IntoIterator for ByShard<Q> {
    type Item = (usize, Vec<Q>);
    type IntoIter = std::vec::IntoIter<(usize, Vec<Q>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.groups.into_iter()
    }
}

/// Something and its place in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed<Q> {
    /// The place.
    pub place: usize,
    /// What stands there.
    pub what: Q,
}

/// The answers to a request, as far as they are known.
#[derive(Debug)]
pub struct Answers<A> {
    places: Vec<Option<A>>,
}

impl<A> Answers<A> {
    /// Puts answers in their places.
    pub fn fill(&mut self, answers: impl IntoIterator<Item = Placed<A>>) {
        for Placed { place, what } in answers {
            self.places[place] = Some(what);
        }
    }

    /// All answers, in the order of the request.
    ///
    /// # Panics
    /// If one is missing.
    #[must_use]
    pub fn complete(self) -> Vec<A> {
        self.places.into_iter().map(|answer| answer.expect("whoever is called answers all")).collect()
    }
}

/// What a request asks, in its order: `Q` of the shards that own it, unless the answer `A` is known already.
#[derive(Debug)]
pub struct FanOut<Q, A> {
    questions: ByShard<Placed<Q>>,
    answers: Answers<A>,
}

impl<Q, A> Default for FanOut<Q, A> {
    fn default() -> Self {
        Self { questions: ByShard::default(), answers: Answers { places: Vec::new() } }
    }
}

impl<Q, A> FanOut<Q, A> {
    /// Asks something of the shard that owns it.
    pub fn ask(&mut self, target: usize, what: Q) {
        self.questions.push(target, Placed { place: self.answers.places.len(), what });
        self.answers.places.push(None);
    }

    /// Gives an answer that needs no question.
    pub fn answer(&mut self, answer: A) {
        self.answers.places.push(Some(answer));
    }

    /// The questions of each shard, and the answers that wait for theirs.
    #[must_use]
    pub fn split(self) -> (ByShard<Placed<Q>>, Answers<A>) {
        (self.questions, self.answers)
    }

    /// Calls each shard once; yields the answers in the order of the request.
    pub async fn call<T, F, Fut>(self, here: &Rc<T>, answer_all: F) -> Vec<A>
    where
        T: Callee,
        Q: Send + 'static,
        A: Send + 'static,
        F: FnOnce(Rc<T>, Vec<Placed<Q>>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Vec<Placed<A>>> + 'static,
    {
        let (questions, mut answers) = self.split();
        let calls = questions.into_iter().map(|(target, questions)| {
            let answer_all = answer_all.clone();
            Calls::call(here, target, move |there| answer_all(there, questions))
        });
        for answered in join_all(calls).await {
            answers.fill(answered);
        }
        answers.complete()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use runtime::Effects;
    use runtime::mesh::mesh;
    use runtime::sim::{SimEffects, SimWorld};

    use super::*;

    struct Tiny {
        index: usize,
        effects: SimEffects,
        calls: Calls<Tiny>,
        asked: Cell<usize>,
    }

    impl Callee for Tiny {
        fn calls(&self) -> &Calls<Self> {
            &self.calls
        }

        fn spawn(&self, task: impl Future<Output = ()> + 'static) {
            self.effects.spawn(task);
        }
    }

    fn shards(world: &SimWorld, count: usize) -> Vec<Rc<Tiny>> {
        let first = world.node("n");
        let ports = mesh(count, 8).into_iter().enumerate();
        let shard = |(index, port)| {
            let effects = if index == 0 { first.clone() } else { first.shard() };
            let (calls, asked) = (Calls::new(index, port), Cell::new(0));
            let shard = Rc::new(Tiny { index, effects, calls, asked });
            shard.spawn(Calls::serve(Rc::clone(&shard)));
            shard
        };
        ports.map(shard).collect()
    }

    /// Says what was asked of which shard.
    async fn tell(there: Rc<Tiny>, asked: Vec<Placed<char>>) -> Vec<Placed<(usize, char)>> {
        there.asked.set(there.asked.get() + 1);
        // In any order.
        let answers = asked.into_iter().rev();
        answers.map(|Placed { place, what }| Placed { place, what: (there.index, what) }).collect()
    }

    #[test]
    fn answers_come_in_the_order_of_the_request_and_each_shard_is_called_once() {
        let world = SimWorld::new(1);
        world.block_on(async {
            let shards = shards(&world, 3);
            let mut fan_out = FanOut::default();
            for (target, what) in [(2, 'a'), (0, 'b'), (2, 'c'), (0, 'd')] {
                fan_out.ask(target, what);
            }
            fan_out.answer((9, 'e'));
            fan_out.ask(2, 'f');
            let answers = fan_out.call(&shards[0], tell).await;
            assert_eq!(answers, [(2, 'a'), (0, 'b'), (2, 'c'), (0, 'd'), (9, 'e'), (2, 'f')]);
            let asked: Vec<usize> = shards.iter().map(|shard| shard.asked.get()).collect();
            assert_eq!(asked, [1, 0, 1]);
            let sent: Vec<u64> = shards.iter().map(|shard| shard.calls.sent()).collect();
            assert_eq!(sent, [1, 0, 1], "a call and its answer; none to itself");
        });
    }

    #[test]
    fn what_is_told_comes_behind_the_calls_before_it() {
        let world = SimWorld::new(2);
        world.block_on(async {
            let shards = shards(&world, 2);
            let first = Calls::send_call(&shards[0], 1, |there: Rc<Tiny>| {
                there.asked.set(1);
                std::future::ready(())
            });
            let answer = first.await;
            Calls::tell(&shards[0], 1, |there| there.asked.set(there.asked.get() * 10)).await;
            let read = |there: Rc<Tiny>| std::future::ready(there.asked.get());
            assert_eq!(Calls::call(&shards[0], 1, read).await, 10);
            answer.await;
            Calls::tell(&shards[0], 0, |here| here.asked.set(7)).await;
            assert_eq!(shards[0].asked.get(), 7, "at once");
        });
    }

    #[test]
    #[should_panic(expected = "answers all")]
    fn an_answer_that_is_missing_is_noticed() {
        let mut fan_out: FanOut<char, char> = FanOut::default();
        fan_out.ask(0, 'a');
        let (_, answers) = fan_out.split();
        drop(answers.complete());
    }
}
