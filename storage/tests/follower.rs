//! Proves that what a follower appends is what its leader has, byte for byte, through crashes; and that it takes nothing else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use fastrand::Rng;
use model::{
    Compression, LeaderEpoch, Offset, ProducerEpoch, ProducerId, RecordBatch, RecordBatchBuilder, Sequence,
};
use runtime::Clock;
use runtime::Effects;
use runtime::sim::{OpKind, SimEffects, SimWorld};
use storage::{AppendError, AppendOrigin, CutCommitted, Log, LogConfig, LogManagerOptions, ReadPart};
use support::{Broker, batch, idempotent, listen, pause, read_all, start};

type SimLog = Rc<Log<SimEffects>>;

/// So many rounds has the life of two replicas.
const ROUNDS: i32 = 40;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 6_000, index_interval_bytes: 500, ..LogConfig::default() }
}

fn compacted() -> LogConfig {
    LogConfig { compact: true, ..config() }
}

async fn opened(world: &SimWorld, node: &str, config: &LogConfig) -> (Broker, SimLog) {
    let broker = start(world.node(node), LogManagerOptions::default()).await.unwrap();
    let log = broker.log(0, config).await;
    (broker, log)
}

/// What the leader has from `from` on, as it stands there.
async fn bytes_of(leader: &SimLog, from: Offset, max_bytes: usize) -> Bytes {
    let read = leader.read(from, max_bytes, true, leader.log_end_offset()).await.unwrap();
    let mut bytes = Vec::new();
    for part in read.parts {
        let ReadPart::Memory(part) = part else { panic!("direct reads yield memory") };
        bytes.extend_from_slice(&part.bytes);
    }
    Bytes::from(bytes)
}

/// Has the follower catch up, so many bytes at a time.
async fn catch_up(leader: &SimLog, follower: &SimLog, max_bytes: usize, now_ms: i64) {
    while follower.log_end_offset() < leader.log_end_offset() {
        let bytes = bytes_of(leader, follower.log_end_offset(), max_bytes).await;
        let end = follower.append_as_follower(&bytes, LeaderEpoch(i32::MAX), now_ms).unwrap();
        assert_eq!(end, follower.log_end_offset());
        follower.check_invariants();
    }
}

/// The files that say what is in a log, and from where to go on, by their names.
fn files(world: &SimWorld, node: &str, log: &SimLog) -> BTreeMap<PathBuf, Vec<u8>> {
    let disk = world.disk(node);
    let newest = format!("{:020}.snapshot", log.log_end_offset().0);
    let counts = |path: &PathBuf| {
        let ending = path.extension().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        ["log", "index", "timeindex"].contains(&ending)
            || path.ends_with("leader-epoch-checkpoint")
            || path.ends_with(&newest)
    };
    let of_topic = disk.files().into_iter().filter(|path| path.starts_with("/data/topic-0"));
    of_topic.filter(counts).map(|path| (path.clone(), disk.read(&path).unwrap())).collect()
}

/// Both logs are the same, in memory and on disk.
async fn check_same(
    world: &SimWorld,
    leader: (&Broker, &SimLog),
    follower: (&Broker, &SimLog),
    lives: bool,
    what: &str,
) {
    assert_eq!(leader.1.log_end_offset(), follower.1.log_end_offset(), "{what}");
    for epoch in -1..8 {
        let end = |log: &SimLog| log.end_offset_for_epoch(LeaderEpoch(epoch));
        assert_eq!(end(leader.1), end(follower.1), "{what}, epoch {epoch}");
    }
    assert_eq!(leader.1.latest_epoch(), follower.1.latest_epoch(), "{what}");
    for timestamp in (0..6_000).step_by(500) {
        let end = leader.1.log_end_offset();
        let expected = leader.1.offset_for_timestamp(timestamp, end).await.unwrap();
        assert_eq!(
            follower.1.offset_for_timestamp(timestamp, end).await.unwrap(),
            expected,
            "{what} {timestamp}"
        );
    }
    leader.0.stop().await;
    follower.0.stop().await;
    let (expected, found) = (files(world, "a", leader.1), files(world, "b", follower.1));
    assert!(expected.keys().any(|path| path.extension().is_some_and(|ending| ending == "snapshot")));
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&expected), names(&found), "{what}");
    // A log that rests has the time of its last batch in the time index at once.
    let rested = |path: &PathBuf| lives && path.extension().is_some_and(|ending| ending == "timeindex");
    for (path, content) in expected.into_iter().filter(|(path, _)| !rested(path)) {
        assert!(found[&path] == content, "{what}: {}", path.display());
    }
}

