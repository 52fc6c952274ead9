//! The flags of `serve` and how they become settings.

use std::path::PathBuf;

use clap::Args;

use super::listen_flags;
use crate::config::{BrokerConfig, ConfigError, StaticSettings};
use crate::logging::LogFormat;

/// What `serve` takes. The flags that stand for a key win over `--set`, which wins over `--config`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Where the data is kept [default: ./millrace-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where clients connect; may be repeated, with names [default: 127.0.0.1:9092]
    #[arg(long, value_name = "[NAME://]HOST:PORT")]
    pub listen: Vec<String>,
    /// What clients of a listener are told to connect to [default: the address they connected to]
    #[arg(long, value_name = "[NAME://]HOST:PORT")]
    pub advertise: Vec<String>,
    /// Where metrics and health are served; empty is off [default: 127.0.0.1:9644]
    #[arg(long, value_name = "HOST:PORT")]
    pub admin_listen: Option<String>,
    /// The cores that run a shard each, such as 0,2-5 [default: all]
    #[arg(long, value_name = "LIST")]
    pub cores: Option<String>,
    /// Settings in the format of Kafka's server.properties
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting; may be repeated, and `millrace config` lists them
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What is logged: a level, or levels of targets such as warn,millrace=debug
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
}

impl ServeArgs {
    /// The settings of the file, of `--set` and of the flags, checked.
    ///
    /// # Errors
    /// The first mistake.
    pub fn broker_config(&self) -> Result<BrokerConfig, ConfigError> {
        self.settings().build()
    }

    /// The settings of the file, of `--set` and of the flags, with the mistakes in them.
    #[must_use]
    pub fn settings(&self) -> StaticSettings {
        let mut settings = StaticSettings::default();
        if let Some(path) = &self.config {
            settings.add_file(path);
        }
        for assignment in &self.set {
            settings.add_assignment(assignment);
        }
        if let Some(directory) = &self.data_dir {
            settings.add("log.dirs", &directory.to_string_lossy(), "--data-dir");
        }
        listen_flags::add(self, &mut settings);
        if let Some(address) = &self.admin_listen {
            settings.add("millrace.admin.listen", address, "--admin-listen");
        }
        if let Some(cores) = &self.cores {
            settings.add("millrace.cores", cores, "--cores");
        }
        settings
    }
}
