//! Proves that a whole run works against the null broker: every subcommand's path but storage.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use clap::Parser;

use crate::acked::AckedChecker;
use crate::cli::{Cli, Command};
use crate::control::Control;
use crate::null_broker::{NullBroker, NullBrokerSpec};
use crate::report::Report;
use crate::run;

/// A null broker on its own thread, stopped when dropped.
struct Served {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn start() -> Self {
        let spec = NullBrokerSpec { partitions: 4, check_crc: true, fetch_bytes: 300_000 };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut broker = NullBroker::bind(SocketAddr::from(([127, 0, 0, 1], 0)), spec).unwrap();
            tell.send(broker.address()).unwrap();
            while !stopped.load(Ordering::Relaxed) {
                broker.turn(1_000_000).unwrap();
            }
        });
        let address = told.recv().unwrap();
        Self { address, stop, thread: Some(thread) }
    }

    /// Runs `loadgen ARGS` against it.
    fn loadgen(&self, args: &str) -> Report {
        let bootstrap = self.address.to_string();
        let words = ["loadgen"].into_iter().chain(args.split_ascii_whitespace());
        let words = words.chain(["--bootstrap", &bootstrap]);
        match Cli::parse_from(words).command {
            Command::Produce(args) => run::produce(&args).unwrap(),
            Command::Consume(args) => run::consume(&args).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn every_kind_of_produce_is_acknowledged_in_full() {
    let served = Served::start();
    for (args, records, requests) in [
        ("produce --records 1000 --batch-records 10", 1_000, 100),
        ("produce --records 960 --batch-records 10 --partitions-per-request 4 --connections 2", 960, 48),
        ("produce --records 300 --batch-records 1 --record-size 100 --in-flight 16 --idempotent", 300, 300),
        ("produce --records 200 --batch-records 20 --compression zstd --keys random:9", 200, 10),
        ("produce --records 50 --rate 100000 --acks 1 --keys sequential", 50, 50),
        ("produce --records 40 --batch-records 4 --acks 0", 40, 10),
        ("produce --records 60 --batch-records 1 --shared-partitions --connections 3 --partitions 2", 60, 60),
    ] {
        let report = served.loadgen(args);
        assert!(report.is_clean(), "{args}: {}", report.table());
        let produced = report.meter.produced;
        assert_eq!((produced.records, produced.requests), (records, requests), "{args}");
        assert_eq!(report.main_latency().len(), records, "{args}");
    }
}

#[test]
fn acknowledged_batches_are_listed() {
    let served = Served::start();
    let path = std::env::temp_dir().join(format!("loadgen-round-trip-{}", std::process::id()));
    let file = path.display();
    let report = served.loadgen(&format!("produce --records 120 --batch-records 10 --acked-file {file}"));
    let listed = AckedChecker::open(&path).map(|checker| checker.records());
    std::fs::remove_file(&path).unwrap();
    assert!(report.is_clean());
    assert_eq!(listed.unwrap(), 120);
}

#[test]
fn made_up_records_are_fetched_and_fail_verification() {
    let served = Served::start();
    let report = served.loadgen("consume --records 2000 --no-verify --connections 2 --in-flight 2");
    assert!(report.is_clean() && report.meter.fetched.records >= 2_000);
    let paced = served.loadgen("consume --records 3000 --no-verify --rate 1000000");
    assert!(paced.is_clean() && paced.meter.fetched.records >= 3_000);
    let report = served.loadgen("consume --records 200 --in-flight 1");
    assert!(report.violations.unwrap().corrupt > 0, "the canned batches carry no checksum");
}

#[test]
fn a_version_that_is_not_offered_is_a_clear_error() {
    let served = Served::start();
    let control = Control::connect(served.address).unwrap();
    assert!(control.require(0, "Produce", 9).is_ok());
    let error = control.require(0, "Produce", 13).unwrap_err().to_string();
    assert!(error.contains("Produce versions 9-9") && error.contains("speaks 13"), "{error}");
    let error = control.require(60, "DescribeCluster", 0).unwrap_err().to_string();
    assert!(error.contains("does not offer DescribeCluster"), "{error}");
}