/// Compresses the records of a batch.
fn lz4(plain: &Bytes) -> Bytes {
    let (header, records) = plain.split_at(RecordBatch::HEADER_SIZE);
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    std::io::Write::write_all(&mut encoder, records).unwrap();
    let mut bytes = [header, &encoder.finish().unwrap()].concat();
    let length = i32::try_from(bytes.len() - RecordBatch::LOG_OVERHEAD).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] |= u8::try_from(Compression::Lz4.bits()).unwrap();
    Bytes::from(with_checksum(bytes))
}

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes[RecordBatch::CRC_START..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// A leader that takes all kinds of batches.
struct Leading {
    log: SimLog,
    rng: Rng,
    epoch: i32,
    sequences: [i32; 5],
}

impl Leading {
    fn append(&mut self, now_ms: i64) {
        let rng = &mut self.rng;
        let (kind, records) = (rng.u8(..12), rng.i32(1..5));
        let time = 1_000 + rng.i64(0..5_000);
        let mut builder = RecordBatchBuilder::new(Offset(0));
        for _ in 0..records {
            let value = vec![b'v'; rng.usize(..300)];
            builder = builder.record(time, Some(b"k"), Some(&value));
        }
        let (bytes, origin) = match kind {
            0 => {
                self.epoch += 1;
                self.log.assign_epoch(LeaderEpoch(self.epoch));
                (builder.build(), AppendOrigin::Client)
            }
            1 => (builder.attributes(0x20).build(), AppendOrigin::Coordinator),
            2 => (lz4(&builder.build()), AppendOrigin::Client),
            3..8 => {
                let id = rng.usize(..self.sequences.len());
                let sequence = Sequence(self.sequences[id]);
                self.sequences[id] += records;
                let id = ProducerId(i64::try_from(id).unwrap());
                (builder.producer(id, ProducerEpoch(0), sequence).build(), AppendOrigin::Client)
            }
            _ => (builder.build(), AppendOrigin::Client),
        };
        self.log.append(&bytes, origin, LeaderEpoch(self.epoch), now_ms).unwrap();
    }
}

/// Two replicas through many rounds; `lives` says whether the follower loses power in between, too.
fn replicate(seed: u64, config: &LogConfig, lives: bool) {
    let world = SimWorld::new(seed);
    let mut rng = Rng::with_seed(seed);
    let (leader, log) = world.block_on(opened(&world, "a", config));
    let (mut follower, mut copy) = world.block_on(opened(&world, "b", config));
    let mut leading =
        Leading { log: Rc::clone(&log), rng: Rng::with_seed(!seed), epoch: 0, sequences: [0; 5] };
    for round in 0..ROUNDS {
        if lives && rng.u8(..4) == 0 {
            match rng.u8(..3) {
                0 => world.block_on(follower.stop()),
                1 => world.disk("b").crash_at(OpKind::Write, world.disk("b").changes(OpKind::Write) + 2),
                _ => {}
            }
            world.block_on(pause(&leader.effects, rng.u64(..3_000)));
            world.crash("b");
            (follower, copy) = world.block_on(opened(&world, "b", config));
            assert!(copy.offline().is_none(), "seed {seed}, round {round}: {:?}", copy.offline());
        }
        let node = world.node("a");
        world.block_on(async {
            for _ in 0..leading.rng.u8(..6) {
                leading.append(node.clock().unix_ms());
            }
            catch_up(&log, &copy, rng.usize(1..4_000), node.clock().unix_ms()).await;
            if rng.bool() {
                copy.flush().await.unwrap();
                copy.update_high_watermark(copy.durable_end());
            }
            pause(&node, if lives && rng.u8(..5) == 0 { 3_000 } else { 0 }).await;
        });
    }
    world.block_on(async {
        log.flush().await.unwrap();
        copy.flush().await.unwrap();
        for log in [&log, &copy] {
            log.update_high_watermark(log.durable_end());
        }
        check_same(&world, (&leader, &log), (&follower, &copy), lives, &format!("seed {seed}")).await;
    });
    world.end();
}

#[test]
fn a_follower_has_what_its_leader_has_byte_for_byte() {
    for seed in 0..20 {
        replicate(seed, &config(), false);
    }
}

#[test]
fn a_follower_that_loses_power_goes_on_where_it_was() {
    for seed in 100..160 {
        replicate(seed, &config(), true);
    }
}

/// A follower has more of its leader than the one that leads next: it is cut where they part, and has the same then.
fn change_leaders(seed: u64, crash: bool) {
    let world = SimWorld::new(seed);
    let mut rng = Rng::with_seed(seed);
    let (_first, first) = world.block_on(opened(&world, "first", &config()));
    let (leader, log) = world.block_on(opened(&world, "a", &config()));
    let (mut follower, mut copy) = world.block_on(opened(&world, "b", &config()));
    let node = world.node("a");
    let now_ms = || node.clock().unix_ms();
    let mut leading =
        Leading { log: Rc::clone(&first), rng: Rng::with_seed(!seed), epoch: 0, sequences: [0; 5] };
    world.block_on(async {
        (0..rng.u8(1..30)).for_each(|_| leading.append(now_ms()));
        catch_up(&first, &log, 1 << 20, now_ms()).await;
        let sequences = leading.sequences;
        (0..rng.u8(..30)).for_each(|_| leading.append(now_ms()));
        catch_up(&first, &copy, 1 << 20, now_ms()).await;
        copy.flush().await.unwrap();
        // The next leader goes on in an epoch of its own with what it has.
        (leading.log, leading.sequences, leading.epoch) = (Rc::clone(&log), sequences, leading.epoch + 1);
        log.assign_epoch(LeaderEpoch(leading.epoch));
        let epoch = LeaderEpoch(leading.epoch);
        log.append(&batch(1, 1, 10, 1_000), AppendOrigin::Coordinator, epoch, now_ms()).unwrap();
        (0..rng.u8(1..30)).for_each(|_| leading.append(now_ms()));
        let (_, end) = log.end_offset_for_epoch(copy.latest_epoch().unwrap_or(LeaderEpoch(0)));
        let (_, own_end) = copy.end_offset_for_epoch(log.latest_epoch().unwrap());
        assert_eq!(own_end, Offset(-1), "seed {seed}: of the new epoch there is nothing yet");
        copy.truncate_to(end.min(copy.log_end_offset()), CutCommitted::Refuse).await.unwrap();
    });
    if crash {
        world.crash("b");
        (follower, copy) = world.block_on(opened(&world, "b", &config()));
    }
    world.block_on(async {
        catch_up(&log, &copy, rng.usize(1..4_000), now_ms()).await;
        log.flush().await.unwrap();
        copy.flush().await.unwrap();
        leader.stop().await;
        follower.stop().await;
        // A segment that was begun and cut stays where it began, so that only all of them together are the same.
        let content = |node: &str, log: &SimLog| {
            let files = files(&world, node, log);
            let of = |ending: &str| -> Vec<u8> {
                let files = files.iter().filter(|(path, _)| path.to_string_lossy().ends_with(ending));
                files.flat_map(|(_, content)| content.clone()).collect()
            };
            [of(".log"), of(".snapshot"), of("leader-epoch-checkpoint")]
        };
        assert!(content("a", &log) == content("b", &copy), "seed {seed}");
    });
    world.end();
}

#[test]
fn a_follower_that_had_more_has_what_its_next_leader_has() {
    for seed in 200..240 {
        change_leaders(seed, seed % 2 == 0);
    }
}

#[test]
fn a_followers_producers_are_its_leaders() {
    let world = SimWorld::new(3);
    world.block_on(async {
        let (_leader, log) = opened(&world, "a", &config()).await;
        let (_follower, copy) = opened(&world, "b", &config()).await;
        for sequence in 0..7 {
            support::append(&log, &idempotent(4, sequence, 1)).unwrap();
        }
        catch_up(&log, &copy, 1 << 20, 5_000).await;
        for sequence in 2..7 {
            let again = support::append(&copy, &idempotent(4, sequence, 1)).unwrap();
            assert_eq!((again.duplicate, again.first_offset), (true, Offset(sequence.into())));
        }
        let gap = support::append(&copy, &idempotent(4, 8, 1));
        assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { .. })), "{gap:?}");
        let next = support::append(&copy, &idempotent(4, 7, 1)).unwrap();
        assert_eq!((next.duplicate, next.first_offset), (false, Offset(7)));
    });
    world.end();
}

