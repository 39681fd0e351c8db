//! What the record says of the demonstration: the end of it, and the proof.

use std::collections::BTreeSet;

use anstyle::{AnsiColor, Style};
use wardroom_ledger::audit::Finding;
use wardroom_ledger::{Query, Record};
use wardroom_model::event::{Connection, ConnectionPhase, FileAct, FileOp};
use wardroom_model::exit::Exit;
use wardroom_model::{AgentName, Event, Outcome, Reason};
use wardroom_scribe::records;

use crate::commands::ledger::verify_agent;
use crate::failure::{Done, Failure, OrExit};
use crate::places::Places;
use crate::screen;

/// One line of the summary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    refused: bool,
    what: &'static str,
    subject: String,
    why: String,
}

/// Tells it. Fails if the record does not show what the demonstration is there to show.
pub(super) fn tell(places: &Places, name: &AgentName) -> Done {
    let found = records(&places.agent(name).ledger, Query::default()).or_exit(Exit::Ledger)?;
    let records = found.collect::<Result<Vec<_>, _>>().or_exit(Exit::Ledger)?;
    let lines = summarise(&records);
    screen::data(&format!("\nWhat the record says ({} records, out of the agent's reach):\n", records.len()));
    for (refused, title) in [(false, "It did"), (true, "It was refused")] {
        screen::data(&format!("  {}", painted(title, Style::new().bold())));
        for line in lines.iter().filter(|line| line.refused == refused) {
            screen::data(&shown(line));
        }
        screen::data("");
    }
    let verification = verify_agent(places, name)?;
    screen::data(&format!("  ledger verify: {}", verification.finding));
    let missing: Vec<_> = EXPECTED
        .iter()
        .filter(|part| !lines.iter().any(|line| line.refused && line.subject.contains(**part)))
        .collect();
    if verification.finding != Finding::Intact {
        return Err(Failure::new(Exit::LedgerTampered, "the demonstration's ledger is not intact"));
    }
    if !lines.iter().any(|line| line.why == ALARM) {
        return Err(Failure::new(Exit::ProbeFailed, "the record shows no alarm for the decoy that was read"));
    }
    if !missing.is_empty() {
        return Err(Failure::new(Exit::ProbeFailed, format!("the record shows no refusal of {missing:?}")));
    }
    Ok(0)
}

/// What the sample agent attempts and the record must show refused.
const EXPECTED: [&str; 8] = [
    "collector.evil.example",
    "203.0.113.7:443",
    "192.0.2.53:53",
    "/usr/lib/helpful-telemetry.so",
    "/root/.ssh/id_ed25519",
    "/etc/shadow",
    "unshare",
    "mount",
];

/// What is said of a decoy that was read.
const ALARM: &str = "ALARM: a decoy, which opens nothing";

/// What an operator wants to know of these records, each thing once, in the order of its first appearance.
fn summarise(records: &[Record]) -> Vec<Line> {
    let mut seen = BTreeSet::new();
    let lines = records.iter().filter_map(|record| line(record.event.as_ref()?));
    lines.filter(|line| seen.insert((line.refused, line.what, line.subject.clone()))).collect()
}

fn line(event: &Event) -> Option<Line> {
    let did = |what, subject: String, why: String| Some(Line { refused: false, what, subject, why });
    let refused = |what, subject: String, why: String| Some(Line { refused: true, what, subject, why });
    match event {
        Event::Image(image) => did("ran", image.actor.program.path.to_string(), String::new()),
        Event::File(file) => of_file(file),
        Event::Connection(connection) => of_connection(connection),
        Event::Name(query) if query.verdict.outcome == Outcome::Refused => {
            refused("look up", query.name.to_string(), query.verdict.reason.to_string())
        }
        Event::Packet(packet) => {
            refused("reach", packet.destination.to_string(), packet.verdict.reason.to_string())
        }
        Event::Privilege(privilege) => {
            refused("call", privilege.call.clone(), privilege.verdict.reason.to_string())
        }
        Event::Socket(_)
        | Event::Name(_)
        | Event::Operator(_)
        | Event::Session(_)
        | Event::Exec(_)
        | Event::Exit(_)
        | Event::Policy(_)
        | Event::Supervision(_)
        | Event::Ledger(_)
        | Event::Probe(_)
        | Event::Request(_)
        | Event::Credential(_) => None,
    }
}

/// A change inside the workspace was done; one of the system, or a look at a secret, met the walls.
fn of_file(file: &FileAct) -> Option<Line> {
    let subject = file.path.to_string();
    let own =
        ["/workspace/", "/home/agent/", "/tmp/", "/dev/"].iter().any(|place| subject.starts_with(place));
    if file.verdict.reason == Reason::Canary {
        return Some(Line { refused: false, what: "took", subject, why: ALARM.to_owned() });
    }
    let (refused, what, why) = match (file.op == FileOp::ReadSensitive, own) {
        (true, false) => (true, "read", "it does not exist inside"),
        // A decoy, whose own record says more.
        (true, true) => return None,
        (false, true) => (false, "wrote", ""),
        (false, false) => (true, "write", "the system is read-only"),
    };
    Some(Line { refused, what, subject, why: why.to_owned() })
}

fn of_connection(connection: &Connection) -> Option<Line> {
    let host =
        connection.host.as_ref().map_or_else(|| connection.dialled.ip().to_string(), ToString::to_string);
    let subject = format!("{host}:{}", connection.dialled.port());
    match &connection.phase {
        ConnectionPhase::Decided(verdict) if verdict.outcome == Outcome::Refused => {
            Some(Line { refused: true, what: "reach", subject, why: verdict.reason.to_string() })
        }
        ConnectionPhase::Decided(_) => None,
        ConnectionPhase::Ended(end) => {
            let why = format!("{} bytes out, {} in", end.sent, end.received);
            Some(Line { refused: false, what: "reached", subject, why })
        }
    }
}

/// A line as it stands on the screen.
fn shown(line: &Line) -> String {
    let colour = if line.refused { AnsiColor::Red } else { AnsiColor::Green };
    let what = painted(&format!("{:<8}", line.what), Style::new().fg_color(Some(colour.into())));
    let why = painted(&line.why, Style::new().dimmed());
    format!("    {what} {:<34} {why}", line.subject).trim_end().to_owned()
}

fn painted(text: &str, style: Style) -> String {
    let style = if screen::data_has_colours() { style } else { Style::new() };
    format!("{style}{text}{style:#}")
}
