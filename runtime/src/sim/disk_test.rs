//! The simulated disk keeps what it promises to keep, and over many seeds loses what it may lose.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::{Fault, FaultKind, OpKind, SECTOR_SIZE, SimEffects, SimFile, SimWorld};
use crate::buffer::{ChunkSlice, PAGE_SIZE};
use crate::effects::{Disk, Effects, File, OpenOptions, WriteMode};

const RW: OpenOptions = OpenOptions { write: true, create: true, direct: false };

fn p(path: &str) -> &Path {
    Path::new(path)
}

fn bytes(node: &SimEffects, content: &[u8]) -> Vec<ChunkSlice> {
    let mut chunk = node.buffers().chunk(content.len()).unwrap();
    chunk.append(content);
    vec![chunk.slice(0..content.len())]
}

async fn created(node: &SimEffects, path: &str) -> SimFile {
    let disk = node.disk();
    let file = disk.open(p(path), RW).await.unwrap();
    disk.sync_dir(p(path).parent().unwrap()).await.unwrap();
    file
}

/// Runs a scenario with many seeds and collects what came out.
fn outcomes<T: Ord>(mut scenario: impl FnMut(SimWorld) -> T) -> BTreeSet<T> {
    (0..200).map(|seed| scenario(SimWorld::new(seed))).collect()
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut lost = 0;
    let mut kept = 0;
    for seed in 0..300 {
        let world = SimWorld::new(seed);
        let node = world.node("a");
        let mut rng = fastrand::Rng::with_seed(seed);
        // The naive list: per sector the content that must survive, and the last one written.
        let mut model: Vec<(u8, u8)> = Vec::new();
        let (mut length_stable, mut length) = (0, 0);
        world.block_on(async {
            let file = created(&node, "f").await;
            for value in 1..=rng.u8(1..40) {
                if rng.u8(0..8) == 0 {
                    file.sync().await.unwrap();
                    model.iter_mut().for_each(|sector| sector.0 = sector.1);
                    length_stable = length;
                    continue;
                }
                let (at, count) = (rng.usize(0..16), rng.usize(1..6));
                let durable = rng.u8(0..3) == 0;
                let how = if durable { WriteMode::Durable } else { WriteMode::Buffered };
                let content = bytes(&node, &vec![value; count * SECTOR_SIZE]);
                file.write_at(content, (at * SECTOR_SIZE) as u64, how).await.unwrap();
                length = length.max(at + count);
                model.resize(length, (0, 0));
                for sector in &mut model[at..at + count] {
                    *sector = (if durable { value } else { sector.0 }, value);
                }
                if durable {
                    length_stable = length_stable.max(at + count);
                }
            }
        });
        world.crash("a");
        let content = world.disk("a").read("f").unwrap();
        let sectors = content.len().div_ceil(SECTOR_SIZE);
        assert!((length_stable..=length).contains(&sectors), "seed {seed}");
        for (index, sector) in content.chunks(SECTOR_SIZE).enumerate() {
            let (stable, last) = model[index];
            assert!(sector.iter().all(|byte| *byte == sector[0]), "seed {seed}: torn sector {index}");
            let found = sector[0];
            let may_be_zero = index >= length_stable;
            assert!(found == stable || found == last || (may_be_zero && found == 0), "seed {seed}: {index}");
            if stable != last {
                lost += usize::from(found == stable);
                kept += usize::from(found == last);
            }
        }
    }
    assert!(lost > 100 && kept > 100, "both happen: {lost} lost, {kept} kept");
}

#[test]
fn a_write_is_torn_by_a_power_cut_in_its_midst() {
    let seen = outcomes(|world| {
        let node = world.node("a");
        world.block_on(created(&node, "f"));
        world.disk("a").crash_at(OpKind::Write, 1);
        let done = world.run_on(&node, async {
            let file = node.disk().open(p("f"), RW).await.unwrap();
            let content = bytes(&node, &[7; 4 * SECTOR_SIZE]);
            file.write_at(content, 0, WriteMode::Durable).await
        });
        assert!(done.is_none(), "the writer is gone");
        let content = world.disk("a").read("f").unwrap();
        let kept = content.chunks(SECTOR_SIZE).filter(|sector| sector[0] == 7).count();
        kept.min(4)
    });
    assert!(seen.contains(&0) && seen.contains(&4) && seen.len() > 2, "{seen:?}");
}

