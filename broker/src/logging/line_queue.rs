//! Log lines on their way to standard error. Whoever logs only ever adds to a bounded buffer; one thread writes. What does
//! not fit or cannot be written is dropped and counted, and the count is told as soon as lines can be written again.

use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that may wait to be written. A line that does not fit is dropped.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// The pause before a standard error that others have made non-blocking is tried again.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(20);

/// The lines that wait. One per process.
#[derive(Debug, Default)]
pub(super) struct LineQueue {
    state: Mutex<State>,
    /// Lines have been added.
    added: Condvar,
    /// Everything has been written or dropped.
    drained: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    lines: u64,
    /// The writer has lines that are neither written nor dropped.
    writing: bool,
    /// Lines dropped so far, and how many of them have been told.
    dropped: u64,
    told: u64,
}

impl LineQueue {
    /// Adds whole lines, or drops them. Never waits for standard error.
    pub(super) fn add(&self, text: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + text.len() > WAITING_BYTES_MAX {
            state.dropped += lines(text);
            return;
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(text);
        state.lines += lines(text);
        drop(state);
        if was_empty {
            self.added.notify_one();
        }
    }

    /// Waits until everything has been written or dropped, but no longer than this.
    pub(super) fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        while state.writing || !state.waiting.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            state = self.drained.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lines dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Writes what is added, for ever. `notice` makes the line that tells how many have been dropped.
    pub(super) fn write_to(&self, mut out: impl Write, notice: impl Fn(u64) -> String) -> ! {
        let mut batch = Vec::new();
        let mut torn = false;
        loop {
            let lines = self.take(&mut batch);
            let written = write_lines(&mut out, &batch, &mut torn);
            let untold = self.done(if written { 0 } else { lines });
            if written && untold > 0 && write_lines(&mut out, notice(untold).as_bytes(), &mut torn) {
                self.lock().told += untold;
            }
            self.finish_writing();
        }
    }

    /// Waits for lines and moves them to `batch`; yields how many there are.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.clear();
        let mut state = self.lock();
        while state.waiting.is_empty() {
            state = self.added.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.waiting, batch);
        state.writing = true;
        std::mem::take(&mut state.lines)
    }

    /// Counts what could not be written; yields how many drops have not been told.
    fn done(&self, dropped: u64) -> u64 {
        let mut state = self.lock();
        state.dropped += dropped;
        state.dropped - state.told
    }

    fn finish_writing(&self) {
        let mut state = self.lock();
        state.writing = false;
        if state.waiting.is_empty() {
            self.drained.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of `text`; false if that cannot be done. `torn` says whether the last line that was written lacks its end.
fn write_lines(out: &mut impl Write, text: &[u8], torn: &mut bool) -> bool {
    if *torn && write_all(out, b"\n") != 1 {
        return false;
    }
    let written = write_all(out, text);
    *torn = written > 0 && text.get(written - 1) != Some(&b'\n');
    written == text.len()
}

/// Yields how many bytes have been written before an error.
fn write_all(out: &mut impl Write, text: &[u8]) -> usize {
    let mut written = 0;
    while written < text.len() {
        match out.write(&text[written..]) {
            Ok(0) => break,
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(WOULD_BLOCK_PAUSE),
            Err(_) => break,
        }
    }
    written
}

fn lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    /// Standard error as the test wants it: every write asks what it may do.
    struct Scripted {
        may: mpsc::Receiver<io::Result<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Scripted {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            // When the script has ended everything may be written.
            let bytes = self.may.recv().unwrap_or(Ok(usize::MAX))?.min(text.len());
            self.written.lock().unwrap().extend_from_slice(&text[..bytes]);
            Ok(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Bench {
        queue: Arc<LineQueue>,
        may: mpsc::Sender<io::Result<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Bench {
        fn new() -> Self {
            let (may, script) = mpsc::channel();
            let (queue, written) = (Arc::<LineQueue>::default(), Arc::default());
            let out = Scripted { may: script, written: Arc::clone(&written) };
            let writer = Arc::clone(&queue);
            std::thread::spawn(move || writer.write_to(out, |dropped| format!("{dropped} dropped\n")));
            Self { queue, may, written }
        }

        fn flushed(&self) -> String {
            self.queue.flush(Duration::from_secs(60));
            String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
        }
    }

    const FULL: io::ErrorKind = io::ErrorKind::StorageFull;

    /// Lines come out in order, in as many writes as it takes.
    #[test]
    fn lines_are_written_in_order() {
        let bench = Bench::new();
        bench.queue.add(b"one\n");
        bench.queue.add(b"two\n");
        for bytes in [1, 2, 100, 100, 100] {
            bench.may.send(Ok(bytes)).unwrap();
        }
        assert_eq!(bench.flushed(), "one\ntwo\n");
        assert_eq!(bench.queue.dropped(), 0);
    }

    /// A write that fails drops lines and ends nothing; what was dropped is told behind the next line that can be written,
    /// on a line of its own.
    #[test]
    fn what_cannot_be_written_is_dropped_and_told() {
        let bench = Bench::new();
        bench.queue.add(b"lost\n");
        bench.may.send(Ok(2)).unwrap();
        bench.may.send(Err(FULL.into())).unwrap();
        assert_eq!(bench.flushed(), "lo");
        assert_eq!(bench.queue.dropped(), 1);
        bench.queue.add(b"also lost\n");
        bench.may.send(Err(FULL.into())).unwrap();
        assert_eq!(bench.flushed(), "lo");
        bench.queue.add(b"kept\n");
        for _ in 0..3 {
            bench.may.send(Ok(usize::MAX)).unwrap();
        }
        assert_eq!(bench.flushed(), "lo\nkept\n2 dropped\n");
        bench.queue.add(b"more\n");
        bench.may.send(Ok(usize::MAX)).unwrap();
        assert_eq!(bench.flushed(), "lo\nkept\n2 dropped\nmore\n");
    }

    /// While a write is stuck, whoever logs goes on: the buffer fills up, then lines are dropped. A flush gives up.
    #[test]
    fn nobody_waits_for_a_stuck_write() {
        let bench = Bench::new();
        let line = vec![b'\n'; 1 << 10];
        let fitting = WAITING_BYTES_MAX / line.len();
        for _ in 0..3 * fitting {
            bench.queue.add(&line);
        }
        // The writer may have taken one full buffer.
        let dropped = bench.queue.dropped();
        let expected = [2 * fitting * line.len(), fitting * line.len()].map(|lines| lines as u64);
        assert!((expected[1]..=expected[0]).contains(&dropped), "{dropped}");
        bench.queue.flush(Duration::ZERO);
        let Bench { queue, may, written } = bench;
        drop(may);
        queue.flush(Duration::from_secs(60));
        assert!(
            String::from_utf8_lossy(&written.lock().unwrap()).contains(&format!("\n{dropped} dropped\n"))
        );
    }
}
