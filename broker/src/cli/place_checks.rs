//! What `doctor` asks of the place that a start would use: memory, processors, ports, the lock of the data directory and
//! whose data it holds.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use model::TopicPartition;
use runtime::probe::{Finding, Resources};
use storage::LOCK_PATIENCE;

use super::allowed_cores;
use crate::cli::start_plan::StartPlan;
use crate::config::BrokerConfig;

/// Entries of the data directory whose owner is looked at.
const ENTRIES_MAX: usize = 10_000;

/// The pause before a lock that is held is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Whether a start with these settings gets its cores and memory.
pub(super) fn plan(config: &BrokerConfig) -> Vec<Finding> {
    let resources = Resources::read();
    let planned = allowed_cores().and_then(|allowed| StartPlan::new(config.clone(), &allowed, &resources));
    match planned {
        Ok(plan) => vec![
            Finding::ok("processors", plan.cores.to_string()),
            Finding::ok("memory", plan.memory.to_string()),
        ],
        Err(problem) => vec![Finding::fail("cores and memory", problem, "change the settings that it names")],
    }
}

/// Whether the ports are free. A broker that runs on the same data directory has them for good reason.
pub(super) fn ports(config: &BrokerConfig, is_running: bool) -> Vec<Finding> {
    let listeners = config.listeners().iter().map(crate::config::Listener::address);
    let addresses = listeners.chain(config.admin_listen().map(str::to_owned));
    addresses.map(|address| port(&address, is_running)).collect()
}

fn port(address: &str, is_running: bool) -> Finding {
    const NAME: &str = "port";
    let resolved: Option<SocketAddr> = match address.to_socket_addrs() {
        Ok(mut found) => found.next(),
        Err(error) => {
            let fix = "write an address of this machine, or a name that it can resolve";
            return Finding::fail(NAME, format!("{address}: {error}"), fix);
        }
    };
    let Some(resolved) = resolved else {
        return Finding::fail(NAME, format!("{address} has no address"), "write an address of this machine");
    };
    match TcpListener::bind(resolved) {
        Ok(_) => Finding::ok(NAME, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_running => {
            Finding::ok(NAME, format!("{address} is in use, as the broker runs"))
        }
        Err(error) => Finding::fail(NAME, format!("{address}: {error}"), port_cure(&error)),
    }
}

fn port_cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "stop what listens there (`ss -ltnp` names it), or choose another port with --listen or --admin-listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address; name one that `ip addr` shows"
        }
        io::ErrorKind::PermissionDenied => "use a port above 1023, or give the process CAP_NET_BIND_SERVICE",
        _ => "choose another address with --listen or --admin-listen",
    }
}

