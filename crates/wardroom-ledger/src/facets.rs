//! The sides of a record that filters ask about: outcome, program, host, path. Taken from the event itself, so that
//! a filter and the record can never disagree.

use wardroom_model::event::{Actor, ConnectionPhase, Event, FileAct, Image, SocketAct, SocketTarget};
use wardroom_model::request::RequestPhase;
use wardroom_model::{Captured, Outcome, RuleRef, Verdict};

/// The verdict that the record carries, where it is about an act.
#[must_use]
pub fn verdict(event: &Event) -> Option<&Verdict> {
    match event {
        Event::Exec(exec) => Some(&exec.verdict),
        Event::File(file) => Some(&file.verdict),
        Event::Socket(socket) => Some(&socket.verdict),
        Event::Connection(connection) => match &connection.phase {
            ConnectionPhase::Decided(verdict) => Some(verdict),
            ConnectionPhase::Ended(end) => Some(&end.verdict),
        },
        Event::Name(name) => Some(&name.verdict),
        Event::Packet(packet) => Some(&packet.verdict),
        Event::Privilege(privilege) => Some(&privilege.verdict),
        Event::Request(request) => match &request.phase {
            RequestPhase::Decided(decision) => Some(&decision.verdict),
            RequestPhase::Ended(end) => Some(&end.verdict),
        },
        Event::Credential(note) => note.verdict.as_ref(),
        Event::Operator(_)
        | Event::Session(_)
        | Event::Image(_)
        | Event::Exit(_)
        | Event::Policy(_)
        | Event::Supervision(_)
        | Event::Ledger(_)
        | Event::Probe(_) => None,
    }
}

/// What became of the act.
#[must_use]
pub fn outcome(event: &Event) -> Option<Outcome> {
    verdict(event).map(|verdict| verdict.outcome)
}

/// The rule that decided.
#[must_use]
pub fn rule(event: &Event) -> Option<&RuleRef> {
    verdict(event)?.rule.as_ref()
}

/// Who acted.
#[must_use]
pub fn actor(event: &Event) -> Option<&Actor> {
    match event {
        Event::Exec(exec) => Some(&exec.actor),
        Event::Image(image) => Some(&image.actor),
        Event::Exit(exit) => Some(&exit.actor),
        Event::File(file) => Some(&file.actor),
        Event::Socket(socket) => Some(&socket.actor),
        Event::Connection(connection) => connection.actor.as_ref(),
        Event::Packet(packet) => packet.actor.as_ref(),
        Event::Privilege(privilege) => Some(&privilege.actor),
        Event::Request(request) => request.actor.as_ref(),
        Event::Credential(note) => note.actor.as_ref(),
        Event::Operator(_)
        | Event::Session(_)
        | Event::Name(_)
        | Event::Policy(_)
        | Event::Supervision(_)
        | Event::Ledger(_)
        | Event::Probe(_) => None,
    }
}

/// The host or address that the record is about, as text.
#[must_use]
pub fn host(event: &Event) -> Option<String> {
    match event {
        Event::Connection(connection) => Some(match &connection.host {
            Some(host) => host.to_string(),
            None => connection.dialled.ip().to_string(),
        }),
        Event::Name(name) => Some(name.name.to_string()),
        Event::Request(request) => Some(request.host.to_string()),
        Event::Credential(note) => note.host.as_ref().map(ToString::to_string),
        Event::Packet(packet) => Some(packet.destination.ip().to_string()),
        Event::Socket(SocketAct { address: SocketTarget::Inet(address), .. }) => {
            Some(address.ip().to_string())
        }
        Event::Socket(_)
        | Event::Exec(_)
        | Event::Image(_)
        | Event::Exit(_)
        | Event::File(_)
        | Event::Operator(_)
        | Event::Session(_)
        | Event::Privilege(_)
        | Event::Policy(_)
        | Event::Supervision(_)
        | Event::Ledger(_)
        | Event::Probe(_) => None,
    }
}

/// The paths that the record is about: what was executed, changed or connected to.
pub fn paths(event: &Event) -> impl Iterator<Item = &Captured> {
    let (first, second) = match event {
        Event::Exec(exec) => (Some(&exec.path), exec.interpreter.as_ref()),
        Event::Image(Image { actor, announced, .. }) => (Some(&actor.program.path), announced.as_ref()),
        Event::File(FileAct { path, other, .. }) => (Some(path), other.as_ref()),
        Event::Socket(SocketAct { address: SocketTarget::Unix(path), .. }) => (Some(path), None),
        Event::Privilege(privilege) => (privilege.detail.as_ref(), None),
        Event::Request(request) => (Some(&request.path), None),
        Event::Socket(_)
        | Event::Exit(_)
        | Event::Connection(_)
        | Event::Name(_)
        | Event::Packet(_)
        | Event::Operator(_)
        | Event::Session(_)
        | Event::Policy(_)
        | Event::Supervision(_)
        | Event::Ledger(_)
        | Event::Probe(_)
        | Event::Credential(_) => (None, None),
    };
    first.into_iter().chain(second)
}
