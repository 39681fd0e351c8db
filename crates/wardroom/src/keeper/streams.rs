//! What a command is connected to: its environment and its streams.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use wardroom_model::exit::Exit;
use wardroom_model::plan::CellPlan;

use super::Streams;
use super::start::Crew;
use super::terminal::{self, Relay};
use crate::failure::{Failure, OrExit};

/// The environment of a command, as the kernel wants it.
pub(super) fn environment(plan: &CellPlan, term: Option<&str>) -> Vec<Vec<u8>> {
    let own = plan.environment.iter().filter(|(name, _)| term.is_none() || name.as_str() != "TERM");
    let mut environment: Vec<_> = own.map(|(name, value)| format!("{name}={value}").into_bytes()).collect();
    environment.extend(term.map(|term| format!("TERM={term}").into_bytes()));
    environment
}

/// The command's streams: given, or the operator's, with a terminal of the cell's own in place of the operator's.
pub(super) fn streams(crew: &Crew, streams: Streams) -> Result<([OwnedFd; 3], Option<Relay>, bool), Failure> {
    if let Streams::Given(given) = streams {
        return Ok((given, None, false));
    }
    let terminals = [stdin().is_terminal(), stdout().is_terminal(), stderr().is_terminal()];
    let pair = if terminals.contains(&true) {
        Some(crew.cell.open_terminal(terminal::size()).or_exit(Exit::CannotContain)?)
    } else {
        None
    };
    let inside = |own: BorrowedFd<'_>, terminal: bool| match (&pair, terminal) {
        (Some(pair), true) => pair.inside.try_clone().or_exit(Exit::Internal),
        (Some(_), false) | (None, _) => own.try_clone_to_owned().or_exit(Exit::Internal),
    };
    let [input, output, error] = terminals;
    let stdio = [
        inside(stdin().as_fd(), input)?,
        inside(stdout().as_fd(), output)?,
        inside(stderr().as_fd(), error)?,
    ];
    let relay = pair.map(|pair| Relay::start(pair.outside)).transpose()?;
    Ok((stdio, relay, input))
}

/// Why a command could not be started. One that is not found is often there outside, in the operator's own home.
pub(super) fn not_started(errno: Errno, at: &str) -> String {
    let hint = match errno {
        Errno::NOENT => "; a program is the whole system's, or is called by its path inside",
        _ => "",
    };
    format!("{errno} ({at}, inside the cell{hint})")
}
