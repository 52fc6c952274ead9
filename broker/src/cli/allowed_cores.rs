//! Which cores the process may run on and which of them get a shard.

use std::fs;

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

/// The configured cores, or all allowed ones where none are configured.
pub fn choose_cores(configured: &[usize], allowed: &[usize]) -> Result<Vec<usize>, String> {
    if let Some(missing) = configured.iter().find(|core| !allowed.contains(core)) {
        return Err(format!("core {missing} is not among those this process may run on ({allowed:?})"));
    }
    Ok(if configured.is_empty() { allowed.to_vec() } else { configured.to_vec() })
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
        for (configured, allowed, expected) in [
            (&[][..], &[0, 2][..], Ok(vec![0, 2])),
            (&[2], &[0, 2], Ok(vec![2])),
            (&[1], &[0, 2], Err("core 1 is not among those this process may run on ([0, 2])")),
        ] {
            assert_eq!(choose_cores(configured, allowed), expected.map_err(str::to_owned));
        }
    }
}
