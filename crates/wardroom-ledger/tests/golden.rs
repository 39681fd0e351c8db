//! Golden pairs: a record in, its line and its OCSF object out.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use wardroom_ledger::show::{text, utc};
use wardroom_ledger::{Head, Record, facets, ocsf};
use wardroom_model::credential::{AgeStep, CredentialAct, CredentialNote};
use wardroom_model::event::{
    Actor, Connection, ConnectionEnd, ConnectionPhase, Event, Exec, FileAct, FileOp, Image, LedgerNote,
    NameQuery, PolicyChange, Privilege, Probe, Program, Recovery, Session, SessionEnd, Supervision,
};
use wardroom_model::request::{Request, RequestDecision, RequestEnd, RequestPhase, Usage};
use wardroom_model::{Captured, HostName, Outcome, Reason, RuleRef, Stamp, Verdict};

fn record(event: Event) -> Record {
    let stamp = Stamp { monotonic: 5_000_000_000, wall: 1_790_000_000_123_456_789 };
    let outcome = facets::outcome(&event);
    let kind = event.kind().number();
    Record { head: Head { sequence: 7, stamp, kind, producer: 0, outcome, ring: 64 }, event: Some(event) }
}

fn actor() -> Actor {
    Actor { pid: 42, program: Program { path: Captured::from("/usr/bin/curl"), trusted: true } }
}

fn connection(phase: ConnectionPhase) -> Event {
    Event::Connection(Connection {
        id: 3,
        actor: Some(actor()),
        host: Some(HostName::parse("api.example.com").unwrap()),
        dialled: "198.18.0.1:443".parse().unwrap(),
        phase,
    })
}

fn golden(event: Event, line: &str, json: &str) {
    let record = record(event);
    assert_eq!(text(&record, utc), line);
    let shown = ocsf::json(&record, "host/scout");
    let mut wanted: serde_json::Value = serde_json::from_str(json).unwrap();
    for (key, value) in [
        ("time", serde_json::json!(1_790_000_000_123_u64)),
        (
            "metadata",
            serde_json::json!({
                "version": "1.3.0", "product": { "name": "Wardroom", "vendor_name": "Wardroom" },
                "log_name": "host/scout", "sequence": 7, "uid": "host/scout/7",
            }),
        ),
    ] {
        wanted[key] = value;
    }
    let times = serde_json::json!({ "monotonic_ns": 5_000_000_000_u64, "wall_ns": 1_790_000_000_123_456_789_u64, "producer": "keeper" });
    for (key, value) in times.as_object().unwrap() {
        wanted["unmapped"][key] = value.clone();
    }
    assert_eq!(shown, wanted, "{shown:#}");
}

#[test]
fn an_exec_is_shown_escaped_and_exported_as_process_activity() {
    let exec = Exec {
        actor: actor(),
        path: Captured::from("/bin/sh"),
        arguments: Captured::path(b"sh\0-c\0echo \x1b[2J\0"),
        directory: Captured::from("/workspace"),
        interpreter: None,
        verdict: Verdict::observed(),
    };
    golden(
        Event::Exec(exec),
        "2026-09-21T14:13:20.123Z exec        seen    /usr/bin/curl[42] sh -c 'echo \\u{1b}[2J'",
        r#"{"class_uid":1007,"class_name":"Process Activity","category_uid":1,"activity_id":1,"type_uid":100701,
            "severity_id":1,"disposition_id":17,"disposition":"seen","status_id":1,
            "status_detail":"recorded; the cell's walls decide",
            "actor":{"process":{"pid":42,"name":"curl","file":{"path":"/usr/bin/curl","name":"curl","type_id":1}}},
            "process":{"cmd_line":"sh -c 'echo \u001b[2J'","file":{"name":"sh","path":"/bin/sh","type_id":1},
            "working_directory":"/workspace"},"unmapped":{"kind":"exec","argv":["sh","-c","echo \u001b[2J"]}}"#,
    );
}

