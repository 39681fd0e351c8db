//! A record as one line for a person. Everything that an agent chose is escaped (attacks C9, L4); colour is the
//! caller's, by the role of each part.

use std::fmt::Write;

use wardroom_model::bytes::escape;
use wardroom_model::credential::{CredentialAct, CredentialNote};
use wardroom_model::event::{
    Actor, ConnectionPhase, Event, FileOp, LedgerNote, Packet, Session, SocketOp, SocketTarget,
};
use wardroom_model::request::{Request, RequestPhase, Usage};
use wardroom_model::{Captured, HostName, Kind, Outcome, Reason, Verdict};

use crate::record::Record;
use crate::words::{in_one_line, of_record};
use crate::{facets, numbers};

/// What a part of a line is, for whoever chooses colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// When.
    Time,
    /// The kind of record.
    Kind,
    /// What became of it.
    Outcome(Option<Outcome>),
    /// Who.
    Program,
    /// What it was about.
    Subject,
    /// Why.
    Reason,
    /// The rule's file and line.
    Rule,
}

/// One part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub role: Role,
    /// Its text, escaped, without line breaks.
    pub text: String,
}

/// The parts of a record's line, in order; to be joined by spaces. `time` formats the wall time (nanoseconds since
/// the Unix epoch) as the reader's zone wants it.
#[must_use]
pub fn line(record: &Record, time: impl Fn(u64) -> String) -> Vec<Part> {
    let part = |role, text: String| Part { role, text };
    let kind = Kind::ALL.get(usize::from(record.head.kind)).map_or("unknown", |kind| kind.word());
    let outcome = record.head.outcome;
    let mut parts = vec![
        part(Role::Time, time(record.head.stamp.wall)),
        part(Role::Kind, format!("{kind:<11}")),
        part(Role::Outcome(outcome), format!("{:<7}", outcome.map_or("", Outcome::word))),
    ];
    let Some(event) = &record.event else {
        parts.push(part(Role::Subject, "(this version cannot read this record)".to_owned()));
        return parts;
    };
    if let Some(actor) = facets::actor(event) {
        parts.push(part(Role::Program, program(actor)));
    }
    parts.push(part(Role::Subject, subject(event)));
    if let Some(verdict) = facets::verdict(event).filter(|verdict| is_worth_saying(verdict)) {
        parts.push(part(Role::Reason, format!("({})", one_line(&verdict.reason.to_string()))));
        if let Some(rule) = &verdict.rule {
            parts.push(part(Role::Rule, format!("[{}]", one_line(&rule.to_string()))));
        }
    }
    parts
}

/// Number 0 is nobody: who did it did not wait to be asked.
fn program(actor: &Actor) -> String {
    match actor.pid {
        0 => "somebody".to_owned(),
        pid => format!("{}[{pid}]", word(&actor.program.path)),
    }
}

/// What was merely seen needs no reason, but where the reason is an alarm.
fn is_worth_saying(verdict: &Verdict) -> bool {
    verdict.outcome != Outcome::Observed || verdict.reason == Reason::Canary
}

/// A record's line as plain text.
#[must_use]
pub fn text(record: &Record, time: impl Fn(u64) -> String) -> String {
    let parts = line(record, time);
    let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
    texts.join(" ").trim_end().to_owned()
}

