//! Calling a running agent's keeper: there may be none, or one that answers nothing.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::net::sockopt::socket_peercred;
use rustix::process::Pid;
use thiserror::Error;

use crate::keeper::protocol::Line;

/// Why a keeper cannot be called.
#[derive(Debug, Error)]
pub(super) enum Unreached {
    /// There is none: no socket, or one that nobody listens to any more.
    #[error("not running")]
    NotRunning,
    /// It takes no calls.
    #[error("its keeper is held up: {0} takes no call")]
    HeldUp(String),
    /// It may be somebody else's.
    #[error("its keeper cannot be called: {0}")]
    Forbidden(#[source] io::Error),
    /// By a signal or a debugger. It would be waited for without end.
    #[error("its keeper is stopped and answers nothing: `kill -CONT {0}` has it go on")]
    Stopped(i32),
}

/// Calls the keeper that listens at `control`.
pub(super) fn reach(control: &Path) -> Result<Line, Unreached> {
    let line = Line::call(control).map_err(|error| {
        if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) {
            Unreached::NotRunning
        } else if error.kind() == ErrorKind::WouldBlock {
            Unreached::HeldUp(control.display().to_string())
        } else {
            Unreached::Forbidden(error)
        }
    })?;
    match socket_peercred(&line) {
        Ok(keeper) if is_stopped(keeper.pid) => Err(Unreached::Stopped(keeper.pid.as_raw_nonzero().get())),
        Ok(_) | Err(_) => Ok(line),
    }
}

fn is_stopped(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}
