//! A coordinator that adds numbers up.

use bytes::Bytes;

use crate::coordination::runner::{
    Action, AppendToken, CoordinatorMachine, Input, LogRecord, Now, Refusal, RequestToken, WriteError,
};

/// The sum of all numbers in the log, and what is on its way there.
#[derive(Debug)]
pub(crate) struct Counter {
    /// Added to every answer, to see which settings it has.
    base: i64,
    durable: i64,
    staged: Vec<(AppendToken, i64, RequestToken)>,
    appended: u64,
    alarms: Vec<(u64, RequestToken)>,
}

#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// Appends a number; told the sum when it is durable.
    Add(i64),
    /// Appends numbers that make sense together only, one append each; told of the last.
    AddAll(Vec<i64>),
    /// What is durable.
    Sum,
    /// Answered after so many milliseconds.
    Alarm(u64),
    /// Answered even while the log is being read.
    Ping,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Sum(i64),
    Failed(WriteError),
    Rang,
    Pong,
    Refused(Refusal),
}

pub(crate) fn record(number: i64) -> LogRecord {
    LogRecord { key: Bytes::from_static(b"n"), value: Some(Bytes::copy_from_slice(&number.to_be_bytes())) }
}

impl Counter {
    fn append(&mut self, number: i64, token: RequestToken, continues: bool) -> Action<Told> {
        self.appended += 1;
        let append = AppendToken(self.appended);
        self.staged.push((append, number, token));
        Action::Append { token: append, records: vec![record(number)], continues }
    }

    fn ask(&mut self, token: RequestToken, request: Ask, now: Now) -> Vec<Action<Told>> {
        let reply = |response| vec![Action::Reply { token, response }];
        match request {
            Ask::Add(number) => vec![self.append(number, token, false)],
            Ask::AddAll(numbers) => {
                let last = numbers.len() - 1;
                let append = |(at, number)| {
                    // Nobody waits for those before the last.
                    let token = if at == last { token } else { RequestToken(u64::MAX) };
                    self.append(number, token, at > 0)
                };
                numbers.into_iter().enumerate().map(append).collect()
            }
            Ask::Sum => reply(Told::Sum(self.base + self.durable)),
            Ask::Ping => reply(Told::Pong),
            Ask::Alarm(after_ms) => {
                self.alarms.push((now.monotonic_ms + after_ms, token));
                Vec::new()
            }
        }
    }

    fn appended(&mut self, token: AppendToken, result: Result<(), WriteError>) -> Vec<Action<Told>> {
        let at = self.staged.iter().position(|(staged, ..)| *staged == token).expect("it was appended");
        let (_, number, asker) = self.staged.remove(at);
        let response = match result {
            Ok(()) => {
                assert_eq!(at, 0, "successes come in append order");
                self.durable += number;
                Told::Sum(self.base + self.durable)
            }
            Err(error) => Told::Failed(error),
        };
        vec![Action::Reply { token: asker, response }]
    }
}

impl CoordinatorMachine for Counter {
    const TOPIC: &'static str = "__counters";
    const COORDINATES: &'static str = "numbers";

    type Config = i64;
    type Request = Ask;
    type Response = Told;
    type Notice = i64;
    type ReplayError = &'static str;

    fn new(base: i64) -> Self {
        Self { base, durable: 0, staged: Vec::new(), appended: 0, alarms: Vec::new() }
    }

    fn replay(&mut self, _key: &[u8], value: Option<&[u8]>) -> Result<(), &'static str> {
        let bytes = value.and_then(|value| value.try_into().ok()).ok_or("not a number")?;
        self.durable += i64::from_be_bytes(bytes);
        Ok(())
    }

    fn step(&mut self, input: Input<Ask, i64>, now: Now) -> Vec<Action<Told>> {
        match input {
            Input::Request { token, request } => self.ask(token, request, now),
            Input::Tick => {
                let (due, kept) = self.alarms.drain(..).partition(|(at, _)| *at <= now.monotonic_ms);
                self.alarms = kept;
                let due: Vec<(u64, RequestToken)> = due;
                due.into_iter().map(|(_, token)| Action::Reply { token, response: Told::Rang }).collect()
            }
            Input::Appended { token, result } => self.appended(token, result),
            Input::Notice(number) => {
                self.base += number;
                Vec::new()
            }
            Input::LoadDone => Vec::new(),
            Input::Resign => {
                let staged = self.staged.drain(..).map(|(.., token)| token);
                let askers = staged.chain(self.alarms.drain(..).map(|(_, token)| token));
                let refused = Told::Refused(Refusal::NotCoordinator);
                askers.map(|token| Action::Reply { token, response: refused.clone() }).collect()
            }
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        self.alarms.iter().map(|(at, _)| *at).min()
    }

    fn count(&self) -> usize {
        usize::from(self.durable != 0)
    }

    fn refuse(_request: &Ask, refusal: Refusal) -> Told {
        Told::Refused(refusal)
    }

    fn answer_while_loading(request: &Ask) -> Option<Told> {
        matches!(request, Ask::Ping).then_some(Told::Pong)
    }
}
