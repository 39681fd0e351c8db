//! Records as OCSF events (schema.ocsf.io, version 1.3): what programs read. The shape is stable; fields are added,
//! never changed. Wardroom's own details, which OCSF has no place for, are in `unmapped`.

use serde_json::{Map, Value, json};
use wardroom_model::bytes::is_invisible;
use wardroom_model::credential::CredentialAct;
use wardroom_model::event::{
    Actor, Connection, ConnectionPhase, Exec, FileAct, FileOp, LedgerNote, NameQuery, Packet, Privilege,
    Session, SocketAct, SocketOp, SocketTarget,
};
use wardroom_model::request::{Request, RequestPhase, Usage};
use wardroom_model::{Captured, Event, Kind, Outcome, Reason, Verdict};

use crate::origin::Producer;
use crate::record::Record;
use crate::words::{in_one_line, of_record};
use crate::{facets, numbers};

/// The record as one OCSF event. `origin` is the ledger's.
#[must_use]
pub fn json(record: &Record, origin: &str) -> Value {
    let class = record.event.as_ref().map_or(BASE, class);
    let mut out = Map::new();
    let type_uid = u64::from(class.uid) * 100 + u64::from(class.activity);
    out.insert("class_uid".into(), json!(class.uid));
    out.insert("class_name".into(), json!(class.name));
    out.insert("category_uid".into(), json!(class.uid / 1000));
    out.insert("activity_id".into(), json!(class.activity));
    out.insert("type_uid".into(), json!(type_uid));
    // Milliseconds since the epoch, as OCSF's timestamp_t; nanoseconds are in `unmapped`.
    out.insert("time".into(), json!(record.head.stamp.wall / 1_000_000));
    out.insert("metadata".into(), metadata(record, origin));
    out.insert("severity_id".into(), json!(severity(record)));
    let mut unmapped = unmapped(record);
    if let Some(event) = &record.event {
        if let Some(verdict) = facets::verdict(event) {
            insert_verdict(&mut out, verdict);
        }
        if let Some(actor) = facets::actor(event) {
            out.insert("actor".into(), json!({ "process": process(actor) }));
        }
        insert_details(&mut out, &mut unmapped, event);
    }
    out.insert("unmapped".into(), Value::Object(unmapped));
    Value::Object(out)
}

/// The same in one line, harmless on a terminal: what JSON does not have to escape and a terminal would obey is escaped as well.
#[must_use]
pub fn line(record: &Record, origin: &str) -> String {
    let mut line = String::new();
    for c in json(record, origin).to_string().chars() {
        if c.is_control() || is_invisible(c) {
            // None stands outside a text.
            for unit in c.encode_utf16(&mut [0; 2]) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            line.push(c);
        }
    }
    line
}

/// A class of OCSF and the activity within it.
struct Class {
    uid: u16,
    name: &'static str,
    activity: u8,
}

const BASE: Class = Class { uid: 0, name: "Base Event", activity: 0 };

fn class(event: &Event) -> Class {
    let process = |activity| Class { uid: 1007, name: "Process Activity", activity };
    let network = |activity| Class { uid: 4001, name: "Network Activity", activity };
    match event {
        Event::Exec(_) => process(1),
        Event::Image(_) => process(99),
        Event::Exit(_) => process(2),
        Event::File(file) => {
            Class { uid: 1001, name: "File System Activity", activity: file_activity(file.op) }
        }
        Event::Socket(socket) => network(match socket.op {
            SocketOp::Connect => 1,
            SocketOp::Bind => 7,
            SocketOp::SendTo => 6,
        }),
        Event::Connection(connection) => network(match &connection.phase {
            ConnectionPhase::Decided(verdict) if verdict.outcome == Outcome::Refused => 5,
            ConnectionPhase::Decided(_) => 1,
            ConnectionPhase::Ended(_) => 2,
        }),
        Event::Name(_) => Class { uid: 4003, name: "DNS Activity", activity: 1 },
        Event::Packet(_) => network(5),
        Event::Privilege(_) => Class { uid: 1003, name: "Kernel Activity", activity: 4 },
        Event::Session(Session::Started(_)) => {
            Class { uid: 6002, name: "Application Lifecycle", activity: 3 }
        }
        Event::Session(Session::Ended(_)) => Class { uid: 6002, name: "Application Lifecycle", activity: 4 },
        Event::Supervision(_) => Class { uid: 6002, name: "Application Lifecycle", activity: 99 },
        Event::Operator(_) => Class { uid: 3004, name: "Entity Management", activity: 99 },
        Event::Policy(_) => Class { uid: 3004, name: "Entity Management", activity: 3 },
        Event::Ledger(_) => BASE,
        Event::Probe(_) => Class { uid: 2003, name: "Compliance Finding", activity: 1 },
        Event::Request(request) => {
            Class { uid: 4002, name: "HTTP Activity", activity: http_activity(request) }
        }
        Event::Credential(_) => Class { uid: 3004, name: "Entity Management", activity: 99 },
    }
}

