//! Asks the owners of what a fetch wants, until there is enough of it or the time is up.
//!
//! If one shard owns all of it, one call does everything: the request waits there. If several do, each is asked once; while
//! that gives too little, each is called again, waits until it has more, and reads; the first that has more has the others
//! read as well.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use net::protocol::ErrorCode;
use runtime::{Clock, Effects, Monotonic};

use crate::api::fetch::fetched::{Fetched, Limits, enough, is_starved};
use crate::api::fetch::memory::Patience;
use crate::api::fetch::owners::{Asked, Item, Owners};
use crate::api::fetch::partitions::read_all;
use crate::api::services::ShardServices;
use crate::api::session::Session;
use crate::replicas::FetchWait;
use crate::replicas::fetch_waits::ConnectionKey;

/// How long a fetch waits in line for memory, if its client allows no longer wait: a client that is turned away has lost its
/// place in the line when it asks again.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(10);

/// What all calls for a request share.
#[derive(Debug, Clone, Copy)]
struct Poll {
    who: ConnectionKey,
    limits: Limits,
    deadline: Monotonic,
}

impl Poll {
    /// How long memory may be waited for, by what holds none.
    fn patience(self, now: Monotonic) -> Patience {
        Patience::Until(self.deadline.max(now + MEMORY_WAIT_MAX))
    }
}

/// Reads until there are enough bytes, something urgent has happened, or the time is up.
pub(super) async fn fetch_until<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    session: &Session,
    asked: &Asked<'_>,
    limits: Limits,
    deadline: Monotonic,
) -> Vec<Fetched<E>> {
    let poll = Poll { who: (shard.index, session.connection_id), limits, deadline };
    let mut without_owner = Vec::new();
    for first_round in std::iter::once(true).chain(std::iter::repeat(false)) {
        let Owners { by_shard, none } = asked.find_owners(shard);
        let failed = none.iter().map(|(slot, code)| Fetched {
            urgent: if first_round {
                asked.is_news(*slot, *code, by_shard.groups().is_empty())
            } else {
                !without_owner.contains(&(*slot, *code))
            },
            ..Fetched::failed(*slot, *code)
        });
        let mut fetched: Vec<Fetched<E>> = failed.collect();
        without_owner = none;
        let is_last =
            is_over(shard, session, deadline) || enough(&fetched, limits) || asked.wishes.is_empty();
        let answers = match by_shard.groups() {
            owners if is_last => read_once(shard, owners, poll).await,
            [owner] if without_owner.is_empty() => wait_at_owner(shard, session, owner, poll).await,
            owners => wait_at_owners(shard, session, owners, poll).await,
        };
        let starved = is_starved(&answers);
        fetched.extend(answers);
        if is_last || starved || enough(&fetched, limits) || without_owner.is_empty() {
            name_reasons(shard, asked, &mut fetched);
            return fetched;
        }
    }
    unreachable!("the last round returns")
}

fn is_over<E: Effects>(shard: &ShardServices<E>, session: &Session, deadline: Monotonic) -> bool {
    shard.effects.clock().now() >= deadline || shard.stopping() || session.is_ending()
}

/// Says of partitions that went away during the wait what the metadata says of them by now.
fn name_reasons<E: Effects>(shard: &ShardServices<E>, asked: &Asked<'_>, fetched: &mut [Fetched<E>]) {
    let is_unknown = |answer: &&mut Fetched<E>| answer.error == ErrorCode::UnknownTopicOrPartition;
    let mut unknown = fetched.iter_mut().filter(is_unknown).peekable();
    if unknown.peek().is_none() {
        return;
    }
    let none = asked.find_owners(shard).none;
    for answer in unknown {
        if let Some((_, code)) = none.iter().find(|(slot, _)| *slot == answer.slot) {
            answer.error = *code;
        }
    }
}

