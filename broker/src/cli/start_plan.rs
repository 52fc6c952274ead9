//! What a start settles before it touches anything: the cores and the memory, from the settings and from what the machine
//! and the control groups give. `serve`, `check` and `doctor` see the same.

use runtime::probe::Resources;

use crate::cli::Cores;
use crate::config::BrokerConfig;
use crate::config::memory_plan::MemoryPlan;

/// Cores and memory of a broker.
#[derive(Debug, Clone)]
pub struct StartPlan {
    /// The settings, with the defaults that depend on the machine.
    pub config: BrokerConfig,
    /// The cores that run a shard each.
    pub cores: Cores,
    /// How the memory is divided.
    pub memory: MemoryPlan,
}

impl StartPlan {
    /// Plans a start with these settings on cores of `allowed`.
    ///
    /// # Errors
    /// What does not fit together, in words for the owner.
    pub fn new(config: BrokerConfig, allowed: &[usize], resources: &Resources) -> Result<Self, String> {
        let cores = Cores::choose(config.cores(), allowed, resources.processors())?;
        let (limit_bytes, origin) = (resources.memory_bytes(), resources.memory_origin());
        let memory = MemoryPlan::new(&config, cores.list.len(), limit_bytes, origin)?;
        let computed = memory.settings(&config);
        let config = config.with_computed(computed).map_err(|error| error.to_string())?;
        Ok(Self { config, cores, memory })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use runtime::probe::{GroupLimit, GroupLimits};

    use super::*;

    /// In a container with one and a half processors and 256 MiB on a machine of four cores.
    #[test]
    fn a_container_gets_what_it_may_use() {
        let file = PathBuf::from("f");
        let groups = GroupLimits {
            memory_bytes: Some(GroupLimit { value: 256 << 20, file: file.clone() }),
            processors: Some(GroupLimit { value: 1.5, file }),
        };
        let resources = Resources { machine_bytes: 64 << 30, groups };
        let plan = StartPlan::new(BrokerConfig::default(), &[0, 1, 2, 3], &resources).unwrap();
        assert_eq!((plan.cores.list, plan.cores.is_pinned), (vec![0, 1], false));
        assert_eq!(plan.config.memory_per_shard_bytes(), 48 << 20);
        assert_eq!(plan.config.read_cache_bytes_per_shard(), Some(16 << 20));
    }
}