/// The wall time in UTC, to milliseconds.
#[must_use]
pub fn utc(wall: u64) -> String {
    i64::try_from(wall / 1_000_000)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map_or_else(|| format!("{wall} ns"), |time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// What the record is about, escaped, in one line.
#[must_use]
pub fn subject(event: &Event) -> String {
    match event {
        Event::Operator(operator) => format!("user {} ran: {}", operator.uid, operator.action),
        Event::Session(Session::Started(start)) => {
            format!("started: {} ({} mechanisms in force)", words(&start.command), start.mechanisms.len())
        }
        Event::Session(Session::Ended(end)) => match &end.because {
            None => format!("ended with status {}", end.status),
            Some(why) => format!("ended with status {}: {}", end.status, one_line(why)),
        },
        Event::Exec(exec) => match &exec.interpreter {
            None => words(&exec.arguments),
            Some(interpreter) => {
                format!("{} (script, run by {})", words(&exec.arguments), word(interpreter))
            }
        },
        Event::Image(image) => {
            let arguments = image.arguments.as_ref().map(words);
            match (&image.announced, arguments) {
                (None, None) => "is the image that was loaded".to_owned(),
                (Some(announced), None) => format!("was loaded, but {} was announced", word(announced)),
                (None, Some(arguments)) => format!("was loaded as {arguments}, and not as announced"),
                (Some(announced), Some(arguments)) => {
                    format!("was loaded as {arguments}, but {} was announced", word(announced))
                }
            }
        }
        Event::Exit(exit) => {
            let status = exit.status.map(|status| format!(" with status {status}")).unwrap_or_default();
            let unseen = exit.unseen.as_ref();
            let unseen = unseen
                .map(|path| format!(", and the image that it executed as {} was never seen", word(path)));
            format!("ended{status}{}", unseen.unwrap_or_default())
        }
        Event::File(file) => match &file.other {
            None => format!("{} {}", file_word(file.op), word(&file.path)),
            Some(other) => format!("{} {} -> {}", file_word(file.op), word(&file.path), word(other)),
        },
        Event::Socket(socket) => format!("{} {}", socket_word(socket.op), target(&socket.address)),
        Event::Connection(connection) => {
            let host = connection.host.as_ref().map(|host| format!("{host}:{}", connection.dialled.port()));
            let to = host.unwrap_or_else(|| connection.dialled.to_string());
            match &connection.phase {
                ConnectionPhase::Decided(_) => format!("connect {to}"),
                ConnectionPhase::Ended(end) => format!(
                    "closed {to}, {} bytes out, {} in, {}.{:03} s",
                    end.sent,
                    end.received,
                    end.micros / 1_000_000,
                    end.micros / 1000 % 1000
                ),
            }
        }
        Event::Name(query) => {
            format!("{} {}{}", numbers::query_type(query.rtype), word(&query.name), times(query.count))
        }
        Event::Packet(packet) => {
            format!("{} to {}{}", numbers::protocol(packet.protocol), place(packet), times(packet.count))
        }
        Event::Privilege(privilege) => {
            let detail = privilege.detail.as_ref();
            let detail = detail.map(|detail| format!(" {}", word(detail))).unwrap_or_default();
            format!("{}{detail}{}", one_line(&privilege.call), times(privilege.count))
        }
        Event::Policy(change) => match &change.refused {
            None => format!("in force: {}", change.file),
            Some(why) => format!("refused, the old one stays: {}: {why}", change.file),
        },
        Event::Supervision(supervision) => {
            format!("{}: {}", one_line(&supervision.process), one_line(&supervision.what))
        }
        Event::Ledger(note) => ledger_note(note),
        Event::Request(request) => http(request),
        Event::Credential(note) => credential(note),
        Event::Probe(probe) => {
            format!("{}: {} ({})", one_line(&probe.id), one_line(&probe.result), probe.evidence)
        }
    }
}

fn http(request: &Request) -> String {
    let Request { host, port, method, path, phase, .. } = request;
    let port = if *port == 443 { String::new() } else { format!(":{port}") };
    let what = format!("{} https://{host}{port}{path}", one_line(method));
    let with = |credential: &Option<String>| {
        credential.as_ref().map(|name| format!(" with {}", one_line(name))).unwrap_or_default()
    };
    match phase {
        RequestPhase::Decided(decision) => format!("{what}{}", with(&decision.credential)),
        RequestPhase::Ended(end) => {
            let status = end.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            let seconds = format!("{}.{:03} s", end.micros / 1_000_000, end.micros / 1000 % 1000);
            let usage = end.usage.as_ref().map(usage).unwrap_or_default();
            format!("{status} to {what}, {} bytes out, {} in, {seconds}{usage}", end.sent, end.received)
        }
    }
}

fn usage(usage: &Usage) -> String {
    let Usage { model, input, output, cached, micro_usd, assumed } = usage;
    let price = micro_usd.map(|micros| format!(", ${}.{:06}", micros / 1_000_000, micros % 1_000_000));
    let assumed = if *assumed { " (assumed: the answer does not say)" } else { "" };
    let model = one_line(model);
    format!(
        ", {model}: {input} tokens in, {cached} cached, {output} out{}{assumed}",
        price.unwrap_or_default()
    )
}

fn credential(note: &CredentialNote) -> String {
    let name = if note.name.is_empty() { "another agent's".to_owned() } else { one_line(&note.name) };
    let at = note.host.as_ref().map(|host| format!(" at {host}")).unwrap_or_default();
    match &note.act {
        CredentialAct::InUse { version, source } => {
            format!("{name}: value {version} is in use, from {}", one_line(source))
        }
        CredentialAct::Unavailable { why } => format!("{name}: cannot be had: {}", one_line(why)),
        CredentialAct::Revoked => format!("{name}: revoked"),
        CredentialAct::Age { step, seconds } => {
            format!("{name}: {} for rotation, {} days old", step.words(), seconds / 86_400)
        }
        CredentialAct::Misused { place } => {
            format!("{name}: its placeholder was sent in {}{at}", one_line(place))
        }
        CredentialAct::OwnCredential { place } => {
            format!("{name}: the agent sent one of its own in {}{at}", one_line(place))
        }
        CredentialAct::LimitNear { limit, used, of } => {
            format!("{name}: {} of {} {} used", amount(limit, *used), amount(limit, *of), one_line(limit))
        }
        CredentialAct::NoFit { limit, used, of } => format!(
            "{name}: a request does not fit what is left, {} of {} {} used",
            amount(limit, *used),
            amount(limit, *of),
            one_line(limit)
        ),
        CredentialAct::LimitReached { limit, of, until } => {
            let until = utc(until.saturating_mul(1_000_000_000));
            format!("{name}: all {} {} used, until {until}", amount(limit, *of), one_line(limit))
        }
        CredentialAct::Masked { place } if note.name.is_empty() => {
            let host = note.host.as_ref().map_or("a host", HostName::as_str);
            format!("the answer of {host} held a credential's value in {}, which was masked", one_line(place))
        }
        CredentialAct::Masked { place } => {
            format!("{name}: came back in {}{at}, and was masked", one_line(place))
        }
        CredentialAct::GivenBack { at } => format!("{name}: given back to {}", one_line(at)),
        CredentialAct::NotGivenBack { at, why } => {
            format!("{name}: not given back, and valid at {} until its time: {}", one_line(at), one_line(why))
        }
    }
}

/// Money is counted in millionths of a dollar.
fn amount(limit: &str, of: u64) -> String {
    match limit {
        "usd_per_day" => format!("{}.{:02}", of / 1_000_000, of % 1_000_000 / 10_000),
        _ => of.to_string(),
    }
}

fn ledger_note(note: &LedgerNote) -> String {
    match note {
        LedgerNote::Recovered(found) => format!(
            "recovered after an unclean end: {} records kept, {} bytes cut, {} records taken from the handover",
            found.kept, found.cut_bytes, found.from_handoff
        ),
        LedgerNote::ClockStep { nanos } => {
            format!(
                "the wall clock moved by {}.{:03} s",
                nanos / 1_000_000_000,
                (nanos / 1_000_000 % 1000).abs()
            )
        }
        LedgerNote::Sealed { first, records } => format!("{records} records from {first} on are complete"),
        LedgerNote::Retired { before, rule } => match rule {
            None => format!("records before {before} are retired"),
            Some(rule) => format!("records before {before} are retired [{}]", one_line(&rule.to_string())),
        },
        LedgerNote::Garbled { producer, what } => {
            format!("producer {producer} handed over what is no record: {}", one_line(what))
        }
    }
}

/// NUL-separated arguments as words.
fn words(arguments: &Captured) -> String {
    quoted(&in_one_line(of_record(arguments.shown())), arguments)
}

/// A path, or what else an agent chose, as one word: so that what follows it in a line is ours.
fn word(text: &Captured) -> String {
    quoted(&in_one_line([text.shown()]), text)
}

/// Words in one line, escaped, with the length of what they were cut from.
fn quoted(line: &[u8], of: &Captured) -> String {
    let mut out = String::new();
    if escape(line, &mut out).is_err() {
        out.push('?');
    }
    if let Some(whole) = of.whole()
        && write!(out, "… ({} bytes)", whole.length).is_err()
    {
        out.push('…');
    }
    out
}

fn one_line(text: &str) -> String {
    let mut out = String::new();
    if escape(text.as_bytes(), &mut out).is_err() {
        out.push('?');
    }
    out
}

fn times(count: u64) -> String {
    if count == 1 { String::new() } else { format!(" × {count}") }
}

/// Where a packet was going. No port is shown where the protocol has none.
fn place(packet: &Packet) -> String {
    let destination = packet.destination;
    if destination.port() == 0 { destination.ip().to_string() } else { destination.to_string() }
}

fn target(address: &SocketTarget) -> String {
    match address {
        SocketTarget::Inet(address) => address.to_string(),
        SocketTarget::Unix(path) => match path.shown().strip_prefix(b"\0") {
            Some(name) => format!("unix:@{}", word(&Captured::path(name))),
            None => format!("unix:{}", word(path)),
        },
        SocketTarget::Other(family) => format!("address family {family}"),
        SocketTarget::Unreadable => "an address that cannot be read".to_owned(),
    }
}

fn file_word(op: FileOp) -> &'static str {
    match op {
        FileOp::OpenWrite => "write",
        FileOp::Create => "create",
        FileOp::Truncate => "truncate",
        FileOp::Delete => "delete",
        FileOp::Rename => "rename",
        FileOp::Link => "link",
        FileOp::Symlink => "symlink",
        FileOp::MakeDirectory => "mkdir",
        FileOp::ChangeMode => "chmod",
        FileOp::ChangeOwner => "chown",
        FileOp::SetAttribute => "setxattr",
        FileOp::ReadSensitive => "read sensitive",
        FileOp::MakeNode => "mknod",
        FileOp::RemoveAttribute => "removexattr",
    }
}

fn socket_word(op: SocketOp) -> &'static str {
    match op {
        SocketOp::Connect => "connect",
        SocketOp::Bind => "bind",
        SocketOp::SendTo => "send to",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardroom_model::event::NameQuery;

    #[test]
    fn no_path_looks_like_what_is_said_about_it() {
        use wardroom_model::event::{FileAct, Program};
        let act = |path: &str, other: Option<&str>| {
            let actor =
                Actor { pid: 42, program: Program { path: Captured::from("/tmp/a b"), trusted: false } };
            let verdict = Verdict::refused(Reason::NoRoute);
            let (path, other) = (Captured::from(path), other.map(Captured::from));
            let file = FileAct { actor, op: FileOp::Rename, path, other, mode: None, verdict };
            assert_eq!(program(&file.actor), "'/tmp/a b'[42]");
            subject(&Event::File(file))
        };
        assert_eq!(act("/w/a", Some("/w/b")), "rename /w/a -> /w/b");
        assert_eq!(act("/w/a -> b", Some("c")), "rename '/w/a -> b' -> c");
        let forged = "x (permitted by rule) [policy.toml:3]";
        assert_eq!(act(forged, None), format!("rename '{forged}'"));
        assert_eq!(act("x\u{a0}(\u{3164}", None), "rename 'x\\u{a0}(\\u{3164}'");
        let address = SocketTarget::Unix(Captured::path(b"\0a b"));
        assert_eq!(target(&address), "unix:@'a b'");
    }

    #[test]
    fn questions_and_packets_are_told_in_words() {
        let verdict = Verdict::refused(Reason::NoRoute);
        let name = Captured::from("api.example.com");
        let asked = |rtype| NameQuery { name: name.clone(), rtype, count: 1, verdict: verdict.clone() };
        assert_eq!(subject(&Event::Name(asked(28))), "AAAA api.example.com");
        assert_eq!(subject(&Event::Name(asked(65))), "HTTPS api.example.com");
        let sent = |protocol, to: &str, count| {
            let destination = to.parse().unwrap();
            Event::Packet(Packet { protocol, destination, count, actor: None, verdict: verdict.clone() })
        };
        assert_eq!(subject(&sent(6, "1.2.3.4:80", 1)), "TCP to 1.2.3.4:80");
        assert_eq!(subject(&sent(17, "[2001:db8::1]:53", 3)), "UDP to [2001:db8::1]:53 × 3");
        assert_eq!(subject(&sent(58, "[2001:db8::1]:0", 1)), "ICMPv6 to 2001:db8::1");
    }
}