/// Reads what there is.
async fn read_once<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    owners: &[(usize, Vec<Item>)],
    poll: Poll,
) -> Vec<Fetched<E>> {
    let visits = owners.iter().map(|owner| visit(shard, owner, poll, Visit::Last, owners.len() == 1));
    let mut visited = join_all(visits).await;
    feed_starved(shard, owners, &mut visited, poll, Visit::Last).await;
    visited.into_iter().flat_map(|visited| visited.fetched).collect()
}

/// Has the only owner read until there is enough.
async fn wait_at_owner<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    session: &Session,
    (target, items): &(usize, Vec<Item>),
    poll: Poll,
) -> Vec<Fetched<E>> {
    let (items, who) = (items.clone(), poll.who);
    let mut call =
        pin!(shard.call(*target, move |shard| async move { read_until_enough(&shard, &items, poll).await }));
    if let Either::Left((fetched, _)) = select(&mut call, pin!(session.end_begun())).await {
        return fetched;
    }
    shard.tell(*target, move |shard| shard.replicas.fetch_waits.cancel(who)).await;
    let fetched = call.await;
    shard.tell(*target, move |shard| shard.replicas.fetch_waits.forget(who)).await;
    fetched
}

/// Reads what this shard owns again and again, whenever there may be more.
async fn read_until_enough<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    items: &[Item],
    poll: Poll,
) -> Vec<Fetched<E>> {
    let (clock, waits) = (shard.effects.clock(), &shard.replicas.fetch_waits);
    let mut last_wait: Option<Rc<FetchWait>> = None;
    loop {
        let now = clock.now();
        let is_last = now >= poll.deadline || last_wait.as_ref().is_some_and(|wait| wait.is_cancelled());
        let fetched = read_all(shard, items, poll.limits, poll.patience(now)).await;
        let starved = is_starved(&fetched);
        if is_last || starved || enough(&fetched, poll.limits) {
            if let Some(wait) = last_wait {
                waits.remove(poll.who, &wait);
            }
            return fetched;
        }
        let wait = wait_for_more_than(shard, items, &fetched);
        waits.insert(poll.who, Rc::clone(&wait), last_wait.as_ref());
        // Records must not be held by who waits.
        drop(fetched);
        select(pin!(wait.woken()), pin!(clock.sleep_until(poll.deadline))).await;
        last_wait = Some(wait);
    }
}

/// Has several owners read until there is enough of all together.
async fn wait_at_owners<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    session: &Session,
    owners: &[(usize, Vec<Item>)],
    poll: Poll,
) -> Vec<Fetched<E>> {
    let visits = owners.iter().map(|owner| visit(shard, owner, poll, Visit::First, owners.len() == 1));
    let mut visited = join_all(visits).await;
    loop {
        let fed = feed_starved(shard, owners, &mut visited, poll, Visit::First).await;
        let waiting = visited.iter().map(|visited| visited.waits).collect::<Vec<bool>>();
        let fetched: Vec<Fetched<E>> = visited.into_iter().flat_map(|visited| visited.fetched).collect();
        let starved = is_starved(&fetched);
        if fed || starved || enough(&fetched, poll.limits) || is_over(shard, session, poll.deadline) {
            for ((target, _), _) in owners.iter().zip(waiting).filter(|(_, waits)| *waits) {
                shard.tell(*target, move |shard| shard.replicas.fetch_waits.forget(poll.who)).await;
            }
            return fetched;
        }
        drop(fetched);
        if owners.is_empty() {
            let sleep = pin!(shard.effects.clock().sleep_until(poll.deadline));
            select(sleep, pin!(session.end_begun())).await;
        }
        visited = visit_again(shard, session, owners, poll).await;
    }
}

/// Has every owner read when one of them has more, or the time is up.
async fn visit_again<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    session: &Session,
    owners: &[(usize, Vec<Item>)],
    poll: Poll,
) -> Vec<Visited<E>> {
    let is_first = &Cell::new(true);
    let visits = owners.iter().map(|owner| async move {
        let visited = visit(shard, owner, poll, Visit::Again, owners.len() == 1).await;
        // At the end of the time all come by themselves.
        if is_first.replace(false) && shard.effects.clock().now() < poll.deadline {
            wake(shard, owners.iter().filter(|other| other.0 != owner.0), poll.who).await;
        }
        visited
    });
    let mut all = pin!(join_all(visits));
    if let Either::Left((visited, _)) = select(&mut all, pin!(session.end_begun())).await {
        return visited;
    }
    wake(shard, owners.iter(), poll.who).await;
    all.await
}

