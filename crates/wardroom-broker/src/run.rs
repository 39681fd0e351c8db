//! Running a program for what it prints: an operator's command that knows a secret, or systemd's. It gets an empty
//! environment, its own limit of time, and room for one answer; what it says on stderr goes nowhere.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;
use wardroom_model::Secret;
use zeroize::Zeroizing;

use crate::clock;

/// The longest answer: that of the longest secret in the store.
const LONGEST: usize = 64 * 1024;

/// Why a program gave no answer.
#[derive(Debug, Error)]
pub enum RunError {
    /// There is no such program, or it cannot be run.
    #[error("cannot run {program}")]
    Start {
        /// Its path.
        program: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It took too long, and was killed.
    #[error("{program} did not end within {limit} s and was killed")]
    TooSlow {
        /// Its path.
        program: String,
        /// Seconds.
        limit: u64,
    },
    /// It printed more than a secret can be.
    #[error("{0} printed more than 64 KiB and was killed")]
    TooMuch(String),
    /// It failed. What it said on stderr is not shown: it may hold a secret.
    #[error("{program} ended with {status}")]
    Failed {
        /// Its path.
        program: String,
        /// How.
        status: ExitStatus,
    },
    /// Talking with it failed.
    #[error("cannot talk with {program}")]
    Talk {
        /// Its path.
        program: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Runs a program, gives it `input`, and returns what it prints.
///
/// # Errors
/// When it does not print a bounded answer in time and end well.
pub fn run(argv: &[String], input: &[u8], limit: Duration) -> Result<Secret, RunError> {
    let program = argv.first().cloned().unwrap_or_default();
    let mut child = start(argv).map_err(|source| RunError::Start { program: program.clone(), source })?;
    let until = clock::steady() + limit;
    let answer = converse(&mut child, input, until);
    // Whatever it left behind in its group goes with it; a group that is empty needs no signal.
    let group = Pid::from_child(&child);
    let answer = match answer {
        Ok(Some(answer)) if wait(&mut child, until) => Ok(answer),
        Ok(Some(_) | None) => {
            let slow = clock::left(until).is_zero();
            let limit = limit.as_secs();
            Err(if slow {
                RunError::TooSlow { program: program.clone(), limit }
            } else {
                RunError::TooMuch(program.clone())
            })
        }
        Err(source) => Err(RunError::Talk { program: program.clone(), source }),
    };
    let _gone = kill_process_group(group, Signal::KILL);
    let status = child.wait().map_err(|source| RunError::Talk { program: program.clone(), source })?;
    let answer = answer?;
    if status.success() { Ok(answer) } else { Err(RunError::Failed { program, status }) }
}

#[expect(clippy::disallowed_methods, reason = "the one place of this crate where programs are started")]
fn start(argv: &[String]) -> io::Result<Child> {
    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

/// Its answer; none when the time is over or the answer too long.
fn converse(child: &mut Child, input: &[u8], until: Instant) -> io::Result<Option<Secret>> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let Some(mut stdout) = child.stdout.take() else { return Ok(None) };
    let mut answer = Zeroizing::new(vec![0; LONGEST]);
    let mut length = 0;
    loop {
        let Some(room) = answer.get_mut(length..).filter(|room| !room.is_empty()) else { return Ok(None) };
        let left = clock::left(until);
        if left.is_zero() || !readable(&stdout, left)? {
            return Ok(None);
        }
        match stdout.read(room)? {
            0 => return Ok(Some(Secret::new(answer.get(..length).unwrap_or_default().to_vec()))),
            n => length += n,
        }
    }
}

fn readable(stdout: &impl AsFd, left: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(stdout, PollFlags::IN)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Waits until it has ended, without taking its status. False when the time is over.
fn wait(child: &mut Child, until: Instant) -> bool {
    let pidfd = rustix::process::pidfd_open(Pid::from_child(child), rustix::process::PidfdFlags::empty());
    pidfd.is_ok_and(|pidfd| readable(&pidfd, clock::left(until)).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<Secret, RunError> {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&argv, b"in", limit)
    }

    #[test]
    fn an_answer_comes_back_and_the_environment_is_empty() {
        let long = Duration::from_secs(20);
        assert!(sh("cat; echo -n out; echo noise >&2", long).unwrap().eq_ct(b"inout"));
        assert!(sh("echo -n \"$HOME$USER\"", long).unwrap().is_empty());
        assert!(matches!(sh("echo secret; exit 3", long), Err(RunError::Failed { .. })));
        assert!(matches!(run(&["/no/such".to_owned()], b"", long), Err(RunError::Start { .. })));
        assert!(run(&[], b"", long).is_err());
    }

    #[test]
    fn a_program_that_goes_on_for_ever_is_killed_with_all_that_it_started() {
        let short = Duration::from_millis(300);
        assert!(matches!(sh("sleep 1000", short), Err(RunError::TooSlow { .. })));
        assert!(matches!(sh("sleep 1000 & exit 0", short), Err(RunError::TooSlow { .. })));
        assert!(matches!(sh("exec >&-; sleep 1000", short), Err(RunError::TooSlow { .. })));
        assert!(matches!(sh("yes", Duration::from_secs(20)), Err(RunError::TooMuch(_))));
    }
}
