//! The hidden role `__role probe`: the processes in which attempts are made.
//!
//! - `probe all FIXTURES ID...` makes each attempt in a process of its own, one after the other (in the cell);
//! - `probe one ID`, with the fixtures on stdin, makes one and says on stdout what came of it;
//! - `probe control ID` does the same outside the cell, as the probe's control;
//! - `probe controls [ID...]` makes the controls alone: whether the probes work on this machine;
//! - `probe fixtures DIRECTORY` is what the attempts try to reach.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Output, Stdio};

use wardroom_kernel::probe::bare::{self, Side};
use wardroom_kernel::probe::process;
use wardroom_model::exit::Exit;

use super::attempt::in_passing;
use super::fixtures::{self, Outside};
use super::outcome::{Outcome, Report};
use super::probe::{Control, Probe};
use super::scene::{Fixtures, Place, PolicyFacts, Scene};
use super::{attempt, rows, services};
use crate::failure::{Done, Failure, OrExit};
use crate::screen;

/// Seconds for a permitted service: a lookup, a connection and an answer, each with patience of its own.
const SERVICE_SECONDS: u32 = 20;
/// The signal by which a process that hangs is ended (see [`process::end_after`]).
const SIGALRM: i32 = 14;

/// Plays the role.
pub(crate) fn play(arguments: &[String]) -> Done {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["all", fixtures, ids @ ..] => all(fixtures, ids),
        ["controls", ids @ ..] => controls(ids),
        ["one", id] => one(id, Place::Cell),
        ["control", id] => one(id, Place::Outside),
        ["fixtures", directory] => fixtures::serve(Path::new(directory)),
        _ => Err(Failure::new(Exit::Usage, "the probe role is started by `wardroom verify` only")),
    }
}

/// Every attempt in a process of its own.
fn all(fixtures: &str, ids: &[&str]) -> Done {
    for id in ids {
        let report = run("one", id, fixtures);
        if !screen::data(&report.line()) {
            break;
        }
    }
    Ok(0)
}

/// The controls of these probes, or of all.
fn controls(ids: &[&str]) -> Done {
    let mut outside = Outside::start(&nonce()).or_exit(Exit::Internal)?;
    // Small limits, so that going beyond them is quick.
    outside.fixtures.policy = PolicyFacts {
        may_trace: false,
        audit_reads: true,
        canaries: Vec::new(),
        literals: Vec::new(),
        tasks: Some(64),
        memory: Some(64 << 20),
        descriptors: Some(1024),
        room: 256 << 20,
    };
    let fixtures = serde_json::to_string(&outside.fixtures).or_exit(Exit::Internal)?;
    for probe in rows::all().chain(rows::governed()).filter(|probe| ids.is_empty() || ids.contains(&probe.id))
    {
        if !screen::data(&run("control", probe.id, &fixtures).line()) {
            break;
        }
    }
    Ok(0)
}

/// Tells this run from every other one.
pub(crate) fn nonce() -> String {
    format!("{:x}{:x}", process::boottime(), rustix::process::getpid().as_raw_nonzero())
}

/// Bytes of memory that may be used without harming others: a quarter of what is available.
pub(crate) fn spare_memory() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes =
        line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|number| number.parse().ok());
    kibibytes.unwrap_or(0_u64) * 1024 / 4
}

/// Runs one attempt in a process of its own, and says what came of it whatever becomes of that process.
pub(crate) fn run(verb: &str, id: &str, fixtures: &str) -> Report {
    let began = process::boottime();
    let outcome = match child(verb, id, fixtures) {
        Ok(output) => outcome_of(&output),
        Err(error) => Outcome::Impossible(format!("no process for the attempt: {error}")),
    };
    Report { id: id.to_owned(), outcome, began, ended: process::boottime() }
}

fn child(verb: &str, id: &str, fixtures: &str) -> io::Result<Output> {
    let mut child = again(["probe", verb, id])?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A process that was killed already reads nothing; its end says so below.
        in_passing(stdin.write_all(fixtures.as_bytes()));
    }
    child.wait_with_output()
}

/// This program once more, in a role. The one place of `verify` that starts processes.
#[expect(clippy::disallowed_methods, reason = "the one place of verify that starts processes")]
pub(crate) fn again<const N: usize>(arguments: [&str; N]) -> io::Result<std::process::Command> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.arg("__role").args(arguments).stderr(Stdio::null());
    Ok(command)
}

fn outcome_of(output: &Output) -> Outcome {
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    match (output.status.signal(), said) {
        (Some(SIGALRM), _) => Outcome::Hung,
        (Some(signal), _) => Outcome::Killed(signal),
        (None, Some(outcome)) => outcome,
        (None, None) => {
            Outcome::Impossible(format!("the attempt's process said nothing ({})", output.status))
        }
    }
}

/// Makes one attempt in this process, and says what came of it.
fn one(id: &str, place: Place) -> Done {
    process::end_after(SERVICE_SECONDS);
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).or_exit(Exit::Usage)?;
    let fixtures: Fixtures = serde_json::from_str(&text).or_exit(Exit::Usage)?;
    let mut scene = Scene { place, id: id.to_owned(), fixtures };
    if let Some(service) = scene.fixtures.services.iter().find(|service| service.id == id) {
        return Ok(say(&services::attempt(service, &scene)));
    }
    let probe = rows::named(id).ok_or_else(|| Failure::new(Exit::Usage, format!("no probe {id}")))?;
    process::end_after(probe.seconds);
    if place == Place::Outside
        && let Control::Bare(covered) = probe.control
    {
        match bare_side(covered) {
            Ok(Side::Inside) => scene.place = Place::Bare,
            Ok(Side::Outside(end)) => return Ok(pass_on(end)),
            Err(error) => return Ok(say(&Outcome::Impossible(format!("no bare namespaces here: {error}")))),
        }
    }
    Ok(say(&make(probe, &scene)))
}

fn make(probe: &Probe, scene: &Scene) -> Outcome {
    // A child of bare::enter has no alarm of its own.
    process::end_after(probe.seconds);
    attempt::make(probe.attempt, scene)
}

fn bare_side(covered: &[&str]) -> io::Result<Side> {
    let covered: Vec<&Path> = covered.iter().map(Path::new).collect();
    bare::enter(&covered)
}

/// The inside has spoken on our stdout already; only a violent end is left to report.
fn pass_on(end: Result<i32, i32>) -> u8 {
    match end {
        Ok(_) => 0,
        Err(SIGALRM) => say(&Outcome::Hung),
        Err(signal) => say(&Outcome::Killed(signal)),
    }
}

/// Says an outcome as one line, and gives the exit code.
pub(crate) fn say(outcome: &Outcome) -> u8 {
    u8::from(!screen::data(&serde_json::to_string(outcome).unwrap_or_default()))
}
