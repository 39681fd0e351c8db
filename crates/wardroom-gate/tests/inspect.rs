//! Inspected connections: every request is decided, recorded and answered by itself.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test's helpers fail by panicking"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::unreachable,
    reason = "a test looks for one kind of record"
)]
#![expect(clippy::indexing_slicing, reason = "a test's helpers fail by panicking")]
#![expect(unreachable_pub, reason = "the bench is shared between test files")]
#![expect(clippy::disallowed_methods, reason = "a test measures time")]

mod support;
mod web;

use std::io::{Read, Write};

use wardroom_model::event::ConnectionPhase;
use wardroom_model::request::RequestPhase;
use wardroom_model::{Captured, Event, Outcome, Reason};
use web::{HOST, Web, decided, ended, exchange, get, header, open, read_answer};

#[test]
#[ignore = "the inside of the other tests"]
fn cell() {
    support::be_the_cell();
}

const RULE: &str = "methods = [\"GET\"]\npaths = [\"/v1/**\"]";

#[test]
fn a_permitted_request_is_on_record_before_it_arrives_and_again_when_it_is_over() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("inspect", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    let (head, body) = exchange(&mut tls, &get("/v1/things?token=secret&x"));
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert_eq!(body, "hello");
    assert!(web.heads.recv().unwrap().starts_with("GET /v1/things?token=secret&x HTTP/1.1\r\n"));
    let shown = "/v1/things?token=*&*";
    let (request, decision) = decided(&mut bench, shown);
    assert_eq!((request.method.as_str(), request.host.as_str(), request.port), ("GET", HOST, 443));
    assert_eq!(decision.verdict.outcome, Outcome::Allowed);
    let end = ended(&mut bench, shown);
    assert_eq!((end.status, end.received, end.verdict.outcome), (Some(200), 5, Outcome::Allowed));
    drop(tls);
    bench.seen("the connection's end", |event| match event {
        Event::Connection(c) => matches!(&c.phase, ConnectionPhase::Ended(end)
            if end.verdict.outcome == Outcome::Allowed && end.remote == Some(web.address) && end.received > 0),
        _ => false,
    });
}

#[test]
fn a_refused_request_is_answered_with_the_reason_and_the_remedy_and_the_connection_goes_on() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("inspect", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    let (head, body) = exchange(&mut tls, &get("/admin?q=1"));
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(header(&head, "wardroom-refused"), Some("1"));
    let said: serde_json::Value = serde_json::from_str(&body).unwrap();
    let error = &said["error"];
    assert_eq!(error["type"], "wardroom_refused");
    assert_eq!(error["allow"], "wardroom allow scout api.example.com --method GET --path /admin");
    assert_eq!(error["path"], "/admin");
    assert!(error["rule"].as_str().unwrap().starts_with("scout.toml:"), "{body}");
    let (_, decision) = decided(&mut bench, "/admin?q=*");
    assert_eq!(decision.verdict.reason, Reason::PathNotNamed);
    // Another method, and then a permitted one, over the same connection.
    let post = format!("POST /v1/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi");
    let (head, _) = exchange(&mut tls, &post);
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let (_, decision) = decided(&mut bench, "/v1/x");
    assert_eq!(decision.verdict.reason, Reason::MethodNotNamed("POST".to_owned()));
    let (head, _) = exchange(&mut tls, &get("/v1/y"));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(web.heads.recv().unwrap().starts_with("GET /v1/y "), "the only one that arrived");
    assert!(web.heads.try_recv().is_err());
}

#[test]
fn n12_another_host_inside_is_misdirected_and_seen() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("n12", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    let fronted = "GET /v1/front HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    let (head, _) = exchange(&mut tls, fronted);
    assert!(head.starts_with("HTTP/1.1 421 "), "{head}");
    let (_, decision) = decided(&mut bench, "/v1/front");
    assert_eq!(decision.verdict.reason, Reason::OtherHost(Captured::from("evil.example")));
    let absolute = format!("GET https://evil.example/v1/absolute HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let (head, _) = exchange(&mut tls, &absolute);
    assert!(head.starts_with("HTTP/1.1 421 "), "{head}");
    let own = format!("GET https://{HOST}/v1/own HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    assert!(exchange(&mut tls, &own).0.starts_with("HTTP/1.1 200 "));
    assert!(web.heads.recv().unwrap().starts_with("GET /v1/own "), "in origin form");
    assert!(web.heads.try_recv().is_err());
}

#[test]
fn n14b_plain_text_is_told_that_it_must_be_tls() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("n14b", RULE) else { return };
    let to = std::net::SocketAddr::from((bench.address(HOST), 443));
    let mut plain = bench.connect(to).unwrap();
    plain.write_all(get("/v1/x").as_bytes()).unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("wardroom_refused"), "{answer}");
    assert_eq!(bench.refused(to), Reason::NotTls);
}

