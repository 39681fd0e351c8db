//! The keeper's helpers: the scribe, the gate, the broker and its programs. Each is a child with a control socket; the end of the socket is
//! the end of the process, and a silent end is answered by starting it again.

use crate::failure::let_go;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::time::Timespec;
use wardroom_kernel::message;

use crate::clock::Deadline;

/// How often a helper may fail within [`MEMORY`] before the keeper gives up on it: one that fails this often fails for
/// a reason that another start does not mend.
const RESTARTS: usize = 5;
/// For how long a restart is remembered.
const MEMORY: Duration = Duration::from_secs(600);
/// How long a helper has to end by itself. The scribe's drain of a full ring takes some ten milliseconds; a disk that
/// hangs is told apart from one that works.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a helper that has closed its socket has to end by itself, so that its own status is what is said and recorded.
const LAST_BREATH: Duration = Duration::from_millis(500);

/// How long a helper has to take a message from its queue, which it does at once unless it is frozen.
const TAKING: Duration = Duration::from_secs(2);

/// A helper's control socket: the keeper's end, and its own.
pub(super) fn channel() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = message::pair()?;
    set_socket_timeout(&ours, Timeout::Send, Some(TAKING))?;
    Ok((ours, theirs))
}

/// A child with a control socket.
#[derive(Debug)]
pub(super) struct Helper {
    /// None before it has begun: what it is told waits in the socket.
    child: Option<Child>,
    control: OwnedFd,
}

impl Helper {
    /// Takes charge of a child that holds the other end of `control`.
    pub(super) fn new(child: Child, control: OwnedFd) -> Self {
        Self { child: Some(child), control }
    }

    /// One that begins later.
    pub(super) fn later(control: OwnedFd) -> Self {
        Self { child: None, control }
    }

    /// It begins: this child holds the other end.
    pub(super) fn begin(&mut self, child: Child) {
        self.child = Some(child);
    }

    /// The keeper's end of the control socket.
    pub(super) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Asks the helper to end, without waiting for it: it hears that no more is coming. Our end stays open, so that a
    /// last word of its does not fail; one that is gone already needs no asking.
    pub(super) fn dismiss(&self) {
        let _gone = rustix::net::shutdown(&self.control, rustix::net::Shutdown::Write);
    }

    /// Asks the helper to end, and waits for it; kills one that does not.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.dismiss();
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let ended = has_ended(&child, PATIENCE)?;
        if !ended {
            child.kill()?;
        }
        let status = child.wait()?;
        if !ended {
            bail!("it did not end within {} s and was killed", PATIENCE.as_secs());
        }
        if !status.success() {
            bail!("it ended with {status}");
        }
        Ok(())
    }

    /// Ends it at once, also when it is frozen. It stays to be buried.
    pub(super) fn kill(&mut self) -> std::io::Result<()> {
        self.child.as_mut().map_or(Ok(()), Child::kill)
    }

    /// Collects a helper whose control socket has closed, and says how it ended.
    pub(super) fn bury(&mut self) -> String {
        let Some(mut child) = self.child.take() else { return "before it began".to_owned() };
        // A process's descriptors are closed before its end can be seen.
        let ended = has_ended(&child, LAST_BREATH).unwrap_or_default();
        // It may also be frozen, or have lost its socket while alive: then it must not go on beside its successor.
        if !ended {
            let_go(child.kill());
        }
        child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

/// A start that failed ends what it had started: whoever starts next must not meet its scribe.
impl Drop for Helper {
    fn drop(&mut self) {
        // The failure that led here is the one to report.
        let_go(self.end());
    }
}

/// Whether a child ends within this time.
fn has_ended(child: &Child, within: Duration) -> anyhow::Result<bool> {
    let pidfd = rustix::process::pidfd_open(
        rustix::process::Pid::from_child(child),
        rustix::process::PidfdFlags::empty(),
    )?;
    wait_readable(pidfd.as_fd(), Deadline::after(within))
}

/// Remembers restarts, and says when there were too many.
#[derive(Debug, Default)]
pub(super) struct Restarts(Vec<Deadline>);

impl Restarts {
    /// One more. Fails when the helper has failed too often in a short time.
    pub(super) fn another(&mut self) -> anyhow::Result<()> {
        self.0.retain(|remembered| remembered.left().is_some());
        self.0.push(Deadline::after(MEMORY));
        if self.0.len() > RESTARTS {
            bail!("it failed {} times within {} minutes", self.0.len(), MEMORY.as_secs() / 60);
        }
        Ok(())
    }
}

/// Whether a descriptor can be read, or has hung up.
pub(super) fn is_readable(fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let mut set = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| poll(&mut set, Some(&Timespec::default())))? > 0)
}

/// Waits until a descriptor can be read or has hung up. False when the time is over.
pub(super) fn wait_readable(fd: BorrowedFd<'_>, deadline: Deadline) -> anyhow::Result<bool> {
    loop {
        let Some(left) = deadline.left() else { return Ok(false) };
        let timeout = Timespec::try_from(left).context("too long a time to wait")?;
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these tests start helpers of their own")]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus};

    use rustix::process::{Pid, test_kill_process};

    use super::*;

    /// A helper that plays this shell line, with its control socket as standard input.
    fn helper(line: &str) -> (Helper, Pid) {
        let (ours, theirs) = message::pair().unwrap();
        let child = Command::new("sh").args(["-c", line]).stdin(theirs).spawn().unwrap();
        let pid = Pid::from_child(&child);
        (Helper::new(child, ours), pid)
    }

    #[test]
    fn a_helper_that_nobody_owns_any_more_has_ended() {
        let (helper, pid) = helper("read until_the_end");
        test_kill_process(pid).unwrap();
        drop(helper);
        test_kill_process(pid).unwrap_err();
    }

    #[test]
    fn a_helper_s_own_end_is_what_is_told() {
        let (mut helper, _) = helper("exec <&-; exit 7");
        assert!(wait_readable(helper.control(), Deadline::after(PATIENCE)).unwrap());
        let status = ExitStatus::from_raw(7 << 8);
        assert_eq!(helper.bury(), status.to_string());
    }
}