/// The schema's numbers for methods; 99 is any other.
fn http_activity(request: &Request) -> u8 {
    match request.method.as_str() {
        "CONNECT" => 1,
        "DELETE" => 2,
        "GET" => 3,
        "HEAD" => 4,
        "OPTIONS" => 5,
        "POST" => 6,
        "PUT" => 7,
        "TRACE" => 8,
        "PATCH" => 9,
        _ => 99,
    }
}

fn file_activity(op: FileOp) -> u8 {
    match op {
        FileOp::Create | FileOp::Link | FileOp::Symlink | FileOp::MakeDirectory | FileOp::MakeNode => 1,
        FileOp::ReadSensitive => 2,
        FileOp::OpenWrite | FileOp::Truncate => 3,
        FileOp::Delete => 4,
        FileOp::Rename => 5,
        FileOp::SetAttribute | FileOp::RemoveAttribute => 6,
        FileOp::ChangeMode | FileOp::ChangeOwner => 7,
    }
}

fn metadata(record: &Record, origin: &str) -> Value {
    json!({
        "version": "1.3.0",
        "product": { "name": "Wardroom", "vendor_name": "Wardroom" },
        "log_name": origin,
        "sequence": record.head.sequence,
        "uid": format!("{origin}/{}", record.head.sequence),
    })
}

/// 1 informational, 2 low, 3 medium, 4 high.
fn severity(record: &Record) -> u8 {
    let own = record.event.as_ref().map_or(1, own_severity);
    match (record.head.outcome, Kind::ALL.get(usize::from(record.head.kind))) {
        _ if own > 1 => own,
        (_, Some(Kind::Privilege)) | (_, None) => 3,
        (Some(Outcome::Refused), _) => 2,
        (Some(Outcome::Allowed | Outcome::Observed | Outcome::Failed) | None, _) => 1,
    }
}

/// What a record says that no outcome tells.
fn own_severity(event: &Event) -> u8 {
    match event {
        // An agent tried to carry a credential to where it does not belong.
        Event::Credential(note) => match note.act {
            CredentialAct::Misused { .. } | CredentialAct::OwnCredential { .. } => 4,
            CredentialAct::InUse { .. }
            | CredentialAct::Unavailable { .. }
            | CredentialAct::Revoked
            | CredentialAct::GivenBack { .. }
            | CredentialAct::NotGivenBack { .. }
            | CredentialAct::Age { .. }
            | CredentialAct::LimitNear { .. }
            | CredentialAct::LimitReached { .. }
            | CredentialAct::NoFit { .. }
            | CredentialAct::Masked { .. } => 1,
        },
        Event::File(act) if act.verdict.reason == Reason::Canary => 4,
        // A wall that does not hold, and bytes from where only records come from.
        Event::Probe(probe) if probe.result == FAILED_PROBE => 4,
        Event::Ledger(LedgerNote::Garbled { .. }) => 4,
        // Wardroom ended the cell, not its command and not its operator.
        Event::Session(Session::Ended(end)) if end.because.is_some() && end.status != STOPPED => 4,
        Event::Ledger(LedgerNote::Recovered(_)) => 3,
        Event::Policy(change) if change.refused.is_some() => 3,
        // Another program, or another command line, than was announced; so are scripts that are executed by their descriptor.
        Event::Image(image) if image.announced.is_some() || image.arguments.is_some() => 2,
        // Said at every start.
        Event::Supervision(note) if note.process == "gate" && note.what.contains(" locked") => 1,
        Event::Supervision(_) => 3,
        Event::Operator(_)
        | Event::Session(_)
        | Event::Exec(_)
        | Event::Image(_)
        | Event::Exit(_)
        | Event::File(_)
        | Event::Socket(_)
        | Event::Connection(_)
        | Event::Name(_)
        | Event::Packet(_)
        | Event::Privilege(_)
        | Event::Policy(_)
        | Event::Ledger(_)
        | Event::Probe(_)
        | Event::Request(_) => 1,
    }
}

