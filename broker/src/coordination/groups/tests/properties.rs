//! Random histories: every request gets exactly one reply, and the log says what the coordinator knows.

use proptest::prelude::*;

use super::world::{Join, World, commit, fetch_one};
use crate::coordination::groups::{
    GroupConfig, GroupNotice, Input, JoinRequest, OffsetDeleteRequest, Request, Response,
};
use crate::coordination::runner::{CoordinatorMachine, RequestToken, WriteError};

#[derive(Debug, Clone)]
enum Step {
    /// A client joins: with no id, or as whoever it became; dynamic, static or old.
    Join {
        client: usize,
        forget_id: bool,
        topics: usize,
    },
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    Commit {
        client: usize,
        topic: usize,
        offset: i64,
        member: bool,
    },
    Fetch {
        stable: bool,
    },
    Delete,
    DeleteOffsets {
        topic: usize,
    },
    DeleteTopic {
        topic: usize,
    },
    Pass {
        ms: u64,
    },
    /// Appends are held, and then settled one by one.
    Hold,
    Settle {
        ok: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = || 0..CLIENTS;
    let topic = || 0..TOPICS.len();
    let step = prop_oneof![
        6 => (client(), prop::bool::weighted(0.3), topic())
            .prop_map(|(client, forget_id, topics)| Step::Join { client, forget_id, topics }),
        6 => client().prop_map(|client| Step::Sync { client }),
        2 => client().prop_map(|client| Step::Heartbeat { client }),
        1 => client().prop_map(|client| Step::Leave { client }),
        4 => (client(), topic(), 0..100_i64, any::<bool>())
            .prop_map(|(client, topic, offset, member)| Step::Commit { client, topic, offset, member }),
        2 => any::<bool>().prop_map(|stable| Step::Fetch { stable }),
        1 => Just(Step::Delete),
        1 => topic().prop_map(|topic| Step::DeleteOffsets { topic }),
        1 => topic().prop_map(|topic| Step::DeleteTopic { topic }),
        4 => prop_oneof![Just(0), Just(1_000), Just(3_000), Just(10_000), Just(60_000), Just(700_000_000)]
            .prop_map(|ms| Step::Pass { ms }),
        2 => Just(Step::Hold),
        4 => prop::bool::weighted(0.8).prop_map(|ok| Step::Settle { ok }),
    ];
    prop::collection::vec(step, 1..120)
}

/// What the clients of a history know about themselves.
#[derive(Default, Clone)]
struct Client {
    member_id: String,
    generation: i32,
    join: Option<RequestToken>,
}

struct History {
    world: World,
    clients: Vec<Client>,
    /// After a failed append the live state may be ahead of the log, as in Kafka.
    failed: bool,
}

impl History {
    fn learn(&mut self) {
        for client in &mut self.clients {
            if let Some(token) = client.join.filter(|token| !self.world.is_waiting(*token)) {
                let reply = self.world.joined(token);
                client.join = None;
                (client.member_id, client.generation) = (reply.member_id, reply.generation_id);
            }
        }
    }

    fn run(&mut self, step: &Step) {
        self.learn();
        let world = &mut self.world;
        match *step {
            Step::Join { client, forget_id, topics } => {
                let who = &mut self.clients[client];
                let id = if forget_id { "" } else { who.member_id.as_str() };
                let join = match client {
                    0 | 1 => Join::new(id),
                    2 | 3 => Join::instance(id, &format!("i{client}")),
                    _ => Join(JoinRequest { member_id: id.into(), ..Join::old().0 }),
                };
                who.join = Some(world.send_join(join.topics(&TOPICS[..=topics])));
            }
            Step::Sync { client } => {
                let who = self.clients[client].clone();
                let ids: Vec<&str> = self.clients.iter().map(|client| client.member_id.as_str()).collect();
                world.send_sync(&who.member_id, who.generation, &ids);
            }
            Step::Heartbeat { client } => {
                let who = self.clients[client].clone();
                world.heartbeat(&who.member_id, who.generation);
            }
            Step::Leave { client } => {
                let id = self.clients[client].member_id.clone();
                world.send_leave(&[(&id, None)]);
            }
            Step::Commit { client, topic, offset, member } => {
                let who = &self.clients[client];
                let request = if member {
                    commit(&who.member_id, who.generation, TOPICS[topic], offset)
                } else {
                    commit("", -1, TOPICS[topic], offset)
                };
                world.send_commit(request);
            }
            Step::Fetch { stable } => drop(world.send(fetch_one(stable))),
            Step::Delete => drop(world.send(Request::Delete(vec!["g".into()]))),
            Step::DeleteOffsets { topic } => {
                let topics = vec![(TOPICS[topic].to_owned(), vec![0])];
                world.send(Request::OffsetDelete(OffsetDeleteRequest { group_id: "g".into(), topics }));
            }
            Step::DeleteTopic { topic } => {
                let topic_id = model::Uuid::ZERO;
                let topic = TOPICS[topic].into();
                world.input(Input::Notice(GroupNotice::TopicDeleted { topic, topic_id }));
                // Else an offset that is committed before the pass looks at it would go as well.
                world.advance(1);
            }
            Step::Pass { ms } => world.advance(ms),
            Step::Hold => world.hold_appends(),
            Step::Settle { ok } => {
                if !world.held.is_empty() {
                    self.failed |= !ok;
                    world.release_first(if ok { Ok(()) } else { Err(WriteError::Unavailable) });
                }
            }
        }
    }
}

fn history(steps: &[Step]) -> History {
    let mut history =
        History { world: World::new(), clients: vec![Client::default(); CLIENTS], failed: false };
    for step in steps {
        history.run(step);
    }
    history.world.release(Ok(()));
    history
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// `World` fails on a second reply; here nobody is left without one.
    #[test]
    fn every_request_gets_one_reply(steps in steps(), resign in any::<bool>()) {
        let mut history = history(&steps);
        if resign {
            history.world.input(Input::Resign);
        } else {
            // Sessions, joins and syncs all end by themselves.
            history.world.advance(2_000_000);
        }
        prop_assert_eq!(history.world.open_requests(), 0);
    }

    #[test]
    fn replay_gives_what_the_live_coordinator_has(steps in steps()) {
        let mut live = history(&steps);
        let log = live.world.log.clone();
        let mut replayed = World::loaded(GroupConfig::default(), log, live.world.now_ms);
        prop_assert_eq!(replayed.offsets(), live.world.offsets());
        if live.failed {
            return Ok(());
        }
        prop_assert_eq!(replayed.coordinator.count(), live.world.coordinator.count());
        if live.world.state() == "Stable" || live.world.state() == "Empty" {
            let describe = || Request::Describe(vec!["g".into()]);
            let (mut was, mut is) = (live.world.ask(describe()), replayed.ask(describe()));
            // A group that has known members keeps their protocol type until its next record.
            for response in [&mut was, &mut is] {
                if let Response::Describe(groups) = response && groups[0].state == "Empty" {
                    groups[0].protocol_type.clear();
                }
            }
            prop_assert_eq!(is, was);
        }
    }
}

const CLIENTS: usize = 6;
const TOPICS: [&str; 3] = ["t", "u", "v"];
