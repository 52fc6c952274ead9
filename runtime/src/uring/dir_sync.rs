//! Syncing directories: who asks for one that is being synced waits for the next turn, together with all others that do.
//! Each turn costs a commit of the file system.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The directories that are being synced.
static TURNS: Mutex<BTreeMap<PathBuf, Turns>> = Mutex::new(BTreeMap::new());
static ENDED: Condvar = Condvar::new();

/// One directory's turns; numbered from one.
#[derive(Debug, Default)]
struct Turns {
    users: usize,
    running: bool,
    started: u64,
    ended: u64,
    /// The newest turn that failed, and its error.
    failed: Option<(u64, Option<i32>)>,
}

/// Makes the entries of a directory durable. Blocks.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    shared(path, |path| std::fs::File::open(path)?.sync_all())
}

fn lock() -> MutexGuard<'static, BTreeMap<PathBuf, Turns>> {
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shared(path: &Path, sync: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut sync = Some(sync);
    let mut all = lock();
    let turns = all.entry(path.to_owned()).or_default();
    turns.users += 1;
    // One that runs may have begun before what is to be durable was there.
    let mine = turns.started + 1;
    loop {
        let turns = all.get_mut(path).expect("it stays as long as it has users");
        if turns.ended >= mine {
            // A failure is told once by the kernel: whoever waited for that turn, or for one before, has to hear of it.
            let failed = turns.failed.filter(|&(turn, _)| turn >= mine);
            turns.users -= 1;
            if turns.users == 0 {
                all.remove(path);
            }
            return failed.map_or(Ok(()), |(_, code)| {
                Err(code.map_or_else(|| io::Error::other("a sync failed"), io::Error::from_raw_os_error))
            });
        }
        match sync.take_if(|_| !turns.running) {
            Some(sync) => {
                turns.running = true;
                turns.started += 1;
                let turn = turns.started;
                drop(all);
                let done = sync(path);
                all = lock();
                let turns = all.get_mut(path).expect("it stays as long as it has users");
                (turns.running, turns.ended) = (false, turn);
                if let Err(error) = done {
                    turns.failed = Some((turn, error.raw_os_error()));
                }
                ENDED.notify_all();
            }
            None => all = ENDED.wait(all).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::thread;

    fn waiting(path: &Path, users: usize) {
        while lock().get(path).is_none_or(|turns| turns.users < users) {
            thread::yield_now();
        }
    }

    #[test]
    fn all_that_wait_share_the_next_turn() {
        let path = Path::new("/shared");
        let runs = AtomicU32::new(0);
        let released = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let wait = |_: &Path| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    while !released.load(Ordering::Relaxed) {
                        thread::yield_now();
                    }
                    Ok(())
                };
                shared(path, wait).expect("succeeds");
            });
            waiting(path, 1);
            while runs.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            let others: Vec<_> = (0..5)
                .map(|_| {
                    scope.spawn(|| {
                        shared(path, |_| {
                            runs.fetch_add(1, Ordering::Relaxed);
                            Err(io::Error::from_raw_os_error(libc::EIO))
                        })
                    })
                })
                .collect();
            waiting(path, 6);
            released.store(true, Ordering::Relaxed);
            for other in others {
                let error = other.join().expect("ends").expect_err("all hear of the failure");
                assert_eq!(error.raw_os_error(), Some(libc::EIO));
            }
        });
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        assert!(!lock().contains_key(path));
    }
}