/// The word of `verify` for a probe that got through.
const FAILED_PROBE: &str = "FAIL";
/// The status of a command that its operator's `stop` ended: 128 and SIGTERM.
const STOPPED: u32 = 143;

fn unmapped(record: &Record) -> Map<String, Value> {
    let producer = Producer::from_number(record.head.producer).map_or("unknown", Producer::word);
    let kind = Kind::ALL.get(usize::from(record.head.kind)).map_or("unknown", |kind| kind.word());
    let mut out = Map::new();
    out.insert("kind".into(), json!(kind));
    out.insert("producer".into(), json!(producer));
    out.insert("monotonic_ns".into(), json!(record.head.stamp.monotonic));
    out.insert("wall_ns".into(), json!(record.head.stamp.wall));
    if record.event.is_none() {
        out.insert("undecodable".into(), json!(true));
    }
    out
}

fn insert_verdict(out: &mut Map<String, Value>, verdict: &Verdict) {
    // disposition_id: 1 allowed, 2 blocked, 17 logged, 27 error; status_id: 1 success, 2 failure.
    let (disposition, status) = match verdict.outcome {
        Outcome::Allowed => (1, 1),
        Outcome::Refused => (2, 2),
        Outcome::Observed => (17, 1),
        Outcome::Failed => (27, 2),
    };
    out.insert("disposition_id".into(), json!(disposition));
    out.insert("disposition".into(), json!(verdict.outcome.word()));
    out.insert("status_id".into(), json!(status));
    out.insert("status_detail".into(), json!(verdict.reason.to_string()));
    if let Some(rule) = &verdict.rule {
        out.insert("firewall_rule".into(), json!({ "name": rule.to_string() }));
    }
}

fn process(actor: &Actor) -> Value {
    let file = file(&actor.program.path);
    json!({ "pid": actor.pid, "name": file.get("name"), "file": file })
}

