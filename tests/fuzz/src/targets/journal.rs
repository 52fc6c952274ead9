//! Journals with damage, beside the segments that they belong to. Opening never panics or hangs, and what stood in the
//! segments is read back as it was, or the directory or the log says that something is damaged.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::LazyLock;

use bytes::Bytes;
use model::{LeaderEpoch, Offset, PartitionId, RecordBatchBuilder, TopicId, TopicPartition};
use runtime::sim::{SimEffects, SimWorld};
use storage::{AppendOrigin, Log, LogConfig};

use super::data_directory::{Opened, TIMESTAMP, open, read_all};
use crate::Mutator;

/// Files of a killed broker, and what of the first log was in its segment before the journal had more.
struct Killed {
    files: Vec<(PathBuf, Vec<u8>)>,
    written: Vec<(i64, Bytes)>,
}

static KILLED: LazyLock<Killed> = LazyLock::new(killed);

pub(crate) fn case(mutator: &mut Mutator) {
    let world = SimWorld::new(mutator.next());
    let disk = world.disk("a");
    for (path, content) in &KILLED.files {
        let mut content = content.clone();
        if is_journal(path) {
            // Most of it is zeros, which say nothing.
            let end = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            let mut head = content[..end].to_vec();
            mutator.mutate(&mut head);
            head.resize(content.len(), 0);
            content = head;
        }
        disk.set_content(path, content);
    }
    let node = world.node("a");
    world.block_on(async {
        let Ok(opened) = open_logs(&node).await else { return };
        for log in &opened.1 {
            log.check_invariants();
        }
        let (found, outcome) = read_all(&opened.1[0], Offset(0)).await;
        let intact = found.starts_with(&KILLED.written);
        assert!(
            intact || outcome.is_err() || opened.1[0].offline().is_some(),
            "{} batches are left",
            found.len()
        );
    });
    world.end();
}

fn is_journal(path: &std::path::Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal-"))
}

async fn open_logs(node: &SimEffects) -> Result<(Opened, Vec<Rc<Log<SimEffects>>>), storage::StorageError> {
    let opened = open(node).await?;
    let mut logs = Vec::new();
    for (number, id) in [(0, [1; 16]), (1, [2; 16])] {
        let tp = TopicPartition::new("shared", PartitionId(number));
        logs.push(opened.manager.open_log(tp, TopicId::from_random(id), LogConfig::default()).await?);
    }
    Ok((opened, logs))
}

fn killed() -> Killed {
    let world = SimWorld::new(1);
    let node = world.node("a");
    let written = world.block_on(async {
        let (opened, logs) = open_logs(&node).await.expect("a fresh directory opens");
        let mut written = Vec::new();
        for round in 0..60 {
            let mut sent = Vec::new();
            for (number, log) in logs.iter().enumerate() {
                let value = format!("record {round} of log {number}");
                let batch =
                    RecordBatchBuilder::new(Offset(0)).record(TIMESTAMP, None, Some(value.as_bytes()));
                let batch = batch.build();
                let info = log.append(&batch, AppendOrigin::Client, LeaderEpoch(0), TIMESTAMP);
                sent.push((info.expect("a valid batch").first_offset.0, batch));
            }
            for log in &logs {
                log.flush().await.expect("the disk is good");
            }
            if opened.manager.stats().journal_entries == 0 {
                written.push(sent.swap_remove(0));
            }
        }
        assert!(opened.manager.stats().journal_entries > 10, "the journal is used");
        written
    });
    world.kill("a");
    let disk = world.disk("a");
    let files: Vec<_> = disk
        .files()
        .into_iter()
        .map(|path| (path.clone(), disk.read(&path).expect("a file that was just listed")))
        .collect();
    assert!(files.iter().any(|(path, _)| is_journal(path)), "the journal is there");
    world.end();
    Killed { files, written }
}
