//! The HTTP server itself: a few threads that take one connection at a time each, answer one request and close.
//!
//! Everything is bounded: the threads, the size of a request and the time a connection may take. It is our own because the
//! small HTTP servers at hand start a thread per connection and read heads without a limit.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::health;
use super::process::ProcessStats;
use super::render::render_metrics;
use super::request_head::{self, RequestHead};
use super::shard_stats::StatsSource;

/// Whether the broker serves clients; shared by the broker, which sets it, and the admin listener, which tells.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// The broker begins or ends to serve clients.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether it does.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The running admin listener. Dropping it stops its threads.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Connections served at the same time.
const THREADS: usize = 4;
/// A request's head may not be longer.
const HEAD_SIZE_MAX: usize = 8 * 1024;
/// A connection is closed when request and answer take longer.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(2);
/// The pause after an error of accept, which mostly means that descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl AdminServer {
    /// Listens on `listen` (`host:port`) and serves until dropped.
    pub fn start(listen: &str, stats: Arc<dyn StatsSource>, readiness: Readiness) -> io::Result<AdminServer> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let mut server = AdminServer { address, stopping, threads: Vec::new() };
        for index in 0..THREADS {
            let worker = Worker {
                listener: listener.try_clone()?,
                stopping: Arc::clone(&server.stopping),
                stats: Arc::clone(&stats),
                readiness: readiness.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("admin-{index}"));
            server.threads.push(thread.spawn(move || worker.run())?);
        }
        Ok(server)
    }

    /// The address it listens on, with the port that the kernel chose if it was 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // A thread that waits in accept notices the flag when a connection comes.
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        for _ in &self.threads {
            let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Worker {
    listener: TcpListener,
    stopping: Arc<AtomicBool>,
    stats: Arc<dyn StatsSource>,
    readiness: Readiness,
}

impl Worker {
    fn run(&self) {
        loop {
            let accepted = self.listener.accept();
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            match accepted {
                // A client that goes away in the middle is its own affair.
                Ok((stream, _)) => drop(self.serve(stream)),
                Err(error) => {
                    tracing::debug!(%error, "the admin listener cannot accept");
                    std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let deadline = Instant::now() + CONNECTION_TIME_MAX;
        let head = read_head(&mut stream, deadline)?;
        let (answer, with_body) = match head.as_deref().map(request_head::parse) {
            Some(RequestHead::Get(path)) => (self.answer(path), true),
            Some(RequestHead::Head(path)) => (self.answer(path), false),
            Some(RequestHead::OtherMethod) => (Answer::text(405, "Only GET is served here.\n"), true),
            Some(RequestHead::Malformed) => (Answer::text(400, "This is not an HTTP/1.1 request.\n"), true),
            None => (Answer::text(431, "The request is too large.\n"), true),
        };
        write_all(&mut stream, &answer.bytes(with_body), deadline)?;
        stream.shutdown(Shutdown::Write)
    }

    fn answer(&self, path: &str) -> Answer {
        let ready = self.readiness.is_ready();
        match path {
            "/" => Answer::text(200, INDEX),
            "/metrics" => {
                let version = env!("CARGO_PKG_VERSION");
                let body = render_metrics(version, ready, ProcessStats::read(), &self.stats.snapshot());
                Answer { status: 200, content_type: "text/plain; version=0.0.4; charset=utf-8", body }
            }
            "/health/live" => Answer::text(200, "live\n"),
            "/health/ready" => {
                let (status, body) = health::ready(ready, &self.stats.snapshot());
                Answer::text(status, &body)
            }
            _ => Answer::text(404, "Not found; / lists what is here.\n"),
        }
    }
}

const INDEX: &str = "Millrace admin\n\n\
    /metrics       statistics in Prometheus' text format\n\
    /health/live   200 while the process runs\n\
    /health/ready  200 while clients are served, with what is degraded, else 503\n";

struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn text(status: u16, body: &str) -> Answer {
        Answer { status, content_type: "text/plain; charset=utf-8", body: body.to_owned() }
    }

    fn bytes(&self, with_body: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let mut text = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        if with_body {
            text.push_str(&self.body);
        }
        text.into_bytes()
    }
}

/// The bytes up to the end of the request's head; `None` when it is too large.
fn read_head(stream: &mut TcpStream, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::with_capacity(1024);
    let mut piece = [0; 1024];
    while !request_head::is_complete(&head) {
        if head.len() >= HEAD_SIZE_MAX {
            return Ok(None);
        }
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&piece[..count]);
    }
    Ok(Some(head))
}

fn write_all(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(remaining(deadline)?))?;
        let count = stream.write(bytes)?;
        if count == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        bytes = &bytes[count..];
    }
    Ok(())
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    let remaining = deadline.saturating_duration_since(Instant::now());
    if remaining.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(remaining) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::StatsBoard;

    fn ask(server: &AdminServer, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        // The rest of a refused request may be met by a reset after the answer.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn every_path_has_its_answer() {
        let readiness = Readiness::default();
        let board = Arc::new(StatsBoard::new(1));
        let server = AdminServer::start("127.0.0.1:0", board, readiness.clone()).unwrap();
        for (ready, request, status, part) in [
            (false, "GET / HTTP/1.1\r\n\r\n", "200 OK", "/health/ready"),
            (false, "GET /health/live HTTP/1.1\r\n\r\n", "200 OK", "live"),
            (false, "GET /health/ready HTTP/1.1\r\n\r\n", "503 Service Unavailable", "starting"),
            (true, "GET /health/ready HTTP/1.1\r\n\r\n", "200 OK", "ready"),
            (true, "GET /metrics HTTP/1.1\r\n\r\n", "200 OK", "millrace_ready 1"),
            (true, "GET /nothing HTTP/1.1\r\n\r\n", "404 Not Found", "Not found"),
            (true, "POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed", "Only GET"),
            (true, "nonsense\r\n\r\n", "400 Bad Request", "not an HTTP"),
        ] {
            readiness.set(ready);
            let answer = ask(&server, request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(body.contains(part), "{request}: {answer}");
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{request}: {answer}");
        }
    }

    #[test]
    fn head_has_no_body() {
        let board = Arc::new(StatsBoard::new(1));
        let server = AdminServer::start("127.0.0.1:0", board, Readiness::default()).unwrap();
        let answer = ask(&server, b"HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let board = Arc::new(StatsBoard::new(1));
        let server = AdminServer::start("127.0.0.1:0", board, Readiness::default()).unwrap();
        let answer = ask(&server, &vec![b'a'; HEAD_SIZE_MAX]);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[test]
    fn a_taken_address_is_an_error() {
        let board = Arc::new(StatsBoard::new(1));
        let server = AdminServer::start("127.0.0.1:0", board.clone(), Readiness::default()).unwrap();
        let taken = server.local_addr().to_string();
        let second = AdminServer::start(&taken, board, Readiness::default());
        assert_eq!(second.unwrap_err().kind(), ErrorKind::AddrInUse);
    }
}