/// What the class has places for goes to `out`, the rest to `unmapped`.
fn insert_details(out: &mut Map<String, Value>, unmapped: &mut Map<String, Value>, event: &Event) {
    match event {
        Event::Exec(Exec { path, arguments, directory, interpreter, .. }) => {
            let mut process = Map::new();
            insert_arguments(&mut process, unmapped, arguments.shown());
            process.insert("file".into(), file(path));
            insert_text(&mut process, "working_directory", Some(directory));
            out.insert("process".into(), Value::Object(process));
            insert_text(unmapped, "interpreter", interpreter.as_ref());
            insert(unmapped, "arguments_bytes", arguments.whole().map(|whole| json!(whole.length)));
        }
        Event::Image(image) => {
            out.insert("process".into(), process(&image.actor));
            insert_text(unmapped, "announced", image.announced.as_ref());
            if let Some(arguments) = &image.arguments {
                insert_words(unmapped, "argv_not_announced", arguments.shown());
            }
        }
        Event::Exit(exit) => {
            out.insert("process".into(), process(&exit.actor));
            insert(out, "exit_code", exit.status.map(|status| json!(status)));
            insert_text(unmapped, "image_never_seen", exit.unseen.as_ref());
        }
        Event::File(FileAct { op, path, other, mode, .. }) => {
            out.insert("file".into(), file(path));
            insert(out, "file_result", other.as_ref().map(file));
            unmapped.insert("operation".into(), json!(format!("{op:?}")));
            insert(unmapped, "mode", mode.map(|mode| json!(format!("{mode:04o}"))));
        }
        Event::Socket(SocketAct { op, address, .. }) => {
            unmapped.insert("operation".into(), json!(format!("{op:?}")));
            out.insert("dst_endpoint".into(), target(address));
        }
        Event::Connection(connection) => insert_connection(out, unmapped, connection),
        Event::Name(NameQuery { name, rtype, count, .. }) => {
            let mut query = Map::new();
            insert_text(&mut query, "hostname", Some(name));
            query.insert("type".into(), json!(numbers::query_type(*rtype)));
            out.insert("query".into(), Value::Object(query));
            unmapped.insert("type_number".into(), json!(rtype));
            out.insert("count".into(), json!(count));
        }
        Event::Packet(Packet { protocol, destination, count, .. }) => {
            out.insert("dst_endpoint".into(), endpoint(destination));
            let name = numbers::protocol(*protocol).to_lowercase();
            out.insert(
                "connection_info".into(),
                json!({ "protocol_num": protocol, "protocol_name": name, "direction_id": 2 }),
            );
            out.insert("count".into(), json!(count));
        }
        Event::Privilege(Privilege { call, arguments, detail, count, .. }) => {
            out.insert("kernel".into(), json!({ "name": call, "type_id": 2, "system_call": call }));
            out.insert("count".into(), json!(count));
            unmapped.insert("arguments".into(), json!(arguments));
            insert_text(unmapped, "detail", detail.as_ref());
        }
        Event::Request(request) => insert_request(out, unmapped, request),
        Event::Credential(note) => {
            out.insert("entity".into(), json!({ "name": note.name, "type": "credential" }));
            out.insert("message".into(), json!(crate::show::subject(event)));
        }
        Event::Operator(_)
        | Event::Session(_)
        | Event::Policy(_)
        | Event::Supervision(_)
        | Event::Ledger(_)
        | Event::Probe(_) => {
            out.insert("message".into(), json!(crate::show::subject(event)));
        }
    }
}

fn insert_connection(
    out: &mut Map<String, Value>,
    unmapped: &mut Map<String, Value>,
    connection: &Connection,
) {
    let mut destination = endpoint(&connection.dialled);
    if let (Some(host), Some(fields)) = (&connection.host, destination.as_object_mut()) {
        fields.insert("hostname".into(), json!(host.as_str()));
    }
    out.insert("dst_endpoint".into(), destination);
    out.insert(
        "connection_info".into(),
        json!({ "protocol_num": 6, "protocol_name": "tcp", "direction_id": 2, "uid": connection.id.to_string() }),
    );
    if let ConnectionPhase::Ended(end) = &connection.phase {
        out.insert("traffic".into(), json!({ "bytes_out": end.sent, "bytes_in": end.received, "bytes": end.sent.saturating_add(end.received) }));
        out.insert("duration".into(), json!(end.micros / 1000));
        insert(unmapped, "remote", end.remote.as_ref().map(endpoint));
        unmapped.insert("duration_us".into(), json!(end.micros));
    }
}

