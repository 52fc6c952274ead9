//! Data directories with damaged files: segments, indexes, snapshots, checkpoints, identities. Opening never panics
//! or hangs, and what was acknowledged before the first damaged byte of the log is read back as it was, or the
//! directory or the log says that it is damaged.

use std::path::Path;

use bytes::Bytes;
use model::{LeaderEpoch, Offset, RecordBatchBuilder};
use runtime::sim::{SimEffects, SimWorld};
use storage::AppendOrigin;

use super::data_directory::{DIRECTORIES, Directory, TIMESTAMP, open, read_all};
use crate::Mutator;

pub(crate) fn case(mutator: &mut Mutator) {
    let directory = mutator.pick(&*DIRECTORIES);
    let world = SimWorld::new(mutator.next());
    let disk = world.disk("a");
    let damage = Damage::draw(mutator, directory);
    for (number, (path, content)) in directory.files.iter().enumerate() {
        match damage.files.iter().find(|(damaged, _)| *damaged == number) {
            None => disk.set_content(path, content.clone()),
            Some((_, Some(content))) => disk.set_content(path, content.clone()),
            Some((_, None)) => {}
        }
    }
    let node = world.node("a");
    world.block_on(check(&node, directory, &damage));
    world.kill("a");
    // What the first life made of the damage is a valid directory, or still refused.
    let node = world.node("a");
    world.block_on(check(&node, directory, &damage));
    world.end();
}

/// What was done to a directory.
struct Damage {
    /// Number and new content of each damaged file; none if it is gone.
    files: Vec<(usize, Option<Vec<u8>>)>,
    /// Batches, acknowledged, before the first damaged byte of a segment.
    whole_batches: usize,
    /// The start of the log may be said to be elsewhere.
    start_moved: bool,
}

impl Damage {
    fn draw(mutator: &mut Mutator, directory: &Directory) -> Self {
        let mut damage =
            Self { files: Vec::new(), whole_batches: directory.batches.len(), start_moved: false };
        for _ in 0..=mutator.below(2) {
            let number = mutator.below(directory.files.len());
            if damage.files.iter().any(|(damaged, _)| *damaged == number) {
                continue;
            }
            let (path, original) = &directory.files[number];
            let is_segment = path.extension().is_some_and(|extension| extension == "log");
            let gone = !is_segment && mutator.below(8) == 0;
            let mut content = original.clone();
            mutator.mutate(&mut content);
            if is_segment {
                damage.note_segment(directory, path, original, &content);
            }
            damage.start_moved |= path.ends_with("log-start-offset-checkpoint");
            damage.files.push((number, (!gone).then_some(content)));
        }
        damage
    }

    /// Counts the batches that end before the first change of a segment.
    fn note_segment(&mut self, directory: &Directory, path: &Path, original: &[u8], changed: &[u8]) {
        let same = original.iter().zip(changed).take_while(|(a, b)| a == b).count();
        if same == original.len() && same == changed.len() {
            return;
        }
        let base = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let base: i64 = base.expect("segments are named after their first offset");
        let mut end = 0;
        let whole = directory.batches.iter().take_while(|(offset, batch)| {
            if *offset >= base {
                end += batch.len();
            }
            *offset < base || end <= same
        });
        self.whole_batches = self.whole_batches.min(whole.count());
    }
}

async fn check(node: &SimEffects, directory: &Directory, damage: &Damage) {
    // A directory that is refused loses nothing silently.
    let Ok(opened) = open(node).await else { return };
    let log = &opened.log;
    log.check_invariants();
    let start = log.log_start_offset();
    let expected: Vec<&(i64, Bytes)> =
        directory.batches[..damage.whole_batches].iter().filter(|(offset, _)| *offset >= start.0).collect();
    assert!(start == Offset(0) || damage.start_moved, "the log starts at {start}");
    let (found, outcome) = read_all(log, start).await;
    let loud = log.offline().is_some() || outcome.is_err();
    let kept = found.iter().filter(|(offset, _)| *offset >= start.0).zip(&expected);
    let kept = kept.take_while(|(found, expected)| found == *expected).count();
    assert!(
        kept == expected.len() || loud,
        "{kept} of {} acknowledged batches are left, {log:?}, {} damaged",
        expected.len(),
        damage.names(directory)
    );
    if log.offline().is_some() {
        return;
    }
    let batch = RecordBatchBuilder::new(Offset(0)).record(TIMESTAMP, None, Some(b"on")).build();
    if log.append(&batch, AppendOrigin::Client, LeaderEpoch(9), TIMESTAMP).is_ok() {
        log.flush().await.expect("the disk is good");
        log.check_invariants();
    }
    let _ = opened.stop(node).await;
}

impl Damage {
    fn names(&self, directory: &Directory) -> String {
        let names = self.files.iter().map(|(number, _)| directory.files[*number].0.display().to_string());
        names.collect::<Vec<_>>().join(" ")
    }
}
