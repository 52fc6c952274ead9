//! The few lines that the broker prints when it has started.

use std::fmt;
use std::path::{Path, PathBuf};

use runtime::probe::{DirectoryFacts, directory_facts};

use super::allowed_cores::Cores;
use super::doctor::nearest_directory;
use crate::config::memory_plan::MemoryPlan;

/// How the data directory is written and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IoMode {
    /// Direct I/O.
    Direct {
        /// The file system's name.
        file_system: String,
        /// Offsets and lengths have to be multiples of this many bytes, if the kernel says so.
        alignment: Option<u32>,
    },
    /// Through the page cache, because the file system does not do direct I/O.
    Buffered {
        /// The file system's name.
        file_system: String,
    },
}

impl IoMode {
    /// Tries what works in the data directory or, where it does not exist yet, in the nearest part of its path that does.
    /// Blocks for a moment.
    pub fn probe(data_dir: &Path) -> Result<IoMode, String> {
        let place = nearest_directory(data_dir)?;
        let facts = directory_facts(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        if !facts.known_safe {
            tracing::warn!(file_system = facts.file_system, place = %place.display(),
                "this file system is not known to be safe for data; use ext4 or xfs, `millrace doctor` says more");
        }
        Ok(IoMode::from(facts))
    }
}

impl From<DirectoryFacts> for IoMode {
    fn from(facts: DirectoryFacts) -> IoMode {
        let DirectoryFacts { file_system, direct, alignment, .. } = facts;
        if direct { IoMode::Direct { file_system, alignment } } else { IoMode::Buffered { file_system } }
    }
}

impl fmt::Display for IoMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoMode::Direct { file_system, alignment: Some(bytes) } => {
                write!(formatter, "{file_system}, direct I/O in multiples of {bytes} bytes")
            }
            IoMode::Direct { file_system, alignment: None } => write!(formatter, "{file_system}, direct I/O"),
            IoMode::Buffered { file_system } => {
                write!(formatter, "{file_system}, buffered: it has no direct I/O")
            }
        }
    }
}

/// What the banner says; `Display` is its text.
#[derive(Debug, Clone)]
pub struct Banner {
    /// The version of this build.
    pub version: &'static str,
    /// The cores that run a shard each.
    pub cores: Cores,
    /// How the memory is divided.
    pub memory: MemoryPlan,
    /// The data directory.
    pub data_dir: PathBuf,
    /// How it is written and read.
    pub io_mode: IoMode,
    /// Where clients connect, as bound.
    pub listeners: Vec<String>,
    /// Where metrics and health are, as bound.
    pub admin: Option<String>,
}

impl Banner {
    /// Says it as one event, for logs that machines read.
    pub fn log(&self) {
        tracing::info!(
            version = self.version,
            cores = %self.cores,
            memory = %self.memory,
            data = %self.data_dir.display(),
            io = %self.io_mode,
            listening = self.listeners.join(","),
            admin = self.admin.as_deref().unwrap_or("off"),
            "started"
        );
    }
}

impl fmt::Display for Banner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "Millrace {}", self.version)?;
        writeln!(formatter, "  cores      {}", self.cores)?;
        writeln!(formatter, "  memory     {}", self.memory)?;
        writeln!(formatter, "  data       {} ({})", self.data_dir.display(), self.io_mode)?;
        writeln!(formatter, "  listening  {}", self.listeners.join(", "))?;
        match &self.admin {
            Some(address) => writeln!(formatter, "  admin      http://{address}/"),
            None => writeln!(formatter, "  admin      off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_says_what_runs_where() {
        let mut banner = Banner {
            version: "0.1.0",
            cores: Cores::choose(&[0, 2, 3, 4], &[0, 1, 2, 3, 4], Some(3.5)).unwrap(),
            memory: MemoryPlan {
                limit_bytes: 2 << 30,
                limit_origin: "the machine".to_owned(),
                shards: 4,
                shard_bytes: 240 << 20,
                read_cache_bytes: 64 << 20,
            },
            data_dir: PathBuf::from("./data"),
            io_mode: IoMode::Direct { file_system: "ext4".to_owned(), alignment: Some(512) },
            listeners: vec!["127.0.0.1:9092".to_owned(), "[::1]:9093".to_owned()],
            admin: Some("127.0.0.1:9644".to_owned()),
        };
        let expected = "Millrace 0.1.0\n  cores      4 cores: 0,2-4 (of 5, with a quota of 3.50)\n  memory     240 MiB and a read cache of 64 MiB per core; the \
                        machine has 2048 MiB\n  data       ./data (ext4, direct I/O in multiples of 512 bytes)\n  \
                        listening  127.0.0.1:9092, [::1]:9093\n  admin      http://127.0.0.1:9644/\n";
        assert_eq!(banner.to_string(), expected);

        banner.cores = Cores::choose(&[1], &[0, 1], None).unwrap();
        banner.memory.limit_bytes = 0;
        banner.io_mode = IoMode::Buffered { file_system: "tmpfs".to_owned() };
        banner.admin = None;
        let text = banner.to_string();
        for part in [
            "1 core: 1 (of 2)\n",
            "64 MiB per core\n",
            "(tmpfs, buffered: it has no direct I/O)",
            "admin      off\n",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