#[test]
fn an_image_with_other_arguments_than_announced_shows_those_that_it_got() {
    let image = Image {
        actor: actor(),
        device: 1,
        inode: 2,
        announced: None,
        arguments: Some(Captured::path(b"sh\0-c\0rm x\0")),
    };
    golden(
        Event::Image(image),
        "2026-09-21T14:13:20.123Z image               /usr/bin/curl[42] was loaded as sh -c 'rm x', and not as announced",
        r#"{"class_uid":1007,"class_name":"Process Activity","category_uid":1,"activity_id":99,"type_uid":100799,"severity_id":2,
            "actor":{"process":{"pid":42,"name":"curl","file":{"path":"/usr/bin/curl","name":"curl","type_id":1}}},
            "process":{"pid":42,"name":"curl","file":{"path":"/usr/bin/curl","name":"curl","type_id":1}},
            "unmapped":{"kind":"image","argv_not_announced":["sh","-c","rm x"]}}"#,
    );
}

#[test]
fn a_refused_connection_names_its_rule() {
    let verdict = Verdict {
        outcome: Outcome::Refused,
        reason: Reason::PortNotNamed(443),
        rule: Some(RuleRef { file: "scout.toml".into(), line: 12 }),
    };
    golden(
        connection(ConnectionPhase::Decided(verdict)),
        "2026-09-21T14:13:20.123Z net         refused /usr/bin/curl[42] connect api.example.com:443 \
         (no rule permits port 443 of this host) [scout.toml:12]",
        r#"{"class_uid":4001,"class_name":"Network Activity","category_uid":4,"activity_id":5,"type_uid":400105,
            "severity_id":2,"disposition_id":2,"disposition":"refused","status_id":2,
            "status_detail":"no rule permits port 443 of this host","firewall_rule":{"name":"scout.toml:12"},
            "actor":{"process":{"pid":42,"name":"curl","file":{"path":"/usr/bin/curl","name":"curl","type_id":1}}},
            "dst_endpoint":{"ip":"198.18.0.1","port":443,"hostname":"api.example.com"},
            "connection_info":{"protocol_name":"tcp","protocol_num":6,"direction_id":2,"uid":"3"},"unmapped":{"kind":"net"}}"#,
    );
}

#[test]
fn the_end_of_a_connection_counts_its_bytes() {
    let verdict = Verdict { outcome: Outcome::Allowed, reason: Reason::RulePermits, rule: None };
    let end = ConnectionEnd {
        remote: Some("203.0.113.9:443".parse().unwrap()),
        sent: 10,
        received: 20,
        micros: 1_500_000,
        verdict,
    };
    golden(
        connection(ConnectionPhase::Ended(end)),
        "2026-09-21T14:13:20.123Z net         allowed /usr/bin/curl[42] closed api.example.com:443, \
         10 bytes out, 20 in, 1.500 s (a rule permits it)",
        r#"{"class_uid":4001,"class_name":"Network Activity","category_uid":4,"activity_id":2,"type_uid":400102,
            "severity_id":1,"disposition_id":1,"disposition":"allowed","status_id":1,"status_detail":"a rule permits it",
            "actor":{"process":{"pid":42,"name":"curl","file":{"path":"/usr/bin/curl","name":"curl","type_id":1}}},
            "dst_endpoint":{"ip":"198.18.0.1","port":443,"hostname":"api.example.com"},
            "connection_info":{"protocol_name":"tcp","protocol_num":6,"direction_id":2,"uid":"3"},
            "traffic":{"bytes_out":10,"bytes_in":20,"bytes":30},"duration":1500,
            "unmapped":{"kind":"net","duration_us":1500000,"remote":{"ip":"203.0.113.9","port":443}}}"#,
    );
}

fn request(phase: RequestPhase) -> Event {
    Event::Request(Request {
        id: 9,
        connection: 3,
        actor: Some(actor()),
        host: HostName::parse("api.example.com").unwrap(),
        port: 443,
        method: "POST".into(),
        path: Captured::from("/v1/messages?beta=*"),
        phase,
    })
}

