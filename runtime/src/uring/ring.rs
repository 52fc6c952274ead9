//! One io_uring instance: set up with the best flags that the kernel knows, filled and emptied by the reactor.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, squeue};

/// The queue pair and the entries that did not fit.
pub(crate) struct Ring {
    ring: IoUring,
    backlog: VecDeque<squeue::Entry>,
    /// Completions appear only when we enter the kernel, and a flag says when there are some.
    flags_taskrun: bool,
    pub(crate) sqes: u64,
    pub(crate) enters: u64,
}

/// Creates the ring; falls back flag by flag on kernels that do not know them.
fn set_up(entries: u32) -> io::Result<(IoUring, bool)> {
    let mut last = None;
    for level in 0..4 {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_cqsize(entries.saturating_mul(4));
        if level < 3 {
            builder.setup_submit_all();
        }
        if level < 2 {
            builder.setup_coop_taskrun().setup_taskrun_flag();
        }
        if level < 1 {
            builder.setup_single_issuer().setup_defer_taskrun();
            // `setup_coop_taskrun` stays: the kernel accepts both, and the weaker one is then implied.
        }
        match builder.build(entries) {
            Ok(ring) => return Ok((ring, level < 2)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL)))
}

impl Ring {
    /// A ring of the current thread, which alone may use it.
    pub(crate) fn new(entries: u32) -> io::Result<Self> {
        let (ring, flags_taskrun) = set_up(entries.next_power_of_two())?;
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "io_uring of this kernel is older than 5.11",
            ));
        }
        Ok(Self { ring, backlog: VecDeque::new(), flags_taskrun, sqes: 0, enters: 0 })
    }

    /// Registers a file, which the kernel lets go only when the ring is torn down behind its last operation.
    pub(crate) fn hold_open(&self, file: &fs::File) -> io::Result<()> {
        self.ring.submitter().register_files(&[file.as_raw_fd()])
    }

    /// Queues an entry. If the queue is full, it is handed to the kernel first.
    ///
    /// # Safety
    /// All memory and descriptors that the entry names must stay valid until its last completion was taken.
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry) {
        self.sqes += 1;
        if self.backlog.is_empty() && self.ring.submission().is_full() {
            // An error shows again at the next turn; the entry waits in the backlog.
            let _retried = self.enter();
        }
        self.backlog.push_back(entry);
        self.move_backlog();
    }

    fn move_backlog(&mut self) {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: the caller of `push` has promised that what the entry names stays valid.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.backlog.pop_front();
        }
    }

    /// Hands all queued entries over and lets the kernel post completions, without waiting.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        loop {
            let before = self.backlog.len();
            self.move_backlog();
            let queue = self.ring.submission();
            let idle = queue.is_empty() && self.flags_taskrun && !queue.taskrun() && !queue.cq_overflow();
            drop(queue);
            if idle {
                return Ok(());
            }
            self.enter()?;
            // A kernel that takes nothing wants its completions to be taken first: that is the caller's next step.
            if self.backlog.is_empty() || self.backlog.len() == before {
                return Ok(());
            }
        }
    }

    fn enter(&mut self) -> io::Result<()> {
        let pending = u32::try_from(self.ring.submission().len()).expect("at most 32768 entries");
        self.enters += 1;
        let submitter = self.ring.submitter();
        let flags = EnterFlags::GETEVENTS.bits();
        // SAFETY: what the entries name is valid by the contract of `push`; no argument is passed.
        tolerate(unsafe { submitter.enter::<libc::sigset_t>(pending, 0, flags, None) })
    }

    /// As [`Ring::turn`], but waits for a completion, at most `limit`.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        self.move_backlog();
        if !self.backlog.is_empty() {
            return self.turn();
        }
        self.enters += 1;
        let submitter = self.ring.submitter();
        match limit {
            None => tolerate(submitter.submit_and_wait(1)),
            Some(limit) => {
                let time = Timespec::from(limit);
                tolerate(submitter.submit_with_args(1, &SubmitArgs::new().timespec(&time)))
            }
        }
    }

    /// Takes the completions that are there: user data, result, flags.
    pub(crate) fn reap(&mut self, into: &mut Vec<(u64, i32, u32)>) {
        into.extend(self.ring.completion().map(|entry| (entry.user_data(), entry.result(), entry.flags())));
    }
}

/// Errors that only mean "come again": a signal, the time limit, or completions that must be taken first.
fn tolerate(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY) => Ok(()),
            _ => Err(error),
        },
    }
}