/// Whether another process holds the data directory. One that has ended may still do so for a moment, which is waited for as a
/// start does.
pub(super) fn is_locked(dir: &Path) -> bool {
    let Ok(file) = fs::File::open(dir.join(".lock")) else { return false };
    let deadline = Instant::now() + LOCK_PATIENCE;
    while matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)) {
        if Instant::now() >= deadline {
            return true;
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    false
}

/// What holds for the data that is there already.
pub(super) fn existing(dir: &Path, config: &BrokerConfig, is_running: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is_running {
        findings.push(Finding::ok("lock", "a broker runs on this data directory"));
    }
    findings.extend(owner(dir));
    findings.extend(identity(dir, config.node_id()));
    findings
}

fn owner(dir: &Path) -> Option<Finding> {
    const NAME: &str = "owner";
    let process = fs::metadata("/proc/self").ok()?.uid();
    let entries = fs::read_dir(dir).ok()?.filter_map(Result::ok).take(ENTRIES_MAX).map(|entry| entry.path());
    let foreign = entries.chain([dir.to_owned()]).find_map(|path| {
        let uid = fs::symlink_metadata(&path).ok()?.uid();
        (uid != process).then_some((path, uid))
    });
    let Some((path, uid)) = foreign else { return Some(Finding::ok(NAME, format!("user {process}"))) };
    let detail = format!("{} belongs to user {uid}, this process runs as user {process}", path.display());
    let fix =
        format!("run the broker as the user that owns the data, or `chown -R {process} {}`", dir.display());
    // The superuser can write, but what it writes the former user cannot open.
    Some(if process == 0 { Finding::warn(NAME, detail, fix) } else { Finding::fail(NAME, detail, fix) })
}

fn identity(dir: &Path, node_id: i32) -> Option<Finding> {
    const NAME: &str = "identity";
    let Ok(meta) = fs::read_to_string(dir.join("meta.properties")) else {
        let entries = fs::read_dir(dir).ok()?.filter_map(Result::ok);
        let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let partition = names.find(|name| TopicPartition::from_dir_name(name).is_some())?;
        let detail = format!("there is data ({partition}), but no meta.properties that can be read");
        let fix = "restore it from a copy, or write it: version=1, node.id, cluster.id";
        return Some(Finding::fail(NAME, detail, fix));
    };
    let value = |key: &str| meta.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let found = value("node.id").map(str::trim);
    if found == Some(node_id.to_string().as_str()) {
        return Some(Finding::ok(
            NAME,
            format!("node {node_id} of cluster {}", value("cluster.id").unwrap_or("?")),
        ));
    }
    let detail = format!("the data is node {}'s, this is node {node_id}", found.unwrap_or("(none)"));
    Some(Finding::fail(
        NAME,
        detail,
        "set node.id to the node that the data belongs to, or choose another directory",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::probe::Status;

    #[test]
    fn a_port_in_use_is_found() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let found = port(&address, false);
        assert!(found.status == Status::Fail && found.fix.contains("--listen"), "{found}");
        assert_eq!(port(&address, true).status, Status::Ok);
        drop(taken);
        assert_eq!(port("127.0.0.1:0", false).status, Status::Ok);
        assert!(port("no.such.host.invalid:1", false).status == Status::Fail);
    }

    #[test]
    fn data_that_is_there_is_looked_at() {
        let dir = std::env::temp_dir().join(format!("millrace-place-checks-{}", std::process::id()));
        fs::create_dir_all(dir.join("orders-0")).unwrap();
        let bad = |node: i32| {
            let found = identity(&dir, node);
            found.map(|finding| (finding.status, finding.detail))
        };
        let lost = bad(1);
        fs::write(dir.join("meta.properties"), "version=1\nnode.id=3\ncluster.id=c\n").unwrap();
        let (ours, others) = (bad(3), bad(1));
        let process = fs::metadata("/proc/self").unwrap().uid();
        let owned = owner(&dir);
        if process == 0 {
            std::os::unix::fs::chown(dir.join("orders-0"), Some(1234), None).unwrap();
        }
        let foreign = owner(&dir);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(
            lost,
            Some((
                Status::Fail,
                "there is data (orders-0), but no meta.properties that can be read".to_owned()
            ))
        );
        assert_eq!(ours, Some((Status::Ok, "node 3 of cluster c".to_owned())));
        assert_eq!(others, Some((Status::Fail, "the data is node 3's, this is node 1".to_owned())));
        assert_eq!(owned.map(|finding| finding.status), Some(Status::Ok));
        if process == 0 {
            let foreign = foreign.unwrap();
            assert!(
                foreign.status == Status::Warn && foreign.detail.contains("orders-0 belongs to user 1234"),
                "{foreign}"
            );
        }
    }

    #[test]
    fn a_lock_that_is_held_is_seen() {
        let dir = std::env::temp_dir().join(format!("millrace-place-lock-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        assert!(!is_locked(&dir));
        let lock = fs::File::create(dir.join(".lock")).unwrap();
        assert!(!is_locked(&dir));
        lock.lock().unwrap();
        assert!(is_locked(&dir));
        fs::remove_dir_all(&dir).unwrap();
    }
}