#[test]
fn a_refused_request_is_exported_as_http_activity() {
    let verdict = Verdict {
        outcome: Outcome::Refused,
        reason: Reason::PathNotNamed,
        rule: Some(RuleRef { file: "scout.toml".into(), line: 12 }),
    };
    golden(
        request(RequestPhase::Decided(RequestDecision { verdict, credential: None })),
        "2026-09-21T14:13:20.123Z http        refused /usr/bin/curl[42] POST https://api.example.com/v1/messages?beta=* \
         (no rule permits this path with this method) [scout.toml:12]",
        r#"{"class_uid":4002,"class_name":"HTTP Activity","category_uid":4,"activity_id":6,"type_uid":400206,
            "severity_id":2,"disposition_id":2,"disposition":"refused","status_id":2,
            "status_detail":"no rule permits this path with this method","firewall_rule":{"name":"scout.toml:12"},
            "actor":{"process":{"pid":42,"name":"curl","file":{"path":"/usr/bin/curl","name":"curl","type_id":1}}},
            "http_request":{"http_method":"POST","uid":"9",
            "url":{"hostname":"api.example.com","path":"/v1/messages?beta=*","port":443,"scheme":"https"}},
            "dst_endpoint":{"hostname":"api.example.com","port":443},
            "connection_info":{"direction_id":2,"uid":"3"},"unmapped":{"kind":"http"}}"#,
    );
}

#[test]
fn the_end_of_a_request_names_its_credential_and_what_a_model_counted() {
    let usage = Usage {
        model: "claude-x\u{1b}".into(),
        input: 100,
        output: 20,
        cached: 5,
        micro_usd: Some(1_500_000),
        assumed: true,
    };
    let end = RequestEnd {
        status: Some(200),
        sent: 10,
        received: 20,
        micros: 1_500_000,
        credential: Some("anthropic".into()),
        usage: Some(usage),
        verdict: Verdict { outcome: Outcome::Allowed, reason: Reason::RulePermits, rule: None },
    };
    golden(
        request(RequestPhase::Ended(end)),
        "2026-09-21T14:13:20.123Z http        allowed /usr/bin/curl[42] 200 to POST \
         https://api.example.com/v1/messages?beta=*, 10 bytes out, 20 in, 1.500 s, claude-x\\u{1b}: 100 tokens in, \
         5 cached, 20 out, $1.500000 (assumed: the answer does not say) (a rule permits it)",
        r#"{"class_uid":4002,"class_name":"HTTP Activity","category_uid":4,"activity_id":6,"type_uid":400206,
            "severity_id":1,"disposition_id":1,"disposition":"allowed","status_id":1,"status_detail":"a rule permits it",
            "actor":{"process":{"pid":42,"name":"curl","file":{"path":"/usr/bin/curl","name":"curl","type_id":1}}},
            "http_request":{"http_method":"POST","uid":"9",
            "url":{"hostname":"api.example.com","path":"/v1/messages?beta=*","port":443,"scheme":"https"}},
            "http_response":{"code":200},"traffic":{"bytes_out":10,"bytes_in":20,"bytes":30},"duration":1500,
            "dst_endpoint":{"hostname":"api.example.com","port":443},
            "connection_info":{"direction_id":2,"uid":"3"},
            "unmapped":{"kind":"http","duration_us":1500000,"credential":"anthropic","usage":{"model":"claude-x\u001b",
            "input_tokens":100,"output_tokens":20,"cached_tokens":5,"micro_usd":1500000,"assumed":true}}}"#,
    );
}

fn note(act: CredentialAct, verdict: Option<Verdict>) -> Event {
    let host = HostName::parse("api.example.com").ok();
    Event::Credential(CredentialNote { name: "anthropic".into(), host, actor: Some(actor()), act, verdict })
}

#[test]
fn a_placeholder_in_the_wrong_place_is_a_severe_finding() {
    let verdict = Verdict::refused(Reason::CredentialMisused("query".into()));
    golden(
        note(CredentialAct::Misused { place: "query".into() }, Some(verdict)),
        "2026-09-21T14:13:20.123Z credential  refused /usr/bin/curl[42] anthropic: its placeholder was sent in query at \
         api.example.com (a credential's placeholder where it is not bound: query)",
        r#"{"class_uid":3004,"class_name":"Entity Management","category_uid":3,"activity_id":99,"type_uid":300499,
            "severity_id":4,"disposition_id":2,"disposition":"refused","status_id":2,
            "status_detail":"a credential's placeholder where it is not bound: query",
            "actor":{"process":{"pid":42,"name":"curl","file":{"path":"/usr/bin/curl","name":"curl","type_id":1}}},
            "entity":{"name":"anthropic","type":"credential"},
            "message":"anthropic: its placeholder was sent in query at api.example.com","unmapped":{"kind":"credential"}}"#,
    );
}

