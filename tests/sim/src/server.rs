//! A broker's storage on a simulated node, as the broker would start it.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::{PartitionId, TopicPartition, Uuid};
use runtime::sim::SimEffects;
use storage::{CommitMode, Log, LogConfig, LogDir, LogDirOptions, LogManager, LogManagerOptions, SealedRead};

use crate::invariants::Broken;
use crate::oracle::Clients;

/// Where the data is.
pub(crate) const DATA_DIR: &str = "/data";
/// The node that has it.
pub(crate) const NODE: &str = "broker";
/// Partitions that live through all of a scenario.
pub(crate) const PARTITIONS: usize = 4;

pub(crate) type SimLog = Log<SimEffects>;

/// Storage, opened.
pub(crate) struct Server {
    pub(crate) effects: SimEffects,
    pub(crate) dir: Arc<LogDir>,
    pub(crate) manager: Rc<LogManager<SimEffects>>,
    pub(crate) logs: Vec<Rc<SimLog>>,
}

/// The topic of the partitions that stay.
pub(crate) fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("orders", PartitionId(number))
}

/// Limits so small that everything happens within a few hundred operations.
pub(crate) fn config(clients: &Clients, commit_mode: CommitMode) -> LogConfig {
    LogConfig {
        segment_bytes: clients.segment_bytes,
        index_interval_bytes: 1024,
        retention_ms: None,
        file_delete_delay_ms: 5,
        max_message_bytes: 16 << 10,
        commit_mode,
        ..LogConfig::default()
    }
}

fn options(clients: &Clients) -> LogManagerOptions {
    LogManagerOptions {
        journal_bytes: clients.journal_bytes,
        sealed_read: SealedRead::Direct,
        retention_check_ms: 20,
        checkpoint_bytes: 8 << 10,
        checkpoint_ms: 40,
        idle_ms: 10,
        chunk_idle_ms: 30,
        unlink_pause: Duration::from_millis(1),
        sealed_open_max: 2,
        disk_reserve_bytes: 64 << 10,
        ..LogManagerOptions::default()
    }
}

impl Server {
    /// Opens the directory and its partitions, as after any kind of stop.
    pub(crate) async fn open(
        effects: &SimEffects,
        clients: &Clients,
        commit_mode: CommitMode,
    ) -> Result<Self, Broken> {
        let refused = |error: storage::StorageError| Broken::Refused(error.to_string());
        let options_of_dir = LogDirOptions { lock: None, ..LogDirOptions::default() };
        let dir = LogDir::open(effects, Path::new(DATA_DIR), options_of_dir).await.map_err(refused)?;
        let found = dir.partitions(effects).await.map_err(refused)?;
        if let Some(tp) = found.iter().find(|tp| clients.deleted.borrow().contains(*tp)) {
            return Err(Broken::Resurrected(tp.dir_name()));
        }
        let manager =
            LogManager::open(effects.clone(), Arc::clone(&dir), options(clients)).await.map_err(refused)?;
        let mut logs = Vec::new();
        for (number, oracle) in clients.oracles.iter().enumerate() {
            let number = u8::try_from(number).expect("few partitions");
            let id = Uuid([number + 1; 16]);
            let tp = partition(i32::from(number));
            let log = manager.open_log(tp, id, config(clients, commit_mode)).await.map_err(refused)?;
            if let Some(error) = log.offline() {
                return Err(Broken::Offline(error.to_string()));
            }
            log.subscribe(oracle);
            logs.push(log);
        }
        Ok(Self { effects: effects.clone(), dir, manager, logs })
    }
}