async fn wake<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    owners: impl Iterator<Item = &(usize, Vec<Item>)>,
    who: ConnectionKey,
) {
    for (target, _) in owners {
        shard.tell(*target, move |shard| shard.replicas.fetch_waits.wake(who)).await;
    }
}

/// What one call for one of several owners does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    /// Reads.
    Last,
    /// Reads, and registers the connection if there is too little.
    First,
    /// Waits until there may be more for the connection that was registered, then does as the first.
    Again,
}

/// What such a call found.
struct Visited<E: Effects> {
    fetched: Vec<Fetched<E>>,
    /// The connection is registered there.
    waits: bool,
}

/// Calls one of several owners. A shard must not be waited for while records of another are held: so none waits for memory,
/// unless it is alone (`is_patient`).
async fn visit<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    (target, items): &(usize, Vec<Item>),
    poll: Poll,
    kind: Visit,
    is_patient: bool,
) -> Visited<E> {
    let items = items.clone();
    let call = shard.call(*target, move |shard| async move {
        let (clock, waits) = (shard.effects.clock(), &shard.replicas.fetch_waits);
        let last_wait = if kind == Visit::Again { waits.get(poll.who) } else { None };
        if let Some(wait) = &last_wait {
            select(pin!(wait.woken()), pin!(clock.sleep_until(poll.deadline))).await;
        }
        let patience = if is_patient { poll.patience(clock.now()) } else { Patience::None };
        let fetched = read_all(&shard, &items, poll.limits, patience).await;
        let starved = is_starved(&fetched);
        let is_last = kind == Visit::Last || clock.now() >= poll.deadline;
        let goes_on = !is_last && !starved && !enough(&fetched, poll.limits);
        if goes_on {
            waits.insert(poll.who, wait_for_more_than(&shard, &items, &fetched), last_wait.as_ref());
        } else if let Some(wait) = last_wait {
            waits.remove(poll.who, &wait);
        }
        Visited { fetched, waits: goes_on }
    });
    call.await
}

/// If there was no memory on one of several shards, the first in order or one that would have given the only records, the
/// others leave their records for the next request and that one reads again, with patience; says whether that was so.
async fn feed_starved<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    owners: &[(usize, Vec<Item>)],
    visited: &mut [Visited<E>],
    poll: Poll,
    kind: Visit,
) -> bool {
    let found_any = visited.iter().flat_map(|visited| &visited.fetched).any(|answer| answer.bytes > 0);
    let starved = visited.iter().position(|visited| is_starved(&visited.fetched));
    let Some(at) = starved.filter(|at| owners.len() > 1 && (*at == 0 || !found_any)) else { return false };
    visited.iter_mut().flat_map(|visited| &mut visited.fetched).for_each(Fetched::leave);
    visited[at] = visit(shard, &owners[at], poll, kind, true).await;
    visited[at].fetched.iter().any(|answer| answer.bytes > 0)
}

/// A wait that ends when there is more in the partitions of `items` than `fetched` has seen.
fn wait_for_more_than<E: Effects>(
    shard: &ShardServices<E>,
    items: &[Item],
    fetched: &[Fetched<E>],
) -> Rc<FetchWait> {
    let wait = Rc::new(FetchWait::default());
    for (item, answer) in items.iter().zip(fetched) {
        if let Some(partition) = shard.replicas.hosted(item.topic_id, item.partition) {
            partition.register_fetch(&wait);
            // A read that had to wait for the disk may have missed an advance.
            if answer.trouble().is_none() && partition.high_watermark().0 != answer.high_watermark {
                wait.wake();
            }
        }
    }
    wait
}
