//! What a program inside sends to be read in two ways, or to be too much: one request is one decision, and limits hold.

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

mod support;
mod web;

use std::io::{Read, Write};

use wardroom_model::event::ConnectionPhase;
use wardroom_model::request::RequestPhase;
use wardroom_model::{Event, Outcome, Reason};
use web::{HOST, Web, all, decided, ended, exchange, get, open, read_answer};

#[test]
#[ignore = "the inside of the other tests"]
fn cell() {
    support::be_the_cell();
}

const RULE: &str = "methods = [\"GET\", \"POST\"]\npaths = [\"/v1/**\"]";

/// The first lines of what arrived at the server.
fn arrived(web: &Web) -> Vec<String> {
    web.heads.try_iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn n13_what_two_servers_could_read_differently_does_not_pass() {
    let web = Web::hello();
    let Some(bench) = web.bench("n13", RULE) else { return };
    let smuggled = "GET /admin HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
    let post = |headers: &str, body: &str| {
        format!("POST /v1/x HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n\r\n{body}").into_bytes()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("CL.TE", post("Content-Length: 6\r\nTransfer-Encoding: chunked", &format!("0\r\n\r\n{smuggled}"))),
        ("TE.CL", post("Transfer-Encoding: chunked\r\nContent-Length: 4", &format!("0\r\n\r\n{smuggled}"))),
        ("TE.TE", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", &format!("0\r\n\r\n{smuggled}"))),
        ("TE last not chunked", post("Transfer-Encoding: chunked, gzip", &format!("0\r\n\r\n{smuggled}"))),
        ("TE with a tab", post("Transfer-Encoding:\x0bchunked", &format!("0\r\n\r\n{smuggled}"))),
        ("space before the colon", post("Transfer-Encoding : chunked", &format!("0\r\n\r\n{smuggled}"))),
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 5", smuggled)),
        ("a signed length", post("Content-Length: +5", smuggled)),
        ("a list of lengths", post("Content-Length: 5, 0", smuggled)),
        ("obs-fold", post("X-A: b\r\n Transfer-Encoding: chunked", &format!("0\r\n\r\n{smuggled}"))),
        ("a NUL in a value", post("X-A: b\0c", "")),
        ("a bare CR in a value", post("X-A: b\rTransfer-Encoding: chunked", "")),
        ("no version", format!("GET /v1/x\r\nHost: {HOST}\r\n\r\n").into_bytes()),
        ("HTTP/1.0 with chunks", format!("POST /v1/x HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").into_bytes()),
        ("a chunk size of no number", post("Transfer-Encoding: chunked", "zz\r\n\r\n")),
        ("a chunk size that wraps", post("Transfer-Encoding: chunked", "10000000000000000f\r\nx\r\n0\r\n\r\n")),
        ("a chunk that ends early", post("Transfer-Encoding: chunked", "1\r\nxx\r\n0\r\n\r\n")),
        ("no host", b"GET /v1/x HTTP/1.1\r\n\r\n".to_vec()),
        ("two hosts", format!("GET /v1/x HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n").into_bytes()),
        ("h2c", format!("GET /v1/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n").into_bytes()),
        ("HTTP/2 with prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("CONNECT", format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes()),
        ("CONNECT elsewhere", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n".to_vec()),
        ("TRACE", format!("TRACE /v1/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes()),
        ("asterisk", format!("OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes()),
    ];
    for (case, bytes) in cases {
        let answer = all(&bench, &bytes);
        let status = answer.get(..12).unwrap_or_default();
        // Chunks win over a length (RFC 9112, 6.3), which does not go on; and nothing is read behind such a request.
        let normal = ["CL.TE", "TE.CL"].contains(&case) && answer.matches("HTTP/1.1 ").count() == 1;
        let refused = status.starts_with("HTTP/1.1 4") || status.starts_with("HTTP/1.1 5");
        assert!(answer.is_empty() || refused || normal, "{case}: {answer}");
        // The last chunk looks like a head to this simple server.
        for head in web.heads.try_iter().filter(|head| head.trim() != "0") {
            let lengths = [web::header(&head, "content-length"), web::header(&head, "transfer-encoding")];
            let one = lengths.iter().flatten().count() <= 1;
            assert!(head.starts_with("POST /v1/x ") && one, "{case}: {head}");
        }
    }
}

#[test]
fn n13_a_body_that_the_agent_breaks_is_not_the_server_s_fault() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("n13", RULE) else { return };
    let ask = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    for (path, body) in [("/v1/number", "zz\r\n\r\n"), ("/v1/border", "1\r\nxx\r\n0\r\n\r\n")] {
        let answer = all(&bench, ask(path, body).as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("wardroom_refused"),
            "{path}: {answer}"
        );
        let verdict = ended(&mut bench, path).verdict;
        assert_eq!(verdict.outcome, Outcome::Refused);
        assert_eq!(verdict.reason, Reason::Malformed("the body broke off".to_owned()), "{path}");
    }
}

#[test]
fn n13_what_has_one_meaning_arrives_in_one_spelling() {
    let web = Web::hello();
    let Some(bench) = web.bench("n13", RULE) else { return };
    // Bare line feeds end lines (RFC 9112, 2.2); what is behind is a request of its own, and refused.
    let bare = format!(
        "GET /v1/bare HTTP/1.1\nHost: {HOST}\n\nGET /admin HTTP/1.1\nHost: {HOST}\nConnection: close\n\n"
    );
    let answer = all(&bench, bare.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("HTTP/1.1 403 "), "{answer}");
    assert_eq!(arrived(&web), ["GET /v1/bare HTTP/1.1"]);
    // Headers for the next hop alone, and one that the sender calls so.
    let hop = format!(
        "GET /v1/hop HTTP/1.1\r\nHost: {HOST}\r\nConnection: close, X-Private\r\nX-Private: 1\r\nTE: gzip\r\n\
         Proxy-Authorization: Basic eDp5\r\nKeep-Alive: timeout=5\r\nX-Kept: 2\r\n\r\n"
    );
    assert!(all(&bench, hop.as_bytes()).starts_with("HTTP/1.1 200 "));
    let head = web.heads.recv().unwrap().to_lowercase();
    for gone in ["x-private", "te:", "proxy-authorization", "keep-alive", "close"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    assert!(head.contains("x-kept: 2"), "{head}");
}

#[test]
fn n13_a_head_beyond_the_limits_is_refused_and_seen() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("n13", RULE) else { return };
    let bombs = [
        (
            "one long header",
            format!("GET /v1/x HTTP/1.1\r\nHost: {HOST}\r\nX-A: {}\r\n\r\n", "a".repeat(1 << 20)),
        ),
        (
            "many headers",
            format!("GET /v1/x HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", "X-A: b\r\n".repeat(100_000)),
        ),
        ("a long path", format!("GET /v1/{} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "a".repeat(1 << 20))),
    ];
    for (case, bomb) in bombs {
        bench.forget();
        let answer = all(&bench, bomb.as_bytes());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{case}: {answer}");
        bench.seen(case, |event| match event {
            Event::Connection(c) => matches!(&c.phase, ConnectionPhase::Ended(end)
                if matches!(end.verdict.reason, Reason::Malformed(_))),
            _ => false,
        });
    }
    assert!(arrived(&web).is_empty());
}

#[test]
fn n14a_every_request_of_a_connection_is_decided_by_itself() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("n14a", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    let cases = [
        ("/v1/first", 200),
        ("/v1/../admin", 403),
        ("/v1/%2e%2e/admin", 403),
        ("/v1/%2E%2E/admin", 403),
        ("/v1/..%2fadmin", 403),
        ("/v1/..%5cadmin", 403),
        ("/v1/x;/../../admin", 403),
        ("/v1//x", 403),
        ("/v1/%00", 403),
        ("/v1/a/../b", 200),
        ("/v1/%61", 200),
        ("/V1/x", 403),
    ];
    for (path, status) in cases {
        let (head, _) = exchange(&mut tls, &get(path));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
    }
    assert_eq!(
        arrived(&web),
        ["GET /v1/first HTTP/1.1", "GET /v1/b HTTP/1.1", "GET /v1/a HTTP/1.1"],
        "in the spelling that was decided"
    );
    // Two at once, and the second refused: each has its own answer, in order.
    tls.write_all((get("/v1/one") + &get("/admin") + &get("/v1/two")).as_bytes()).unwrap();
    for status in ["200", "403", "200"] {
        let (head, _) = read_answer(&mut tls).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    assert_eq!(arrived(&web), ["GET /v1/one HTTP/1.1", "GET /v1/two HTTP/1.1"]);
    let other = "GET /v1/host HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert!(exchange(&mut tls, other).0.starts_with("HTTP/1.1 421 "));
    assert!(exchange(&mut tls, &get("/v1/last")).0.starts_with("HTTP/1.1 200 "));
    let (_, decision) = decided(&mut bench, "/v1/last");
    assert_eq!(decision.verdict.outcome, Outcome::Allowed);
}

#[test]
fn n14a_a_method_override_is_decided_as_what_it_overrides_to() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("n14a", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    let ask = |path: &str, method: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\nX-HTTP-Method-Override: {method}\r\n\r\n"
        )
    };
    assert!(exchange(&mut tls, &ask("/v1/a", "GET")).0.starts_with("HTTP/1.1 200 "));
    let (head, body) = exchange(&mut tls, &ask("/v1/b", "DELETE"));
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert!(body.contains("\"allow\":null"), "POST is permitted already: {body}");
    let (_, decision) = decided(&mut bench, "/v1/b");
    assert_eq!(decision.verdict.reason, Reason::MethodNotNamed("DELETE".to_owned()));
    assert_eq!(arrived(&web), ["POST /v1/a HTTP/1.1"]);
}

#[test]
fn n19_a_redirect_is_an_answer_and_following_it_a_new_attempt() {
    let web = Web::answering(|_| {
        b"HTTP/1.1 302 Found\r\nLocation: https://evil.example/v1/x\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let Some(mut bench) = web.bench("n19", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    let (head, _) = exchange(&mut tls, &get("/v1/away"));
    assert!(
        head.starts_with("HTTP/1.1 302 ") && head.contains("location: https://evil.example/v1/x"),
        "{head}"
    );
    assert_eq!(ended(&mut bench, "/v1/away").status, Some(302));
    // What a client does next: it asks for the name, and there is none; or it asks here, and it is another host.
    let asked = bench.ask("evil.example.", hickory_proto::rr::RecordType::A);
    assert_eq!(asked.metadata.response_code, hickory_proto::op::ResponseCode::NXDomain);
    let followed = "GET /v1/x HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert!(exchange(&mut tls, followed).0.starts_with("HTTP/1.1 421 "));
    assert_eq!(arrived(&web), ["GET /v1/away HTTP/1.1"]);
}

#[test]
fn a_refused_body_is_not_read_and_a_permitted_one_streams() {
    let web = Web::each(&[b"http/1.1"], |mut tls, say| {
        let Some(head) = web::read_head(&mut tls) else { return };
        drop(say.send(head));
        let mut buffer = vec![0; 65_536];
        let mut total = 0;
        while total < 8 << 20 {
            match tls.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => total += length,
            }
        }
        drop(tls.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").and_then(|()| tls.flush()));
        drop(tls.read(&mut buffer));
    });
    let Some(mut bench) = web.bench("bodies", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    let ask = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            8 << 20
        )
    };
    let (head, _) = exchange(&mut tls, &ask("/admin"));
    assert!(head.starts_with("HTTP/1.1 403 "), "without a 100 before: {head}");
    let mut tls = open(&bench, &[b"http/1.1"]);
    let (head, _) = exchange(&mut tls, &ask("/v1/upload"));
    assert!(head.starts_with("HTTP/1.1 100 "), "{head}");
    for _ in 0..128 {
        tls.write_all(&[b'x'; 65_536]).unwrap();
    }
    tls.flush().unwrap();
    assert!(read_answer(&mut tls).unwrap().0.starts_with("HTTP/1.1 201 "));
    drop(tls);
    let end = ended(&mut bench, "/v1/upload");
    assert_eq!((end.status, end.sent), (Some(201), 8 << 20));
    assert!(bench.record().iter().all(|event| match event {
        Event::Request(r) => r.path.shown() != b"/admin" || matches!(r.phase, RequestPhase::Decided(_)),
        _ => true,
    }));
}

#[test]
fn a_body_of_unknown_length_arrives_with_every_method() {
    let web = Web::each(&[b"http/1.1"], |mut tls, say| {
        while let Some(head) = web::read_head(&mut tls) {
            let chunked = web::header(&head, "transfer-encoding") == Some("chunked");
            let mut body = String::new();
            while chunked && !body.ends_with("0\r\n\r\n") {
                body.extend(web::read_head(&mut tls));
            }
            drop(say.send(body));
            drop(tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").and_then(|()| tls.flush()));
        }
    });
    let Some(mut bench) = web.bench("bodies", "methods = [\"GET\", \"HEAD\", \"POST\"]") else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    for method in ["GET", "HEAD", "POST"] {
        let chunks = "Transfer-Encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n";
        let ask = format!("{method} /v1/{method} HTTP/1.1\r\nHost: {HOST}\r\n{chunks}");
        assert!(exchange(&mut tls, &ask).0.starts_with("HTTP/1.1 200 "), "{method}");
        assert_eq!(web.heads.recv().unwrap(), "5\r\nquery\r\n0\r\n\r\n", "{method}");
        assert_eq!(ended(&mut bench, &format!("/v1/{method}")).sent, 5, "{method}");
        // One without a body is none the longer for it.
        assert!(exchange(&mut tls, &get("/v1/none")).0.starts_with("HTTP/1.1 200 "), "{method}");
        assert_eq!(web.heads.recv().unwrap(), "", "{method}");
    }
}
