//! What an attempt left on the ledger. A probe that nobody saw fails, even if it was refused.

use std::net::SocketAddr;

use wardroom_ledger::facets::actor;
use wardroom_model::event::{ConnectionPhase, SocketTarget};
use wardroom_model::{Event, Outcome};

use super::probe::{Attempt, Expect, Probe};
use super::scene::Scene;

/// One record, as read back from the ledger.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Its position.
    pub(crate) sequence: u64,
    /// What it says.
    pub(crate) event: Event,
}

/// The records in which one probe looks for its own.
#[derive(Debug)]
pub(crate) struct Trace<'r> {
    records: &'r [Seen],
    pid: Option<u32>,
}

impl<'r> Trace<'r> {
    /// The trace of a probe: its process is the one that executed us with the probe's id as the last argument.
    pub(crate) fn of(id: &str, records: &'r [Seen]) -> Self {
        let pid = records.iter().find_map(|seen| {
            let Event::Exec(exec) = &seen.event else { return None };
            is_probe(exec.arguments.shown(), id).then_some(exec.actor.pid)
        });
        Self { records, pid }
    }

    /// Every record of this run, of whichever process.
    pub(crate) fn all(&self) -> &'r [Seen] {
        self.records
    }

    /// The records of the probe's own process.
    pub(crate) fn own(&self) -> impl Iterator<Item = &'r Seen> {
        let pid = self.pid;
        self.records.iter().filter(move |seen| pid.is_some() && actor(&seen.event).map(|a| a.pid) == pid)
    }

    /// Looks for the record that this probe must have left: the evidence, or what is missing.
    pub(crate) fn evidence(&self, probe: &Probe, scene: &Scene) -> Result<String, String> {
        let program = self.own().next().ok_or("its program is not on the ledger")?;
        match probe.expect {
            Expect::Program(_) => Ok(describe(program)),
            Expect::Privilege(call) => self.first(&format!("no refused {call}"), |event| {
                matches!(event, Event::Privilege(p) if p.call == call && p.verdict.outcome == Outcome::Refused)
            }),
            Expect::Destination => self.destination(probe),
            Expect::Name => self.name(&scene.unknown_name()),
            Expect::Path(part) => self.file(part),
            Expect::Death(signal) => self.first("no record of its end", |event| {
                matches!(event, Event::Exit(exit) if exit.status.is_none_or(|status| status == 128 + signal))
            }),
            Expect::Records(find) => find(self, scene),
        }
    }

    /// The first record of the probe's own that is as wanted.
    pub(crate) fn first(&self, missing: &str, wanted: impl Fn(&Event) -> bool) -> Result<String, String> {
        self.own().find(|seen| wanted(&seen.event)).map(describe).ok_or_else(|| missing.to_owned())
    }

    /// A record about a path that contains this text.
    pub(crate) fn file(&self, part: &str) -> Result<String, String> {
        self.first(
            &format!("no record of {part}"),
            |event| matches!(event, Event::File(act) if contains(act.path.shown(), part.as_bytes())),
        )
    }

    fn destination(&self, probe: &Probe) -> Result<String, String> {
        let text = match probe.attempt {
            Attempt::Connect(text) | Attempt::Send(text) => text,
            Attempt::Call(_)
            | Attempt::Ask(_)
            | Attempt::OpenToWrite(_)
            | Attempt::Create(_)
            | Attempt::Read(_)
            | Attempt::Run(_) => return Err("the attempt has no fixed address".to_owned()),
        };
        self.turned_away(text.parse().map_err(|_not_one| format!("{text} is no address"))?)
    }

    /// A socket call to this address, and its refusal at the wall: where no route leads there, a call fails without a firewall as
    /// well.
    pub(crate) fn turned_away(&self, address: SocketAddr) -> Result<String, String> {
        self.called(address)?;
        self.refused(address).ok_or_else(|| format!("neither the firewall nor the gate refused {address}"))
    }

    /// The record of a socket call to this address; if the firewall or the gate reported it too, theirs.
    pub(crate) fn reached_for(&self, address: SocketAddr) -> Result<String, String> {
        let call = self.called(address)?;
        Ok(self.refused(address).unwrap_or(call))
    }

    fn called(&self, address: SocketAddr) -> Result<String, String> {
        self.first(&format!("no socket call to {address}"), |event| {
            matches!(event, Event::Socket(act)
                if matches!(act.address, SocketTarget::Inet(to) if plain(to) == plain(address)))
        })
    }

    fn refused(&self, address: SocketAddr) -> Option<String> {
        self.records.iter().find(|seen| refused_at_the_wall(&seen.event, address)).map(describe)
    }

    /// A refused question for this name.
    pub(crate) fn name(&self, name: &str) -> Result<String, String> {
        let asked = self.records.iter().find(|seen| {
            matches!(&seen.event, Event::Name(query)
                if query.name.shown().eq_ignore_ascii_case(name.as_bytes())
                    && query.verdict.outcome == Outcome::Refused)
        });
        asked.map(describe).ok_or_else(|| format!("no refused question for {name}"))
    }
}

