//! Latency and CPU time of a run.

use std::time::Duration;

/// Bytes of one write, and the file that the writes wander over.
pub const PAGE: usize = 4096;
pub const FILE_PAGES: u64 = 4096;
pub const WRITES: usize = 3000;

fn cpu_of(who: libc::c_int) -> Duration {
    // SAFETY: zeros are a valid rusage, which is plain numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for a write.
    unsafe { libc::getrusage(who, &mut usage) };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// CPU time of the whole process so far.
pub fn process_cpu() -> Duration {
    cpu_of(libc::RUSAGE_SELF)
}

/// CPU time of this thread so far.
pub fn thread_cpu() -> Duration {
    cpu_of(libc::RUSAGE_THREAD)
}

/// Prints the figures of one run.
pub fn report(name: &str, mut times: Vec<Duration>, cpu: Duration) {
    let count = times.len();
    times.sort_unstable();
    let at = |share: f64| times[((count - 1) as f64 * share) as usize].as_nanos() as f64 / 1000.0;
    let cpu = cpu.as_nanos() as f64 / 1000.0 / count as f64;
    println!("{name:<16} p50 {:8.1} us  p99 {:8.1} us  cpu {cpu:6.1} us/op  n {count}", at(0.5), at(0.99));
}

/// A file of zeros that the writes overwrite; removed when dropped.
pub struct Scratch(pub std::path::PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("runtime-choice-{name}-{}", std::process::id()));
        std::fs::write(&path, vec![0; PAGE * FILE_PAGES as usize]).unwrap();
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Offset of the nth write.
pub fn offset(n: usize) -> u64 {
    n as u64 % FILE_PAGES * PAGE as u64
}

/// Keeps this thread on a core.
pub fn pin(core: usize) {
    // SAFETY: zeros are a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the core lies within the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set lives across the call.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
}