/// A batch as a leader has it.
fn stored(base: i64, records: usize, epoch: i32) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(Offset(base)).leader_epoch(LeaderEpoch(epoch));
    for _ in 0..records {
        builder = builder.record(1_000, Some(b"k"), Some(&[b'x'; 50]));
    }
    builder.build().to_vec()
}

#[test]
fn what_does_not_go_on_is_refused() {
    let mut flipped = stored(2, 1, 0);
    flipped[70] ^= 1;
    let mut backwards = stored(2, 1, 0);
    backwards[23..27].copy_from_slice(&(-1i32).to_be_bytes());
    let whole = stored(2, 1, 0);
    let two = |second: Vec<u8>| [stored(2, 2, 0), second].concat();
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("the end", stored(2, 3, 1), "stored 5"),
        ("two", two(stored(4, 1, 1)), "stored 5"),
        ("twice", stored(0, 2, 0), "0-1 at 2"),
        ("overlapping", stored(1, 3, 0), "1-3 at 2"),
        ("a gap", stored(3, 1, 0), "3-3 at 2"),
        ("a gap between", two(stored(5, 1, 0)), "5-5 at 4"),
        ("twice in one", two(stored(2, 2, 0)), "2-3 at 4"),
        ("bad checksum", flipped.clone(), "corrupt"),
        ("bad checksum of the second", two(flipped), "corrupt"),
        ("cut off", whole[..whole.len() - 1].to_vec(), "corrupt"),
        ("a negative count", with_checksum(backwards), "corrupt"),
        ("at the end of all offsets", stored(i64::MAX, 1, 0), "corrupt"),
        ("nothing", vec![], "invalid"),
        ("a later leader", stored(2, 1, 2), "invalid"),
    ];
    let world = SimWorld::new(4);
    world.block_on(async {
        let broker = start(world.node("b"), LogManagerOptions::default()).await.unwrap();
        for (partition, (what, bytes, expected)) in (0..).zip(&rows) {
            let log = broker.log(partition, &config()).await;
            log.append_as_follower(&stored(0, 2, 0), LeaderEpoch(1), 5_000).unwrap();
            let outcome = match log.append_as_follower(bytes, LeaderEpoch(1), 5_000) {
                Ok(end) => format!("stored {end}"),
                Err(AppendError::UnexpectedOffset { first, last, expected }) => {
                    format!("{first}-{last} at {expected}")
                }
                Err(AppendError::Corrupt(_)) => "corrupt".to_owned(),
                Err(AppendError::InvalidRecord { .. }) => "invalid".to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(outcome, *expected, "{what}");
            let is_stored = outcome.starts_with("stored");
            assert_eq!(log.log_end_offset(), Offset(if is_stored { 5 } else { 2 }), "{what}");
            log.check_invariants();
        }
    });
    world.end();
}

