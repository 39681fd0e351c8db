//! `exec` and `stop`: what an operator asks of a running agent's keeper.

use std::ffi::OsString;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use wardroom_model::AgentName;
use wardroom_model::exit::Exit;

use super::agent_name;
use super::reach::{Unreached, reach};
use crate::called::wardroom;
use crate::cli;
use crate::failure::{Done, Failure, OrExit};
use crate::keeper::protocol::{Answer, Line, Request};
use crate::keeper::terminal;
use crate::places::Places;
use crate::screen;

/// Runs one more command inside a running cell, and returns its exit status.
pub(super) fn exec(places: &Places, asked: &cli::Exec) -> Done {
    let name = agent_name(&asked.name)?;
    let line = call(places, &name)?;
    let on_terminal = stdin().is_terminal() && stdout().is_terminal();
    let request = Request::Exec {
        command: asked.command.iter().map(|word| word.as_bytes().to_vec().into()).collect(),
        terminal: on_terminal,
        term: std::env::var("TERM").ok(),
        size: terminal::size().map(|size| (size.ws_row, size.ws_col)),
    };
    let (stdin, stdout, stderr) = (stdin(), stdout(), stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    line.say(&request, if on_terminal { &[] } else { &streams }).or_exit(Exit::Internal)?;
    let mut relay = None;
    loop {
        match line.hear::<Answer>().or_exit(Exit::Supervision)? {
            Some((Answer::Terminal, descriptors)) => {
                relay = descriptors.into_iter().next().map(terminal::Relay::start).transpose()?;
            }
            Some((Answer::Ended { status }, _)) => {
                drop(relay);
                return Ok(u8::try_from(status).unwrap_or(u8::MAX));
            }
            Some((Answer::NotStarted { why }, _)) => say_not_started(asked.command.first(), &why),
            Some((Answer::Refused { why }, _)) => return Err(Failure::new(Exit::CannotContain, why)),
            Some((Answer::Running { .. } | Answer::Recorded, _)) => {}
            None => {
                return Err(Failure::new(Exit::Supervision, format!("{name} ended before the command did")));
            }
        }
    }
}

fn say_not_started(program: Option<&OsString>, why: &str) {
    let program = program.map(|word| word.to_string_lossy()).unwrap_or_default();
    screen::talk(&format!("wardroom: {program}: {why}"));
}

/// Ends a running agent, and waits until it is gone.
pub(super) fn stop(places: &Places, asked: &cli::Named) -> Done {
    let name = agent_name(&asked.name)?;
    let line = call(places, &name)?;
    line.say(&Request::Stop, &[]).or_exit(Exit::Internal)?;
    while line.hear::<Answer>().or_exit(Exit::Supervision)?.is_some() {}
    Ok(0)
}

/// Calls a running agent's keeper.
fn call(places: &Places, name: &AgentName) -> Result<Line, Failure> {
    reach(&places.agent(name).control).map_err(|unreached| {
        let (exit, why) = match (&unreached, places.agent(name).policy.exists()) {
            (Unreached::NotRunning, true) => {
                (Exit::NoSuchAgent, format!("{name} is not running; `{} run {name}` starts it", wardroom()))
            }
            (Unreached::NotRunning, false) => {
                (Exit::NoSuchAgent, format!("there is no agent {name}; `{} ps` lists them", wardroom()))
            }
            (Unreached::Forbidden(_), _) => (Exit::NoSuchAgent, format!("{name}: {unreached}")),
            (Unreached::Stopped(_) | Unreached::HeldUp(_), _) => {
                (Exit::Supervision, format!("{name}: {unreached}"))
            }
        };
        Failure::new(exit, why)
    })
}
