//! How long the answering thread is out for a caller. No errand should wait; but whoever shares the caller's socket can
//! take back in the middle of it what keeps it from waiting (`O_NONBLOCK`), or close the socket so that the last hold on it,
//! the guard's, lingers. Such a thread is left to its errand, and another one answers.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::time::{TimerfdClockId, Timespec};

use super::GuardError;
use super::alarm::Alarm;
use super::processes::descriptor_limit;

/// The errand that the answering thread is out for.
#[derive(Debug)]
pub(super) struct Errands {
    /// Its number, or none.
    out: AtomicU64,
    begun: AtomicU64,
    /// The number that was out when it was looked last.
    seen: AtomicU64,
    /// Readable when it is time to look. Set at most once a look, for it costs a system call.
    timer: Alarm,
    armed: AtomicBool,
    /// Held by every thread that waits, or is out for too long.
    waiting: Arc<()>,
}

impl Errands {
    pub(super) fn new() -> Result<Self, GuardError> {
        let timer = Alarm::new(TimerfdClockId::Monotonic)?;
        let [out, begun, seen] = [NONE; 3].map(AtomicU64::new);
        Ok(Self { out, begun, seen, timer, armed: AtomicBool::new(false), waiting: Arc::new(()) })
    }

    /// Runs one. False when it took so long that another thread answers now.
    pub(super) fn run(
        &self,
        errand: impl FnOnce(&Arc<()>) -> Result<(), GuardError>,
    ) -> Result<bool, GuardError> {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        self.out.store(number, Ordering::SeqCst);
        if !self.armed.swap(true, Ordering::SeqCst) {
            self.timer.set(LOOK)?;
        }
        // Held meanwhile, so that those who are out for long are counted among those who wait.
        let waiting = Arc::clone(&self.waiting);
        errand(&waiting)?;
        Ok(self.out.compare_exchange(number, NONE, Ordering::SeqCst, Ordering::SeqCst).is_ok())
    }

    /// Readable when [`Errands::take_over`] is due.
    pub(super) fn timer(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    /// Looks after the errand that is out. True when it has been for a whole look: whoever is out does not answer again.
    pub(super) fn take_over(&self) -> Result<bool, GuardError> {
        self.timer.set(Timespec::default())?;
        self.armed.store(false, Ordering::SeqCst);
        let out = self.out.load(Ordering::SeqCst);
        let before = self.seen.swap(out, Ordering::SeqCst);
        if out == NONE {
            return Ok(false);
        }
        let late = before == out
            && Arc::strong_count(&self.waiting) <= MAX_OUT.min(descriptor_limit() / 16)
            && self.out.compare_exchange(out, NONE, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !late && !self.armed.swap(true, Ordering::SeqCst) {
            self.timer.set(LOOK)?;
        }
        Ok(late)
    }
}

const NONE: u64 = 0;
/// How often it is looked: an errand takes microseconds, and on a machine under load some milliseconds.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Threads that wait or are out at the same time, beyond which nobody answers until one is back: twice those that may wait.
const MAX_OUT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn who_is_out_for_two_looks_is_replaced_and_does_not_answer_again() {
        let errands = Arc::new(Errands::new().unwrap());
        assert!(errands.run(|_| Ok(())).unwrap());
        assert!(!errands.take_over().unwrap(), "nobody is out");
        let ((begun, begins), (end, ends)) = (channel(), channel());
        let theirs = Arc::clone(&errands);
        let out = std::thread::spawn(move || {
            theirs.run(|_| {
                begun.send(()).unwrap();
                ends.recv().unwrap();
                Ok(())
            })
        });
        begins.recv().unwrap();
        assert!(!errands.take_over().unwrap(), "it has only just been seen");
        assert!(errands.take_over().unwrap());
        assert!(!errands.take_over().unwrap(), "somebody else answers already");
        assert!(errands.run(|_| Ok(())).unwrap());
        end.send(()).unwrap();
        assert!(!out.join().unwrap().unwrap());
    }
}
