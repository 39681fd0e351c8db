//! `exec`, `ps` and `stop`: what an operator asks of a running agent's keeper.

use std::ffi::OsString;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use serde_json::json;
use wardroom_model::AgentName;
use wardroom_model::exit::Exit;

use super::agent_name;
use crate::cli;
use crate::failure::{Done, Failure, OrExit};
use crate::keeper::protocol::{Answer, Line, Request};
use crate::keeper::{known_agents, terminal};
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
    for file in known_agents(places) {
        let Some(name) =
            file.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| AgentName::parse(stem).ok())
        else {
            screen::talk(&format!("wardroom: {} is not named as an agent can be; left out", file.display()));
            continue;
        };
        let running = status(places, &name);
        let shown = match (&running, asked.json) {
            (Some((keeper, since, command)), false) => format!("{name:<20} running  keeper {keeper}, since {since}: {command}"),
            (None, false) => format!("{name:<20} stopped"),
            (Some((keeper, since, command)), true) => {
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

/// What a running agent's keeper says of itself; none when it does not run.
fn status(places: &Places, name: &AgentName) -> Option<(u32, String, String)> {
    let line = Line::call(&places.agent(name).control).ok()?;
    line.say(&Request::Status, &[]).ok()?;
    match line.hear::<Answer>().ok()?? {
        (Answer::Running { keeper, since, command }, _) => {
            let since = jiff::Timestamp::from_nanosecond(i128::from(since))
                .map(|t| t.to_string())
                .unwrap_or_default();
            Some((keeper, since, command))
        }
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

fn call(places: &Places, name: &AgentName) -> Result<Line, Failure> {
    Line::call(&places.agent(name).control).map_err(|error| {
        Failure::new(
            Exit::NoSuchAgent,
            format!("{name} is not running ({error}); start it with `wardroom run {name}`"),
        )
    })
}
