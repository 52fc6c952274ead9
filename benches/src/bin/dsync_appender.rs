//! The device's own limit: plain sequential `O_DIRECT | O_DSYNC` writes, one thread per file, nothing else.
//!
//! Each file is prewritten and then overwritten from its start, so neither allocation nor journal commits are in the
//! way: no log that acknowledges only durable data can be faster with the same block size and parallelism.
//! Prints one JSON line. Usage: `dsync_appender DIR BLOCK_BYTES FILES SECONDS [FILE_MEGABYTES]`.
#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// What one run is to do.
#[derive(Debug, Clone, Copy)]
struct Spec {
    block_bytes: usize,
    files: usize,
    duration: Duration,
    file_bytes: usize,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    ensure!((4..=5).contains(&arguments.len()), "DIR BLOCK_BYTES FILES SECONDS [FILE_MEGABYTES]");
    let dir = Path::new(&arguments[0]);
    let megabytes: usize = arguments.get(4).map_or(Ok(256), |text| text.parse()).context("FILE_MEGABYTES")?;
    let spec = Spec {
        block_bytes: arguments[1].parse().context("BLOCK_BYTES")?,
        files: arguments[2].parse().context("FILES")?,
        duration: Duration::try_from_secs_f64(arguments[3].parse().context("SECONDS")?)?,
        file_bytes: megabytes * 1_024 * 1_024,
    };
    ensure!(
        spec.block_bytes.is_multiple_of(ALIGNMENT) && spec.block_bytes > 0,
        "blocks are multiples of {ALIGNMENT}"
    );
    ensure!(spec.file_bytes >= spec.block_bytes, "files are smaller than a block");
    let paths: Vec<_> = (0..spec.files).map(|index| dir.join(format!("appender-{index}"))).collect();
    let outcome = run(&paths, spec);
    for path in &paths {
        // A file left over costs space only; the outcome matters more.
        let _ = std::fs::remove_file(path);
    }
    let (mut latencies, elapsed) = outcome?;
    latencies.sort_unstable();
    println!("{}", json(&latencies, elapsed, spec));
    Ok(())
}

/// All write times of all files, and the time all of them took.
fn run(paths: &[impl AsRef<Path> + Sync], spec: Spec) -> Result<(Vec<Duration>, Duration)> {
    let files: Vec<File> = paths.iter().map(|path| prepare(path.as_ref(), spec)).collect::<Result<_>>()?;
    let start = Instant::now();
    let latencies = thread::scope(|scope| {
        let writers: Vec<_> = files.iter().map(|file| scope.spawn(|| append(file, spec, start))).collect();
        let mut all = Vec::new();
        for writer in writers {
            all.extend(writer.join().expect("writers do not panic")?);
        }
        anyhow::Ok(all)
    })?;
    Ok((latencies, start.elapsed()))
}

/// Creates the file with every block written once.
fn prepare(path: &Path, spec: Spec) -> Result<File> {
    let flags = rustix::fs::OFlags::DIRECT.bits() | rustix::fs::OFlags::DSYNC.bits();
    let flags = i32::try_from(flags).context("open flags")?;
    let file = File::options().create(true).truncate(true).write(true).custom_flags(flags).open(path);
    let file = file.with_context(|| format!("opening {} for direct I/O", path.display()))?;
    let (buffer, at) = aligned(1 << 20);
    let mut offset = 0;
    while offset < spec.file_bytes {
        let len = (spec.file_bytes - offset).min(1 << 20);
        file.write_all_at(&buffer[at..at + len], u64::try_from(offset)?)?;
        offset += len;
    }
    Ok(file)
}

fn append(file: &File, spec: Spec, start: Instant) -> Result<Vec<Duration>> {
    let (buffer, at) = aligned(spec.block_bytes);
    let block = &buffer[at..at + spec.block_bytes];
    let (mut offset, mut latencies) = (0, Vec::new());
    while start.elapsed() < spec.duration {
        if offset + spec.block_bytes > spec.file_bytes {
            offset = 0;
        }
        let before = Instant::now();
        file.write_all_at(block, u64::try_from(offset)?)?;
        latencies.push(before.elapsed());
        offset += spec.block_bytes;
    }
    Ok(latencies)
}

/// A buffer and the place in it from where `len` bytes are aligned.
fn aligned(len: usize) -> (Vec<u8>, usize) {
    let buffer = vec![0x5a; len + ALIGNMENT];
    let at = buffer.as_ptr().align_offset(ALIGNMENT);
    (buffer, at)
}

fn json(sorted: &[Duration], elapsed: Duration, spec: Spec) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let at = |per_mille: usize| {
        let index = (sorted.len() * per_mille / 1_000).min(sorted.len().saturating_sub(1));
        sorted.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    };
    #[expect(clippy::cast_precision_loss, reason = "a report needs no more than 53 bits")]
    let writes = sorted.len() as f64;
    #[expect(clippy::cast_precision_loss, reason = "a report needs no more than 53 bits")]
    let bytes = writes * spec.block_bytes as f64;
    format!(
        "{{\"block_bytes\":{},\"files\":{},\"mb_per_s\":{:.2},\"writes_per_s\":{:.1},\"p50_us\":{:.1},\"p99_us\":{:.1},\
         \"p999_us\":{:.1}}}",
        spec.block_bytes,
        spec.files,
        bytes / seconds / 1e6,
        writes / seconds,
        at(500),
        at(990),
        at(999)
    )
}

const ALIGNMENT: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_from_sorted_times() {
        let times: Vec<Duration> = (1..=1_000).map(Duration::from_micros).collect();
        let spec = Spec { block_bytes: 4_096, files: 2, duration: Duration::ZERO, file_bytes: 4_096 };
        let line = json(&times, Duration::from_secs(2), spec);
        assert!(line.contains("\"mb_per_s\":2.05") && line.contains("\"writes_per_s\":500.0"), "{line}");
        assert!(line.contains("\"p50_us\":501.0") && line.contains("\"p99_us\":991.0"), "{line}");
        assert!(json(&[], Duration::from_secs(1), spec).contains("\"p50_us\":0.0"));
    }

    #[test]
    fn buffers_are_aligned() {
        let (buffer, at) = aligned(8_192);
        assert_eq!(buffer[at..].as_ptr().align_offset(ALIGNMENT), 0);
        assert!(buffer.len() - at >= 8_192);
    }
}