#[test]
fn names_are_as_durable_as_the_trait_says() {
    // What is done, and the files that must and may be there after a power cut.
    type Scenario = (&'static str, &'static [&'static str], &'static [&'static str]);
    const SCENARIOS: [Scenario; 9] = [
        ("create_dir", &[], &["d/e/new"]),
        ("create_dir, sync_dir", &["d/e/new"], &[]),
        ("create", &[], &["d/new"]),
        ("create, sync_dir", &["d/new"], &[]),
        ("remove", &[], &["d/old"]),
        ("remove, sync_dir", &[], &[]),
        ("rename", &["d/new"], &[]),
        ("write_file", &["d/new"], &[]),
        ("remove_dir_all", &[], &["d/old"]),
    ];
    for (what, must, may) in SCENARIOS {
        let seen = outcomes(|world| {
            let node = world.node("a");
            world.block_on(async {
                let disk = node.disk();
                disk.create_dir_all(p("d")).await.unwrap();
                if !what.starts_with("create") && what != "write_file" {
                    created(&node, "d/old").await;
                }
                match what {
                    "create_dir" => {
                        disk.create_dir(p("d/e")).await.unwrap();
                        drop(created(&node, "d/e/new").await);
                    }
                    "create_dir, sync_dir" => {
                        disk.create_dir(p("d/e")).await.unwrap();
                        disk.create_dir(p("d/e")).await.unwrap();
                        disk.sync_dir(p("d")).await.unwrap();
                        drop(created(&node, "d/e/new").await);
                    }
                    "create" => drop(disk.open(p("d/new"), RW).await.unwrap()),
                    "create, sync_dir" => drop(created(&node, "d/new").await),
                    "remove" => disk.remove_file(p("d/old")).await.unwrap(),
                    "remove, sync_dir" => {
                        disk.remove_file(p("d/old")).await.unwrap();
                        disk.sync_dir(p("d")).await.unwrap();
                    }
                    "rename" => disk.rename(p("d/old"), p("d/new")).await.unwrap(),
                    "write_file" => disk.write_file(p("d/new"), b"x".to_vec()).await.unwrap(),
                    _ => disk.remove_dir_all(p("d")).await.unwrap(),
                }
            });
            world.crash("a");
            world.disk("a").files()
        });
        let paths = |names: &[&str]| names.iter().map(|name| p(name).to_owned()).collect::<Vec<_>>();
        let mut expected = BTreeSet::from([paths(must)]);
        if !may.is_empty() {
            expected.insert(paths(may));
        }
        assert_eq!(seen, expected, "{what}");
    }
}

#[test]
fn renaming_a_directory_takes_its_durable_content_along() {
    let seen = outcomes(|world| {
        let node = world.node("a");
        world.block_on(async {
            let disk = node.disk();
            disk.create_dir_all(p("t-0")).await.unwrap();
            created(&node, "t-0/kept").await;
            disk.open(p("t-0/unsynced"), RW).await.unwrap();
            disk.rename(p("t-0"), p("t-0.deleted")).await.unwrap();
        });
        world.crash("a");
        world.disk("a").files()
    });
    let kept = p("t-0.deleted/kept").to_owned();
    let both = vec![kept.clone(), p("t-0.deleted/unsynced").to_owned()];
    assert_eq!(seen, BTreeSet::from([vec![kept], both]));
}

#[test]
fn replacing_a_file_is_all_or_nothing() {
    // Create, write, sync, rename, sync the directory.
    for (operation, may_be_new) in [(1, false), (2, false), (3, false), (4, true), (5, true)] {
        let seen = outcomes(|world| {
            world.disk("a").set_content("c", b"old".to_vec());
            let node = world.node("a");
            world.disk("a").crash_at(OpKind::Any, operation);
            assert!(world.run_on(&node, node.disk().write_file(p("c"), b"new!".to_vec())).is_none());
            world.disk("a").read("c").unwrap()
        });
        let mut expect = BTreeSet::from([b"old".to_vec()]);
        expect.extend(may_be_new.then(|| b"new!".to_vec()));
        assert_eq!(seen, expect, "power cut at operation {operation}");
    }
}

#[test]
fn a_killed_process_leaves_all_that_the_kernel_had() {
    for seed in 0..50 {
        let world = SimWorld::new(seed);
        let node = world.node("a");
        world.block_on(async {
            let file = node.disk().open(p("f"), RW).await.unwrap();
            file.write_at(bytes(&node, b"unsynced"), 0, WriteMode::Buffered).await.unwrap();
        });
        world.kill("a");
        let again = world.node("a");
        assert_eq!(world.block_on(again.disk().read_file(p("f"), 99)).unwrap(), b"unsynced");
    }
}

#[test]
fn a_failed_sync_is_not_healed_by_another() {
    let seen = outcomes(|world| {
        let node = world.node("a");
        world.disk("a").inject(Fault::new(OpKind::Sync, FaultKind::Eio).on("f").after(0, 1));
        world.block_on(async {
            let file = created(&node, "f").await;
            file.write_at(bytes(&node, &[5; SECTOR_SIZE]), 0, WriteMode::Buffered).await.unwrap();
            assert_eq!(file.sync().await.unwrap_err().raw_os_error(), Some(libc::EIO));
            file.sync().await.unwrap();
        });
        world.crash("a");
        world.disk("a").read("f").unwrap()[0]
    });
    assert_eq!(seen, BTreeSet::from([0, 5]));
}

#[test]
fn a_lying_disk_loses_what_it_promised_to_keep() {
    for kind in [OpKind::Write, OpKind::Sync] {
        let seen = outcomes(|world| {
            let node = world.node("a");
            world.disk("a").inject(Fault::new(kind, FaultKind::Lie));
            world.block_on(async {
                node.disk().create_dir_all(p("d")).await.unwrap();
                let file = created(&node, "d/f").await;
                file.write_at(bytes(&node, &[5; SECTOR_SIZE]), 0, WriteMode::Durable).await.unwrap();
                node.disk().write_file(p("g"), vec![1; 9]).await.unwrap();
            });
            world.crash("a");
            let kept =
                |path: &str| world.disk("a").read(path).is_some_and(|content| content.iter().any(|b| *b > 0));
            [kept("d/f"), kept("g")]
        });
        // A file that is replaced is synced behind its write, so it is lost by lying syncs only.
        assert_eq!(seen.iter().any(|[_, g]| !g), kind == OpKind::Sync, "{kind:?} {seen:?}");
        assert!(seen.contains(&[false, true]) && seen.contains(&[true, true]), "{kind:?} {seen:?}");
    }
}

#[test]
fn faults_hit_what_they_name() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    let view = world.disk("a");
    view.set_content("good", vec![0; 100]);
    view.set_content("bad", vec![0; 100]);
    view.inject(Fault::new(OpKind::Read, FaultKind::BitFlip).on("bad").after(1, 1));
    view.inject(Fault::new(OpKind::Write, FaultKind::NoSpace).on("bad"));
    view.inject(Fault::new(OpKind::Read, FaultKind::Slow(Duration::from_secs(9))).on("good").after(0, 1));
    world.block_on(async {
        let disk = node.disk();
        let ones =
            async |path| disk.read_file(p(path), 99_999).await.unwrap().iter().map(|b| b.count_ones()).sum();
        let found: [u32; 3] = [ones("bad").await, ones("bad").await, ones("bad").await];
        assert_eq!(found, [0, 1, 0]);
        let before = world.trace().count;
        assert!(before > 0);
        let start = crate::effects::Clock::now(node.clock());
        assert_eq!(ones("good").await, 0u32);
        assert!(crate::effects::Clock::now(node.clock()).since(start) >= Duration::from_secs(9));
        let error = disk.write_file(p("bad"), vec![1]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    });
}

#[test]
fn a_full_disk_refuses_growth_and_recovers() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.disk("a").set_capacity(Some(2 * PAGE_SIZE as u64));
    world.block_on(async {
        let file = node.disk().open(p("f"), RW).await.unwrap();
        file.prewrite(0, PAGE_SIZE as u64).await.unwrap();
        assert_eq!(node.disk().space(p("f")).await.unwrap().available, PAGE_SIZE as u64);
        let error = file.prewrite(PAGE_SIZE as u64, 4 * PAGE_SIZE as u64).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        file.write_at(bytes(&node, b"inside"), 0, WriteMode::Durable).await.unwrap();
        node.disk().remove_file(p("f")).await.unwrap();
        let other = node.disk().open(p("g"), RW).await.unwrap();
        other.prewrite(0, 2 * PAGE_SIZE as u64).await.unwrap();
        assert_eq!(other.length().await.unwrap(), 2 * PAGE_SIZE as u64);
    });
}

#[test]
fn operations_under_way_together_complete_in_any_order() {
    let seen = outcomes(|world| {
        let node = world.node("a");
        let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        for name in ["x", "y"] {
            let (node, order) = (node.clone(), order.clone());
            node.clone().spawn(async move {
                node.disk().open(p(name), RW).await.unwrap();
                order.borrow_mut().push(name);
            });
        }
        world.run_for(Duration::from_secs(1));
        order.take()
    });
    assert_eq!(seen, BTreeSet::from([vec!["x", "y"], vec!["y", "x"]]));
}

#[test]
fn padding_may_change_while_a_page_is_written() {
    let seen = outcomes(|world| {
        let node = world.node("a");
        let mut chunk = node.buffers().chunk(PAGE_SIZE).unwrap();
        chunk.append(b"first");
        let page = chunk.pages(0..5);
        let file = world.block_on(created(&node, "f"));
        node.spawn(async move { file.write_at(vec![page], 0, WriteMode::Durable).await.unwrap() });
        world.run_for(Duration::from_nanos(1));
        chunk.append(b"-second");
        world.run_for(Duration::from_secs(1));
        world.disk("a").read_stable("f").unwrap()[..12].to_vec()
    });
    assert_eq!(seen, BTreeSet::from([b"first\0\0\0\0\0\0\0".to_vec(), b"first-second".to_vec()]));
}

#[test]
fn direct_files_want_whole_pages() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        let file = node.disk().open(p("f"), OpenOptions { direct: true, ..RW }).await.unwrap();
        let mut chunk = node.buffers().chunk(PAGE_SIZE).unwrap();
        chunk.append(b"abc");
        let refused = file.write_at(vec![chunk.slice(0..3)], 0, WriteMode::Durable).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        file.write_at(vec![chunk.pages(0..3)], 0, WriteMode::Durable).await.unwrap();
        let buffer = node.buffers().buffer(PAGE_SIZE).unwrap();
        let (read, buffer) = file.read_at(buffer, 0, PAGE_SIZE).await;
        assert_eq!((read.unwrap(), &buffer.as_ref()[..4]), (PAGE_SIZE, &b"abc\0"[..]));
        let (read, _) = file.read_at(buffer, 1, PAGE_SIZE).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn bit_rot_is_durable() {
    let world = SimWorld::new(1);
    let view = world.disk("a");
    view.set_content("d/f", vec![0; 10]);
    assert!(view.corrupt("d/f", 3) && !view.corrupt("d/f", 10) && !view.corrupt("none", 0));
    let _node = world.node("a");
    world.crash("a");
    assert_ne!(view.read("d/f").unwrap()[3], 0);
}