/// What compaction leaves has gaps: small ones, ones between segments, and ones that no segment spans.
#[test]
fn gaps_of_a_compacted_log_stay_as_they_are() {
    let far = 7 + (3 << 31);
    let bases = [3, 4, 9, 100, 101, 5_000, far, far + 1, far + 900];
    for crash in [false, true] {
        let world = SimWorld::new(5);
        for life in 0..3 {
            world.block_on(async {
                let (broker, log) = opened(&world, "b", &compacted()).await;
                if life == 0 {
                    for base in bases {
                        log.append_as_follower(&stored(base, 1, 0), LeaderEpoch(0), 5_000).unwrap();
                        log.check_invariants();
                    }
                    let found = read_all(&log, Offset(0), 1).await.unwrap();
                    assert_eq!(found.iter().map(|(base, _)| *base).collect::<Vec<_>>(), bases, "in memory");
                    log.flush().await.unwrap();
                    log.update_high_watermark(log.durable_end());
                }
                assert!(log.offline().is_none(), "{:?}", log.offline());
                assert_eq!(log.log_end_offset(), Offset(far + 901));
                for from in [0, 4, 5, 102, 6_000, far, far + 2] {
                    let found = read_all(&log, Offset(from), 400).await.unwrap();
                    let expected: Vec<i64> = bases.into_iter().filter(|base| *base >= from).collect();
                    assert_eq!(found.iter().map(|(base, _)| *base).collect::<Vec<_>>(), expected, "{from}");
                }
                let mut replayed = Vec::new();
                log.replay(Offset(0), |batch| replayed.push(batch.base_offset().0)).await.unwrap();
                assert_eq!(replayed, bases);
                log.check_invariants();
                if !crash {
                    broker.stop().await;
                }
            });
            world.crash("b");
        }
        world.end();
    }
}