#[test]
fn every_note_about_a_credential_has_its_line() {
    let shown = |act| {
        let line = text(&record(note(act, None)), |_| "T".into());
        line.split_once("anthropic: ").map(|(_, rest)| rest.to_owned()).unwrap_or(line)
    };
    let limit = || "tokens_per_day".to_owned();
    let cases = [
        (
            CredentialAct::InUse { version: 2, source: "the store".into() },
            "value 2 is in use, from the store",
        ),
        (CredentialAct::Unavailable { why: "locked\n".into() }, "cannot be had: locked\\u{a}"),
        (CredentialAct::Revoked, "revoked"),
        (CredentialAct::GivenBack { at: "https://id.example".into() }, "given back to https://id.example"),
        (
            CredentialAct::NotGivenBack { at: "https://id.example".into(), why: "it answered 503".into() },
            "not given back, and valid at https://id.example until its time: it answered 503",
        ),
        (
            CredentialAct::Age { step: AgeStep::DueSoon, seconds: 27 * 86_400 },
            "due soon for rotation, 27 days old",
        ),
        (
            CredentialAct::OwnCredential { place: "x-api-key".into() },
            "the agent sent one of its own in x-api-key at api.example.com",
        ),
        (CredentialAct::LimitNear { limit: limit(), used: 80, of: 100 }, "80 of 100 tokens_per_day used"),
        (
            CredentialAct::LimitReached { limit: limit(), of: 100, until: 1_790_000_000 },
            "all 100 tokens_per_day used, until 2026-09-21T14:13:20.000Z",
        ),
        (
            CredentialAct::NoFit { limit: "bytes_per_day".into(), used: 792, of: 65_536 },
            "a request does not fit what is left, 792 of 65536 bytes_per_day used",
        ),
    ];
    for (act, wanted) in cases {
        assert_eq!(shown(act), wanted);
    }
    let masked = shown(CredentialAct::Masked { place: "body".into() });
    assert!(masked.contains("body"), "{masked}");
    // A request without a credential: which value it was is not known, and it is no other agent's.
    let Event::Credential(known) = note(CredentialAct::Masked { place: "body".into() }, None) else { return };
    let line =
        text(&record(Event::Credential(CredentialNote { name: String::new(), ..known })), |_| "T".into());
    assert!(
        line.ends_with("the answer of api.example.com held a credential's value in body, which was masked"),
        "{line}"
    );
}

#[test]
fn files_names_and_privileges_have_their_classes() {
    let refused = Verdict::refused(Reason::NoRule);
    let file = Event::File(FileAct {
        actor: actor(),
        op: FileOp::Rename,
        path: Captured::from("/a"),
        other: Some(Captured::from("/b")),
        mode: None,
        verdict: Verdict::observed(),
    });
    let name = Event::Name(NameQuery {
        name: Captured::from("evil.example\n"),
        rtype: 1,
        count: 3,
        verdict: refused.clone(),
    });
    let privilege = Event::Privilege(Privilege {
        actor: actor(),
        call: "mount".into(),
        arguments: [0; 6],
        detail: None,
        verdict: refused,
        count: 1,
    });
    let shown = |event: &Event| {
        let record = record(event.clone());
        (ocsf::json(&record, "o")["type_uid"].as_u64().unwrap(), text(&record, |_| "T".into()))
    };
    assert_eq!(shown(&file), (100_105, "T file        seen    /usr/bin/curl[42] rename /a -> /b".into()));
    let asked = "T dns         refused A 'evil.example\\u{a}' × 3 (no rule permits it)";
    assert_eq!(shown(&name), (400_301, asked.into()));
    let tried = "T privilege   refused /usr/bin/curl[42] mount (no rule permits it)";
    assert_eq!(shown(&privilege), (100_304, tried.into()));
}