#[test]
fn n14b_a_program_that_brings_its_own_authorities_is_seen_to_decline() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("n14b", RULE) else { return };
    let other = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap().cert.pem();
    let own = std::mem::replace(&mut bench.authority, other);
    let mut tls = open(&bench, &[]);
    assert!(tls.write_all(get("/v1/x").as_bytes()).is_err());
    drop(tls);
    bench.authority = own;
    bench.seen("that it declined", |event| match event {
        Event::Connection(c) => matches!(&c.phase, ConnectionPhase::Ended(end)
            if matches!(end.verdict.reason, Reason::ClientDeclined(_))),
        _ => false,
    });
    assert!(!bench.record().iter().any(|event| matches!(event, Event::Request(_))));
}

#[test]
fn a_server_that_nobody_vouches_for_gets_nothing() {
    let web = Web::hello();
    let other = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap().cert.pem();
    let stranger = Web { authority: other, ..web };
    let Some(mut bench) = stranger.bench("certificate", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    let (head, body) = exchange(&mut tls, &get("/v1/x"));
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert!(body.contains("wardroom_upstream"), "{body}");
    let end = ended(&mut bench, "/v1/x");
    assert!(matches!(end.verdict.reason, Reason::ServerCertificate(_)), "{end:?}");
    assert_eq!(end.status, None);
    assert!(stranger.heads.try_recv().is_err());
}

#[test]
fn a_narrower_policy_ends_a_request_on_its_way_within_a_second() {
    // An answer that has begun and goes on for ever.
    let web = Web::each(&[b"http/1.1"], |mut tls, say| {
        let Some(head) = web::read_head(&mut tls) else { return };
        drop(say.send(head));
        drop(tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"));
        drop(tls.flush());
        let mut rest = [0];
        drop(tls.read(&mut rest));
    });
    let Some(mut bench) = web.bench("n20", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    tls.write_all(get("/v1/stream").as_bytes()).unwrap();
    let head = web::read_head(&mut tls).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut first = [0; 9];
    tls.read_exact(&mut first).unwrap();
    let narrower = support::policy(&web.policy("methods = [\"GET\"]\npaths = [\"/v2/**\"]"));
    let begun = std::time::Instant::now();
    wardroom_gate::control::send_policy(&bench.control, &narrower).unwrap();
    let mut rest = Vec::new();
    drop(tls.read_to_end(&mut rest));
    assert!(begun.elapsed() < std::time::Duration::from_secs(1), "{:?}", begun.elapsed());
    let end = ended(&mut bench, "/v1/stream");
    assert_eq!((end.status, end.verdict.reason), (Some(200), Reason::PolicyChanged));
}

#[test]
fn a_host_that_is_no_longer_permitted_ends_its_requests_with_that_reason() {
    let web = Web::each(&[b"http/1.1"], |mut tls, say| {
        let Some(head) = web::read_head(&mut tls) else { return };
        drop(say.send(head));
        drop(tls.read(&mut [0]));
    });
    let Some(mut bench) = web.bench("n20", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    tls.write_all(get("/v1/waits").as_bytes()).unwrap();
    web.heads.recv().unwrap();
    wardroom_gate::control::send_policy(&bench.control, &support::policy("")).unwrap();
    assert!(web::read_head(&mut tls).is_none());
    assert_eq!(ended(&mut bench, "/v1/waits").verdict.reason, Reason::PolicyChanged);
    bench.seen("the connection's end", |event| match event {
        Event::Connection(c) => matches!(&c.phase, ConnectionPhase::Ended(end)
            if end.verdict.reason == Reason::PolicyChanged),
        _ => false,
    });
}

#[test]
fn a_program_that_leaves_ends_its_request_at_the_server() {
    let (gone, left) = std::sync::mpsc::channel();
    let web = Web::each(&[b"http/1.1"], move |mut tls, say| {
        let Some(head) = web::read_head(&mut tls) else { return };
        drop(say.send(head));
        // No answer: what ends the wait is the gate's hanging up.
        drop(tls.read(&mut [0]));
        gone.send(()).unwrap();
    });
    let Some(mut bench) = web.bench("leaves", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    tls.write_all(get("/v1/long").as_bytes()).unwrap();
    web.heads.recv().unwrap();
    drop(tls);
    left.recv_timeout(std::time::Duration::from_secs(1)).unwrap();
    let end = ended(&mut bench, "/v1/long");
    assert_eq!((end.status, end.verdict.outcome), (None, Outcome::Allowed));
}

#[test]
fn n14_a_websocket_is_a_pipe_after_101_and_no_sooner() {
    let web = Web::each(&[b"http/1.1"], |mut tls, say| {
        let Some(head) = web::read_head(&mut tls) else { return };
        let agreed = head.contains("/v1/ws");
        drop(say.send(head));
        if !agreed {
            drop(tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"));
            drop(tls.flush());
            let mut more = [0; 64];
            while let Ok(length) = tls.read(&mut more) {
                if length == 0 {
                    return;
                }
                drop(say.send(String::from_utf8_lossy(&more[..length]).into_owned()));
            }
            return;
        }
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        drop(tls.write_all(switch).and_then(|()| tls.flush()));
        let mut buffer = [0; 1024];
        while let Ok(length) = tls.read(&mut buffer) {
            if length == 0 || tls.write_all(&buffer[..length]).and_then(|()| tls.flush()).is_err() {
                return;
            }
        }
    });
    let Some(mut bench) = web.bench("n14", RULE) else { return };
    let ask = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    let mut tls = open(&bench, &[b"http/1.1"]);
    let (head, _) = exchange(&mut tls, &ask("/v1/ws"));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(web.heads.recv().unwrap().contains("sec-websocket-key"));
    for piece in ["\u{81}one", "two"] {
        tls.write_all(piece.as_bytes()).unwrap();
        tls.flush().unwrap();
        let mut echoed = vec![0; piece.len()];
        tls.read_exact(&mut echoed).unwrap();
        assert_eq!(echoed, piece.as_bytes());
    }
    tls.conn.send_close_notify();
    drop(tls.flush());
    drop(tls);
    let end = ended(&mut bench, "/v1/ws");
    assert_eq!((end.status, end.sent, end.received), (Some(101), 8, 8));
    // A server that says 200, and a second request behind the first: nothing of it arrives.
    let mut tls = open(&bench, &[b"http/1.1"]);
    tls.write_all((ask("/v1/no") + &get("/admin")).as_bytes()).unwrap();
    let (head, body) = read_answer(&mut tls).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "no", "{head}");
    assert!(read_answer(&mut tls).is_none_or(|(head, _)| head.starts_with("HTTP/1.1 403 ")));
    drop(tls);
    ended(&mut bench, "/v1/no");
    assert!(web.heads.recv().unwrap().starts_with("GET /v1/no "));
    assert!(web.heads.try_recv().is_err());
    // One that no rule permits is never asked for.
    let mut tls = open(&bench, &[b"http/1.1"]);
    assert!(exchange(&mut tls, &ask("/admin")).0.starts_with("HTTP/1.1 403 "));
    // A policy that no longer permits it closes it.
    let mut tls = open(&bench, &[b"http/1.1"]);
    exchange(&mut tls, &ask("/v1/ws?2"));
    let narrower = support::policy(&web.policy("methods = [\"GET\"]\npaths = [\"/v2/**\"]"));
    wardroom_gate::control::send_policy(&bench.control, &narrower).unwrap();
    drop(tls.read(&mut [0]));
    let end = ended(&mut bench, "/v1/ws?*");
    assert_eq!(end.verdict.reason, Reason::PolicyChanged);
    assert!(bench.record().iter().any(|event| matches!(event, Event::Request(r)
        if matches!(r.phase, RequestPhase::Ended(_)))));
}
