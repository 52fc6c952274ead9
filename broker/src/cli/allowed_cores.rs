//! Which cores the process may run on and which of them get a shard.

use std::{fmt, fs};

use crate::config::parse_cores;

/// The cores that the scheduler lets this process run on, as the kernel reports the affinity mask.
pub fn allowed_cores() -> Result<Vec<usize>, String> {
    let status =
        fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc/self/status: {error}"))?;
    from_status(&status)
}

fn from_status(status: &str) -> Result<Vec<usize>, String> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cores = parse_cores(list.ok_or("the kernel does not report Cpus_allowed_list")?)?;
    if cores.is_empty() { Err("the kernel reports no core to run on".to_owned()) } else { Ok(cores) }
}

/// The cores of a broker.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cores {
    /// Those that run a shard each.
    pub list: Vec<usize>,
    /// How many the process could run on.
    pub allowed: usize,
    /// How many processors' time it may use up, if that is limited.
    pub processors: Option<f64>,
    /// Whether each shard stays on its core. Where a quota leaves some cores out, other processes with a quota of theirs
    /// would choose the same ones, so that the kernel has to find a place for each.
    pub is_pinned: bool,
}

impl Cores {
    /// The configured cores. Where none are configured, as many of the allowed ones as the process has `processors` for; it
    /// would be stopped again and again if more of them worked.
    ///
    /// # Errors
    /// One is configured that is not allowed.
    pub fn choose(configured: &[usize], allowed: &[usize], processors: Option<f64>) -> Result<Self, String> {
        if let Some(missing) = configured.iter().find(|core| !allowed.contains(core)) {
            return Err(format!("core {missing} is not among those this process may run on ({allowed:?})"));
        }
        let mut cores =
            Self { list: configured.to_vec(), allowed: allowed.len(), processors, is_pinned: true };
        if configured.is_empty() {
            let enough = processors.unwrap_or(f64::INFINITY);
            let count = (1..allowed.len()).find(|count| *count as f64 >= enough).unwrap_or(allowed.len());
            cores.list = allowed[..count].to_vec();
            cores.is_pinned = count == allowed.len();
        }
        Ok(cores)
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.len();
        write!(formatter, "{count} {}", if count == 1 { "core" } else { "cores" })?;
        if self.is_pinned {
            write!(formatter, ": {}", ranges(&self.list))?;
        }
        write!(formatter, " (of {}", self.allowed)?;
        match self.processors {
            Some(quota) => write!(formatter, ", with a quota of {quota:.2})"),
            None => formatter.write_str(")"),
        }
    }
}

/// Ascending cores in the notation of `--cores`.
fn ranges(cores: &[usize]) -> String {
    let runs = cores.chunk_by(|left, right| left + 1 == *right);
    let text = |run: &[usize]| match run {
        [first, .., last] => format!("{first}-{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    };
    runs.map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_affinity_mask_is_read() {
        for (status, expected) in [
            ("Name: x\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\n", Ok(vec![0, 1])),
            ("Cpus_allowed_list:\t0,4-6\n", Ok(vec![0, 4, 5, 6])),
            ("Cpus_allowed_list:\t\n", Err("the kernel reports no core to run on")),
            ("Name: x\n", Err("the kernel does not report Cpus_allowed_list")),
        ] {
            assert_eq!(from_status(status), expected.map_err(str::to_owned), "{status}");
        }
        assert!(!allowed_cores().unwrap().is_empty());
    }

    #[test]
    fn cores_must_be_allowed() {
        for (configured, allowed, processors, expected) in [
            (&[][..], &[0, 2][..], None, Ok("2 cores: 0,2 (of 2)")),
            (&[2], &[0, 2], None, Ok("1 core: 2 (of 2)")),
            (&[1], &[0, 2], None, Err("core 1 is not among those this process may run on ([0, 2])")),
            (&[], &[0, 2, 4], Some(0.1), Ok("1 core (of 3, with a quota of 0.10)")),
            (&[], &[0, 2, 4], Some(1.0), Ok("1 core (of 3, with a quota of 1.00)")),
            (&[], &[0, 2, 4], Some(1.01), Ok("2 cores (of 3, with a quota of 1.01)")),
            (&[], &[0, 1, 2, 4], Some(8.0), Ok("4 cores: 0-2,4 (of 4, with a quota of 8.00)")),
            (&[2, 4], &[0, 2, 4], Some(0.5), Ok("2 cores: 2,4 (of 3, with a quota of 0.50)")),
        ] {
            let chosen = Cores::choose(configured, allowed, processors).map(|cores| cores.to_string());
            assert_eq!(chosen.as_deref().map_err(String::as_str), expected, "{configured:?} {processors:?}");
        }
    }
}