#[test]
fn what_befell_wardroom_itself_is_as_severe_as_it_is() {
    let supervision = |process: &str, what: &str| {
        Event::Supervision(Supervision { process: process.into(), what: what.into() })
    };
    let policy = |refused: Option<&str>| {
        let (file, refused) = (Captured::from("scout.toml"), refused.map(Captured::from));
        Event::Policy(PolicyChange { digest: [0; 32], file, refused, text: None })
    };
    let ended = |status, because: Option<&str>| {
        Event::Session(Session::Ended(SessionEnd { status, because: because.map(str::to_owned) }))
    };
    let probe = |result: &str| {
        Event::Probe(Probe { id: "N2".into(), result: result.into(), evidence: Captured::from("") })
    };
    let recovery = Recovery { kept: 7, cut_bytes: 0, from_handoff: 0 };
    let cases = [
        (supervision("scribe", "ended (signal 9) and was started again"), 3),
        (supervision("gate", "the kernel could not deliver 3 reports of refused packets"), 3),
        (supervision("gate", "all of its memory is locked"), 1),
        (policy(None), 1),
        (policy(Some("a mistake")), 3),
        (ended(1, None), 1),
        (ended(143, Some("the operator ended it")), 1),
        (ended(137, Some("the gate cannot be started again")), 4),
        (Event::Ledger(LedgerNote::Recovered(recovery)), 3),
        (Event::Ledger(LedgerNote::Garbled { producer: 1, what: "zeros".into() }), 4),
        (Event::Ledger(LedgerNote::Sealed { first: 0, records: 7 }), 1),
        (probe("pass"), 1),
        (probe("FAIL"), 4),
    ];
    for (event, wanted) in cases {
        let record = record(event);
        assert_eq!(ocsf::json(&record, "o")["severity_id"], wanted, "{record:?}");
    }
}

#[test]
fn json_has_texts_as_they_are_and_marks_what_is_no_text() {
    let exported = |path: &[u8], arguments: &[u8]| {
        let exec = Event::Exec(Exec {
            actor: actor(),
            path: Captured::path(path),
            arguments: Captured::path(arguments),
            directory: Captured::path(path),
            interpreter: None,
            verdict: Verdict::observed(),
        });
        let line = ocsf::line(&record(exec), "o");
        assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{line}");
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    let path = "/a/back\\slash\n\u{9b}2J\u{202e}é\u{7f}";
    let shown = exported(path.as_bytes(), b"echo\0a\\b 'c'\0");
    let process = &shown["process"];
    assert_eq!((&process["file"]["path"], &process["working_directory"]), (&path.into(), &path.into()));
    assert_eq!(process["file"]["name"], path.strip_prefix("/a/").unwrap());
    assert_eq!(shown["unmapped"]["argv"], serde_json::json!(["echo", "a\\b 'c'"]));
    let line = process["cmd_line"].as_str().unwrap();
    assert_eq!(shlex::split(line).unwrap(), ["echo", "a\\b 'c'"]);
    assert!(!shown.to_string().contains("_escaped"), "{shown}");

    let shown = exported(b"/a/\xff\\", b"echo\0\xff\0\\\0");
    assert_eq!(
        shown["process"]["file"],
        serde_json::json!({
            "path": "/a/\\xff\\\\", "name": "\\xff\\\\", "type_id": 1, "path_escaped": true,
        })
    );
    assert_eq!(shown["unmapped"]["argv"], serde_json::json!(["echo", "\\xff", "\\\\"]));
    for marker in [&shown["unmapped"]["argv_escaped"], &shown["process"]["cmd_line_escaped"]] {
        assert_eq!(*marker, true, "{shown}");
    }
}

#[test]
fn what_this_version_cannot_read_is_said_to_be_so() {
    let unreadable =
        Record { event: None, ..record(connection(ConnectionPhase::Decided(Verdict::observed()))) };
    assert!(text(&unreadable, utc).contains("cannot read"));
    assert_eq!(ocsf::json(&unreadable, "o")["unmapped"]["undecodable"], true);
}