/// Batches that the follower's own settings would not let a client write: the leader has taken them.
#[test]
fn a_follower_takes_what_its_leader_took() {
    let world = SimWorld::new(6);
    let node = world.node("b");
    world.block_on(async {
        let options = LogManagerOptions { disk_reserve_bytes: 1 << 20, ..LogManagerOptions::default() };
        let broker = start(node.clone(), options).await.unwrap();
        let small = LogConfig { max_message_bytes: 100, segment_bytes: 200, ..LogConfig::default() };
        let log = broker.log(0, &small).await;
        world.disk("b").set_capacity(Some(1 << 20));
        pause(&node, 5_000).await;
        assert!(matches!(support::append(&log, &batch(1, 1, 1, 1_000)), Err(AppendError::DiskFull { .. })));
        let three = [stored(0, 9, 0), stored(9, 9, 0), stored(18, 1, 0)].concat();
        log.append_as_follower(&three, LeaderEpoch(0), 5_000).unwrap();
        log.flush().await.unwrap();
        assert_eq!((log.segment_count(), log.durable_end()), (3, Offset(19)), "one segment each");
        log.check_invariants();
    });
    world.end();
}

#[test]
fn where_memory_ends_the_rest_is_left_for_later() {
    let world = SimWorld::new(7);
    let node = world.node("b").with_buffers(2 << 20);
    world.block_on(async {
        let options = LogManagerOptions { append_bytes_max: 1 << 20, ..LogManagerOptions::default() };
        let broker = start(node.clone(), options).await.unwrap();
        let log = broker.log(0, &LogConfig::default()).await;
        let heard = listen(&log);
        let value = vec![b'x'; 100_000];
        let batch_at =
            |base: i64| RecordBatchBuilder::new(Offset(base)).record(1, None, Some(&value)).build();
        let all: Vec<u8> = (0..60).flat_map(|base| batch_at(base).to_vec()).collect();
        let size = all.len() / 60;
        let (mut next, mut turns) = (0, 0);
        while next < 60 {
            match log.append_as_follower(&all[next * size..], LeaderEpoch(0), 5_000) {
                Ok(end) => next = usize::try_from(end.0).unwrap(),
                Err(AppendError::OverBudget) => log.flush().await.unwrap(),
                Err(error) => panic!("{error}"),
            }
            log.check_invariants();
            turns += 1;
        }
        log.flush().await.unwrap();
        assert!(turns > 3, "{turns}");
        assert_eq!((log.log_end_offset(), heard.durable.get()), (Offset(60), 60));
        let mut read = 0;
        log.replay(Offset(0), |_| read += 1).await.unwrap();
        assert_eq!(read, 60);
    });
    world.end();
}

#[test]
fn the_first_batch_may_lie_further_than_a_segment_spans() {
    let far = 5 << 31;
    for crash in [false, true] {
        let world = SimWorld::new(8);
        for life in 0..3 {
            world.block_on(async {
                let (broker, log) = opened(&world, "b", &compacted()).await;
                log.append_as_follower(&stored(far + life, 1, 0), LeaderEpoch(0), 5_000).unwrap();
                log.flush().await.unwrap();
                log.check_invariants();
                let expected: Vec<i64> = (far..=far + life).collect();
                for from in [0, far] {
                    let found = read_all(&log, Offset(from), 1 << 20).await.unwrap();
                    assert_eq!(found.iter().map(|(base, _)| *base).collect::<Vec<_>>(), expected);
                }
                if !crash {
                    broker.stop().await;
                }
            });
            world.crash("b");
        }
        world.end();
    }
}