fn insert_request(out: &mut Map<String, Value>, unmapped: &mut Map<String, Value>, request: &Request) {
    let Request { id, connection, host, port, method, path, phase, .. } = request;
    let mut url = Map::new();
    insert_text(&mut url, "path", Some(path));
    url.extend([
        ("hostname".into(), json!(host.as_str())),
        ("port".into(), json!(port)),
        ("scheme".into(), json!("https")),
    ]);
    out.insert("http_request".into(), json!({ "http_method": method, "uid": id.to_string(), "url": url }));
    out.insert("dst_endpoint".into(), json!({ "hostname": host.as_str(), "port": port }));
    out.insert("connection_info".into(), json!({ "direction_id": 2, "uid": connection.to_string() }));
    match phase {
        RequestPhase::Decided(decision) => {
            insert(unmapped, "credential", decision.credential.as_ref().map(|name| json!(name)));
        }
        RequestPhase::Ended(end) => {
            insert(out, "http_response", end.status.map(|status| json!({ "code": status })));
            out.insert("traffic".into(), json!({ "bytes_out": end.sent, "bytes_in": end.received, "bytes": end.sent.saturating_add(end.received) }));
            out.insert("duration".into(), json!(end.micros / 1000));
            unmapped.insert("duration_us".into(), json!(end.micros));
            insert(unmapped, "credential", end.credential.as_ref().map(|name| json!(name)));
            insert(unmapped, "usage", end.usage.as_ref().map(usage));
        }
    }
}

fn usage(usage: &Usage) -> Value {
    let Usage { model, input, output, cached, micro_usd, assumed } = usage;
    json!({
        "model": model, "input_tokens": input, "output_tokens": output, "cached_tokens": cached,
        "micro_usd": micro_usd, "assumed": assumed,
    })
}

fn insert(out: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        out.insert(key.to_owned(), value);
    }
}

fn target(address: &SocketTarget) -> Value {
    match address {
        SocketTarget::Inet(address) => endpoint(address),
        SocketTarget::Unix(path) => {
            let mut out = Map::new();
            insert_text(&mut out, "name", Some(path));
            out.insert("type".into(), json!("unix"));
            Value::Object(out)
        }
        SocketTarget::Other(family) => json!({ "type": format!("family {family}") }),
        SocketTarget::Unreadable => json!({ "type": "unreadable" }),
    }
}

fn endpoint(address: &std::net::SocketAddr) -> Value {
    json!({ "ip": address.ip().to_string(), "port": address.port() })
}

/// A file by its path; where that is escaped, so is the name.
fn file(path: &Captured) -> Value {
    let mut out = Map::new();
    insert_text(&mut out, "path", Some(path));
    let path = out.get("path").and_then(Value::as_str).unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    out.insert("name".into(), json!(name));
    out.insert("type_id".into(), json!(1));
    Value::Object(out)
}

/// A command's words, and the line that a shell would take.
fn insert_arguments(process: &mut Map<String, Value>, unmapped: &mut Map<String, Value>, arguments: &[u8]) {
    let (shown, escaped) = as_text(arguments);
    process.insert("cmd_line".into(), json!(shown(&in_one_line(of_record(arguments)))));
    insert_marker(process, "cmd_line", escaped);
    insert_words(unmapped, "argv", arguments);
}

fn insert_words(out: &mut Map<String, Value>, key: &str, arguments: &[u8]) {
    let (shown, escaped) = as_text(arguments);
    out.insert(key.to_owned(), json!(of_record(arguments).map(shown).collect::<Vec<_>>()));
    insert_marker(out, key, escaped);
}

/// How parts of these bytes are shown, and whether that is escaped.
fn as_text(whole: &[u8]) -> (fn(&[u8]) -> String, bool) {
    match std::str::from_utf8(whole) {
        Ok(_) => (|bytes| String::from_utf8_lossy(bytes).into_owned(), false),
        Err(_) => (|bytes| Captured::cut(bytes, usize::MAX).to_string(), true),
    }
}

/// A text as it is, which JSON escapes by itself. What is no UTF-8 is escaped whole, as on a terminal, and marked.
fn insert_text(out: &mut Map<String, Value>, key: &str, captured: Option<&Captured>) {
    let Some(captured) = captured else { return };
    let text = match std::str::from_utf8(captured.shown()) {
        Ok(text) => format!("{text}{}", captured.what_was_cut()),
        Err(_) => captured.to_string(),
    };
    out.insert(key.to_owned(), json!(text));
    insert_marker(out, key, std::str::from_utf8(captured.shown()).is_err());
}

fn insert_marker(out: &mut Map<String, Value>, key: &str, escaped: bool) {
    if escaped {
        out.insert(format!("{key}_escaped"), json!(true));
    }
}
