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

/// The configured cores. Where none are configured, as many of the allowed ones as the process has `processors` for; it
/// would be stopped again and again if more of them worked.
pub fn choose_cores(
    configured: &[usize],
    allowed: &[usize],
    processors: Option<f64>,
) -> Result<Vec<usize>, String> {
    if let Some(missing) = configured.iter().find(|core| !allowed.contains(core)) {
        return Err(format!("core {missing} is not among those this process may run on ({allowed:?})"));
    }
    if !configured.is_empty() {
        return Ok(configured.to_vec());
    }
    let processors = processors.unwrap_or(f64::INFINITY);
    let count = (1..allowed.len()).find(|count| *count as f64 >= processors).unwrap_or(allowed.len());
    Ok(allowed[..count].to_vec())
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
            (&[][..], &[0, 2][..], None, Ok(vec![0, 2])),
            (&[2], &[0, 2], None, Ok(vec![2])),
            (&[1], &[0, 2], None, Err("core 1 is not among those this process may run on ([0, 2])")),
            (&[], &[0, 2, 4], Some(0.1), Ok(vec![0])),
            (&[], &[0, 2, 4], Some(1.0), Ok(vec![0])),
            (&[], &[0, 2, 4], Some(1.01), Ok(vec![0, 2])),
            (&[], &[0, 2, 4], Some(8.0), Ok(vec![0, 2, 4])),
            (&[2, 4], &[0, 2, 4], Some(0.5), Ok(vec![2, 4])),
        ] {
            assert_eq!(choose_cores(configured, allowed, processors), expected.map_err(str::to_owned));
        }
    }
}
