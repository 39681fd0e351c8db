//! `exec`, `ps` and `stop`: what an operator asks of a running agent's keeper.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, IsTerminal, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::net::sockopt::socket_peercred;
use rustix::process::Pid;
use serde_json::json;
use wardroom_model::AgentName;
use wardroom_model::exit::Exit;

use super::agent_name;
use super::log::local_time;
use crate::cli;
use crate::failure::{Done, Failure, OrExit};
use crate::keeper::protocol::{Answer, Line, Request};
use crate::keeper::{known_agents, terminal};
use crate::layout::cut;
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

/// Lists the agents, and what runs.
pub(super) fn ps(places: &Places, asked: &cli::Ps) -> Done {
    let names = listed(places)?;
    if names.is_empty() {
        screen::talk(&format!(
            "no policies in {}; make one with `wardroom new NAME`",
            places.agents().display()
        ));
    }
    for name in names {
        let running = status(places, &name);
        let shown = match (&running, asked.json) {
            (Some(running), false) => line(&name, running),
            (None, false) => format!("{:NAME$} stopped", name.as_str()),
            (Some((keeper, since, command)), true) => {
                let since = utc(*since);
                json!({"agent": name.as_str(), "running": true, "keeper": keeper, "since": since, "command": command}).to_string()
            }
            (None, true) => json!({"agent": name.as_str(), "running": false}).to_string(),
        };
        if !screen::data(&shown) {
            break;
        }
    }
    Ok(0)
}

/// Every agent that has a policy, and those that run without one (`run --here`).
fn listed(places: &Places) -> Result<BTreeSet<AgentName>, Failure> {
    let mut names = BTreeSet::new();
    for file in known_agents(places)? {
        match agent_of(&file) {
            Some(name) => drop(names.insert(name)),
            None => {
                screen::talk(&format!(
                    "wardroom: {} is not named as an agent can be; left out",
                    file.display()
                ));
            }
        }
    }
    let sockets = fs::read_dir(places.run()).into_iter().flatten().flatten();
    names.extend(
        sockets.filter_map(|entry| agent_of(&entry.path())).filter(|name| status(places, name).is_some()),
    );
    Ok(names)
}

fn agent_of(file: &Path) -> Option<AgentName> {
    AgentName::parse(file.file_stem()?.to_str()?).ok()
}

/// Columns of a name, as long as it may be.
const NAME: usize = AgentName::MAX;

/// One line, for a person no longer than the terminal is wide.
fn line(name: &AgentName, (keeper, since, command): &(u32, u64, String)) -> String {
    let room = if screen::is_for_people() { screen::width() } else { usize::MAX };
    let since = local_time(*since);
    cut(&format!("{:NAME$} running  since {since}, keeper {keeper}: {command}", name.as_str()), room)
}

fn utc(since: u64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(since)).map(|time| time.to_string()).unwrap_or_default()
}

/// What a running agent's keeper says of itself (its process id, since when, the command); none when it does not run.
fn status(places: &Places, name: &AgentName) -> Option<(u32, u64, String)> {
    let line = Line::call(&places.agent(name).control).ok()?;
    line.say(&Request::Status, &[]).ok()?;
    match line.hear::<Answer>().ok()?? {
        (Answer::Running { keeper, since, command }, _) => Some((keeper, since, command)),
        (
            Answer::Terminal
            | Answer::Ended { .. }
            | Answer::Recorded
            | Answer::NotStarted { .. }
            | Answer::Refused { .. },
            _,
        ) => None,
    }
}

/// Ends a running agent, and waits until it is gone.
pub(super) fn stop(places: &Places, asked: &cli::Named) -> Done {
    let name = agent_name(&asked.name)?;
    let line = call(places, &name)?;
    line.say(&Request::Stop, &[]).or_exit(Exit::Internal)?;
    while line.hear::<Answer>().or_exit(Exit::Supervision)?.is_some() {}
    Ok(0)
}

/// Calls a running agent's keeper. Without one there is no socket, or one that nobody listens to any more.
fn call(places: &Places, name: &AgentName) -> Result<Line, Failure> {
    let agent = places.agent(name);
    let line = Line::call(&agent.control).map_err(|error| {
        let absent = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
        let why = match (absent, agent.policy.exists()) {
            (true, true) => format!("{name} is not running; `wardroom run {name}` starts it"),
            (true, false) => format!("there is no agent {name}; `wardroom ps` lists them"),
            (false, _) => format!("{} cannot be called: {error}", agent.control.display()),
        };
        Failure::new(Exit::NoSuchAgent, why)
    })?;
    match socket_peercred(&line) {
        // It would be waited for without end.
        Ok(keeper) if is_stopped(keeper.pid) => {
            let pid = keeper.pid.as_raw_nonzero();
            let why = format!(
                "the keeper of {name} is stopped and answers nothing: `kill -CONT {pid}` has it go on"
            );
            Err(Failure::new(Exit::Supervision, why))
        }
        Ok(_) | Err(_) => Ok(line),
    }
}

/// Whether a process is stopped by a signal or by a debugger.
fn is_stopped(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}
