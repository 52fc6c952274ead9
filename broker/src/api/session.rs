//! What is known of a client connection from its acceptance to its end.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use runtime::sync::Notify;

/// One client connection, as handlers know it. Made when the connection is accepted; lives on that shard.
#[derive(Debug)]
pub struct Session {
    /// The connection's number on its shard.
    pub connection_id: u64,
    /// The name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The address that the client connected to.
    pub local_addr: SocketAddr,
    /// The client's own address.
    pub peer_addr: SocketAddr,
    /// Who the client is.
    pub principal: Principal,
    /// What it calls itself, in its newest request.
    client_id: RefCell<Option<Rc<str>>>,
    /// What it runs.
    software: RefCell<Option<ClientSoftware>>,
    ending: Cell<bool>,
    end_began: Notify,
}

/// Who a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal {
    /// Nobody in particular: it was not asked.
    Anonymous,
}

/// The library that a client runs, as it says itself (KIP-511).
#[derive(Debug)]
struct ClientSoftware {
    name: String,
    version: String,
}

impl Session {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(
        connection_id: u64,
        listener: Arc<str>,
        local_addr: SocketAddr,
        peer_addr: SocketAddr,
    ) -> Self {
        Self {
            connection_id,
            listener,
            local_addr,
            peer_addr,
            principal: Principal::Anonymous,
            client_id: RefCell::default(),
            software: RefCell::default(),
            ending: Cell::new(false),
            end_began: Notify::new(),
        }
    }

    /// Notes what the client calls itself. Nearly all clients keep to one short name, which is then shared by their requests.
    pub fn note_client_id(&self, client_id: Option<&str>) -> Option<Rc<str>> {
        let mut last = self.client_id.borrow_mut();
        if last.as_deref() != client_id {
            let noted = client_id.map(Rc::from);
            if client_id.is_some_and(|id| id.len() > SHARED_BYTES_MAX) {
                return noted;
            }
            *last = noted;
        }
        last.clone()
    }

    /// Notes what the client runs.
    pub fn note_software(&self, name: &str, version: &str) {
        *self.software.borrow_mut() =
            Some(ClientSoftware { name: shortened(name), version: shortened(version) });
    }

    /// Whether the connection takes no more requests.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// Has the connection take no more requests, and those that wait for something be answered.
    pub fn begin_end(&self) {
        self.ending.set(true);
        self.end_began.notify_all();
    }

    /// Waits until the connection takes no more requests.
    pub async fn end_begun(&self) {
        while !self.is_ending() {
            self.end_began.notified().await;
        }
    }
}

/// For the log, beside the address.
impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.principal, self.listener)?;
        if let Some(client_id) = &*self.client_id.borrow() {
            write!(f, " as {:?}", shortened(client_id))?;
        }
        if let Some(ClientSoftware { name, version }) = &*self.software.borrow() {
            write!(f, " with {name} {version}")?;
        }
        Ok(())
    }
}

/// As Kafka writes it.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("User:ANONYMOUS"),
        }
    }
}

/// As much of a client's words as is kept for the log.
fn shortened(text: &str) -> String {
    text.chars().take(KEPT_CHARS_MAX).collect()
}

const KEPT_CHARS_MAX: usize = 100;

/// A longer name of a client is not kept between its requests.
const SHARED_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let address = |text: &str| text.parse().expect("an address");
        Session::new(7, Arc::from("OUT"), address("10.0.0.1:9092"), address("10.0.0.2:5000"))
    }

    #[test]
    fn the_log_says_what_the_client_has_said() {
        let session = session();
        assert_eq!(session.to_string(), "User:ANONYMOUS on OUT");
        session.note_client_id(Some("a\nb"));
        session.note_software("librdkafka", &"9".repeat(1000));
        let version = "9".repeat(KEPT_CHARS_MAX);
        let expected = format!("User:ANONYMOUS on OUT as \"a\\nb\" with librdkafka {version}");
        assert_eq!(session.to_string(), expected);
    }

    #[test]
    fn requests_of_one_client_share_its_name() {
        let session = session();
        let first = session.note_client_id(Some("a")).expect("a name");
        let second = session.note_client_id(Some("a")).expect("a name");
        assert!(Rc::ptr_eq(&first, &second));
        assert_eq!(session.note_client_id(Some("b")).as_deref(), Some("b"));
        assert_eq!(session.note_client_id(None), None);
        let long = "x".repeat(30_000);
        assert_eq!(session.note_client_id(Some(&long)).as_deref(), Some(&*long));
        assert_eq!(session.to_string(), "User:ANONYMOUS on OUT", "it takes no memory of an idle connection");
    }
}
