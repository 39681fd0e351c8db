//! Init's loop: children are reaped, programs started, signals passed on. It ends when the keeper does.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait};
use wardroom_kernel::process::{self, Forked};

use crate::spawn::{become_program, status_of};
use crate::wire::{self, Program, Reply, Request};

/// Programs that the keeper asked for and that still run: a handful, so a list serves.
type Running = Vec<(Pid, u32)>;

/// Serves until the keeper closes its end; the end of pid 1 is the end of everything in the cell.
pub(super) fn serve(control: &OwnedFd, children: &OwnedFd) -> io::Result<()> {
    let mut running = Running::new();
    let mut buffer = [0; 64];
    loop {
        let mut ready = [PollFd::new(control, PollFlags::IN), PollFd::new(children, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [asked, ended] = ready.map(|fd| !fd.revents().is_empty());
        if ended {
            drain(children)?;
            reap(control, &mut running)?;
        }
        if asked {
            match wire::receive::<Request>(control, &mut buffer)? {
                None => return Ok(()),
                Some((request, descriptors)) => answer(control, &request, descriptors, &mut running)?,
            }
        }
    }
}

/// Empties the descriptor that reports `SIGCHLD`; how often it was sent does not matter.
fn drain(children: &OwnedFd) -> io::Result<()> {
    // One `struct signalfd_siginfo` is 128 bytes.
    let mut reports = [0_u8; 1024];
    loop {
        match rustix::io::read(children, &mut reports) {
            Ok(0) | Err(Errno::AGAIN) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reaps everything that ended: programs that were asked for and orphans of theirs alike.
fn reap(control: &OwnedFd, running: &mut Running) -> io::Result<()> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let Some(index) = running.iter().position(|(running, _)| *running == pid) else { continue };
                let (_, id) = running.swap_remove(index);
                wire::send(control, &Reply::Exited { id, status: shell_status(status) }, &[])?;
            }
            Ok(None) | Err(Errno::CHILD) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// As a shell reports it: the exit code, or 128 and the signal.
fn shell_status(status: WaitStatus) -> u32 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u32::try_from(code).ok()).unwrap_or(255)
}

fn answer(control: &OwnedFd, request: &Request, fds: Vec<OwnedFd>, running: &mut Running) -> io::Result<()> {
    match *request {
        Request::Plan | Request::Go | Request::Sources(_) => Ok(()),
        Request::Spawn(id) => match spawn(control, id, fds) {
            Ok(pid) => {
                running.push((pid, id));
                Ok(())
            }
            Err(error) => refuse(control, id, &error),
        },
        Request::Signal { id, signal } => {
            let pid = running.iter().find(|(_, running)| *running == id).map(|(pid, _)| *pid);
            if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
                // Each program leads its own group. Between fork and setsid there is none yet, and then the program itself.
                ignore_absence(kill_process_group(pid, signal).or_else(|_| kill_process(pid, signal)))?;
            }
            Ok(())
        }
        Request::SignalAll(signal) => match Signal::from_named_raw(signal) {
            Some(signal) => ignore_absence(process::signal_all(signal)),
            None => Ok(()),
        },
    }
}

/// A process that ended meanwhile needs no signal.
fn ignore_absence(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn refuse(control: &OwnedFd, id: u32, error: &io::Error) -> io::Result<()> {
    let errno = error.raw_os_error().unwrap_or(0);
    wire::send(control, &Reply::SpawnFailed { id, errno, what: "a process".into() }, &[])?;
    wire::send(control, &Reply::Exited { id, status: 126 }, &[])
}

fn spawn(control: &OwnedFd, id: u32, fds: Vec<OwnedFd>) -> io::Result<Pid> {
    let [body, input, output, error] =
        <[OwnedFd; 4]>::try_from(fds).map_err(|_fds| io::Error::from(Errno::INVAL))?;
    let program: Program = wire::from_memory(body)?;
    match process::fork_init()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => {
            let (errno, what) = become_program(&program, &[input, output, error]);
            let failed = Reply::SpawnFailed { id, errno: errno.raw_os_error(), what: what.into() };
            // If the keeper cannot be told, the exit status below still says that nothing ran.
            let told = wire::send(control, &failed, &[]);
            drop(told);
            process::exit_now(i32::try_from(status_of(errno)).unwrap_or(126))
        }
    }
}