/// Port and address, where the scope of a link-local address does not count, and an IPv4 address inside IPv6 is what the packet says.
fn plain(address: SocketAddr) -> (std::net::IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// Whether the firewall or the gate refused this destination.
fn refused_at_the_wall(event: &Event, address: SocketAddr) -> bool {
    if let Event::Connection(connection) = event
        && let ConnectionPhase::Decided(verdict) = &connection.phase
    {
        return plain(connection.dialled) == plain(address) && verdict.outcome == Outcome::Refused;
    }
    matches!(event, Event::Packet(packet) if plain(packet.destination) == plain(address))
}

/// Whether these arguments, separated by NUL, are those of the probe with this id.
fn is_probe(arguments: &[u8], id: &str) -> bool {
    let mut words = arguments.strip_suffix(b"\0").unwrap_or(arguments).rsplit(|byte| *byte == 0);
    words.next() == Some(id.as_bytes()) && words.next() == Some(b"one") && words.next() == Some(b"probe")
}

pub(crate) fn contains(whole: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && whole.windows(part.len()).any(|window| window == part)
}

/// A record in a few words: its number, its kind, and what it is about.
pub(crate) fn describe(seen: &Seen) -> String {
    let about = match &seen.event {
        Event::Exec(exec) => exec.path.to_string(),
        Event::Image(image) => image.actor.program.path.to_string(),
        Event::Exit(exit) => {
            exit.status.map_or_else(|| "ended".to_owned(), |status| format!("status {status}"))
        }
        Event::File(act) => format!("{} {}", act.verdict.outcome.word(), act.path),
        Event::Socket(act) => format!("{} {}", act.verdict.outcome.word(), target(&act.address)),
        Event::Privilege(p) => format!("{} {}", p.verdict.outcome.word(), p.call),
        Event::Connection(connection) => format!("{} {}", phase(&connection.phase), connection.dialled),
        Event::Packet(packet) => format!("{} {}", packet.verdict.outcome.word(), packet.destination),
        Event::Name(query) => format!("{} {}", query.verdict.outcome.word(), query.name),
        Event::Request(request) => format!("{} {}{}", request.method, request.host, request.path),
        Event::Credential(note) => note.name.clone(),
        Event::Supervision(note) => format!("{} {}", note.process, note.what),
        Event::Operator(_) | Event::Session(_) | Event::Policy(_) | Event::Ledger(_) | Event::Probe(_) => {
            String::new()
        }
    };
    format!("#{} {} {about}", seen.sequence, seen.event.kind().word()).trim_end().to_owned()
}

fn phase(phase: &ConnectionPhase) -> &'static str {
    match phase {
        ConnectionPhase::Decided(verdict) => verdict.outcome.word(),
        ConnectionPhase::Ended(_) => "ended",
    }
}

fn target(target: &SocketTarget) -> String {
    match target {
        SocketTarget::Inet(address) => address.to_string(),
        SocketTarget::Unix(path) => format!("unix {path}"),
        SocketTarget::Other(family) => format!("address family {family}"),
        SocketTarget::Unreadable => "an unreadable address".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use wardroom_model::event::{Actor, Exec, Packet, Program, SocketAct, SocketOp};
    use wardroom_model::{Captured, Reason, Verdict};

    use super::*;
    use crate::verify::rows;
    use crate::verify::scene::Place;
    use crate::verify::scene::tests::fixtures;

    /// What a probe's program leaves by a connect to this address.
    fn connects(id: &str, address: &str) -> Vec<Event> {
        let actor =
            Actor { pid: 7, program: Program { path: Captured::from("/run/wardroom/probe"), trusted: true } };
        let exec = Exec {
            actor: actor.clone(),
            path: actor.program.path.clone(),
            arguments: Captured::from(format!("probe\0probe\0one\0{id}\0").as_str()),
            directory: Captured::from("/"),
            interpreter: None,
            verdict: Verdict::observed(),
        };
        let (op, address) = (SocketOp::Connect, SocketTarget::Inet(address.parse().unwrap()));
        let call = SocketAct { actor, op, address, verdict: Verdict::observed() };
        vec![Event::Exec(exec), Event::Socket(call)]
    }

    fn refused(destination: &str) -> Event {
        let (destination, verdict) = (destination.parse().unwrap(), Verdict::refused(Reason::NoRule));
        Event::Packet(Packet { protocol: 6, destination, count: 1, actor: None, verdict })
    }

    fn evidence(id: &str, events: Vec<Event>) -> Result<String, String> {
        let records: Vec<_> = (1..).zip(events).map(|(sequence, event)| Seen { sequence, event }).collect();
        let scene = Scene { place: Place::Cell, id: id.to_owned(), fixtures: fixtures() };
        Trace::of(id, &records).evidence(rows::named(id).unwrap(), &scene)
    }

    #[test]
    fn a_destination_that_no_wall_refused_is_not_seen() {
        for (id, address, packet) in [
            ("N2.literal-v4", "203.0.113.1:443", "203.0.113.1:443"),
            ("N2.literal-v6", "[2001:db8:77::1]:443", "[2001:db8:77::1]:443"),
            ("N3.v4-mapped", "[::ffff:10.0.0.1]:443", "10.0.0.1:443"),
            ("N1.no-proxy", "203.0.113.9:8080", "203.0.113.9:8080"),
        ] {
            let without = connects(id, address);
            let elsewhere = [without.clone(), vec![refused("203.0.113.77:443")]].concat();
            let with = [without.clone(), vec![refused(packet)]].concat();
            let missing = format!("neither the firewall nor the gate refused {address}");
            assert_eq!(evidence(id, without), Err(missing.clone()), "{id}");
            assert_eq!(evidence(id, elsewhere), Err(missing), "{id}");
            assert_eq!(evidence(id, with), Ok(format!("#3 packet refused {packet}")), "{id}");
        }
    }
}
