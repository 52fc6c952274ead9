//! SIGTERM, SIGINT and SIGHUP, as values instead of interruptions.
//!
//! The main thread blocks the signals before it starts any other, then waits for one and tells the shards, by
//! an [`crate::injector`] for example.

use std::io;
use std::mem::MaybeUninit;

use crate::uring::check;

/// A request to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: from a supervisor.
    Terminate,
    /// SIGINT: from the keyboard.
    Interrupt,
    /// SIGHUP: the terminal is gone.
    Hangup,
}

impl Signal {
    /// The system's name of the signal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Hangup => "SIGHUP",
        }
    }
}

/// Proof that the signals do not interrupt this thread nor those that it starts.
#[derive(Debug)]
pub struct Signals {
    set: libc::sigset_t,
}

impl Signals {
    /// Blocks SIGTERM, SIGINT and SIGHUP for this thread and all that it starts from now on. To be called before any other
    /// thread is started. A SIGHUP that is ignored stays so: whoever starts the process by nohup wants it to go on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the pointer is valid for a write.
        check(unsafe { libc::sigemptyset(set.as_mut_ptr()) })?;
        // SAFETY: initialised by the call before.
        let mut set = unsafe { set.assume_init() };
        let hangup = (!is_ignored(libc::SIGHUP)?).then_some(libc::SIGHUP);
        for number in [libc::SIGTERM, libc::SIGINT].into_iter().chain(hangup) {
            // SAFETY: the set is initialised.
            check(unsafe { libc::sigaddset(&raw mut set, number) })?;
        }
        // SAFETY: the set is valid for reading; the former mask is not wanted.
        let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if error == 0 { Ok(Self { set }) } else { Err(io::Error::from_raw_os_error(error)) }
    }

    /// Waits for the next signal; blocks the thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self) -> io::Result<Signal> {
        let mut number = 0;
        // SAFETY: the set is initialised, and `number` is valid for a write.
        let error = unsafe { libc::sigwait(&raw const self.set, &raw mut number) };
        match (error, number) {
            (0, libc::SIGTERM) => Ok(Signal::Terminate),
            (0, libc::SIGINT) => Ok(Signal::Interrupt),
            (0, libc::SIGHUP) => Ok(Signal::Hangup),
            (0, other) => Err(io::Error::other(format!("unexpected signal {other}"))),
            (error, _) => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn is_ignored(number: libc::c_int) -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is changed, and the pointer is valid for a write.
    check(unsafe { libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) })?;
    // SAFETY: initialised by the call before.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signal that arrives before anyone waits is not lost.
    #[test]
    fn a_blocked_signal_is_received() {
        // On a thread of its own, and sent to that thread only, so that other tests are not disturbed.
        let signal = std::thread::spawn(|| {
            let signals = Signals::block().unwrap();
            // SAFETY: no memory is involved.
            let thread = unsafe { libc::pthread_self() };
            [libc::SIGTERM, libc::SIGINT, libc::SIGHUP].map(|number| {
                // SAFETY: the thread is this one and lives.
                assert_eq!(unsafe { libc::pthread_kill(thread, number) }, 0);
                signals.wait().unwrap()
            })
        });
        assert_eq!(signal.join().unwrap(), [Signal::Terminate, Signal::Interrupt, Signal::Hangup]);
    }
}
