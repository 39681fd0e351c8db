//! Servers that are broken or hostile: each comes to a clear record and a clear answer, in bounded memory and time.

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
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use wardroom_model::{Outcome, Reason};
use web::{HOST, ServerTls, Web, ended, get, header, open, read_answer};

#[test]
#[ignore = "the inside of the other tests"]
fn cell() {
    support::be_the_cell();
}

const RULE: &str = "methods = [\"GET\"]\npaths = [\"/v1/**\"]";

/// Closing will send a reset.
fn reset(tcp: &TcpStream) {
    set_socket_linger(tcp, Some(Duration::ZERO)).unwrap();
}

/// A server that answers the first request with these bytes, over and over if `again`, and closes.
fn saying(bytes: Vec<u8>, again: bool) -> Web {
    Web::each(&[b"http/1.1"], move |mut tls: ServerTls, _| {
        if web::read_head(&mut tls).is_none() {
            return;
        }
        while tls.write_all(&bytes).and_then(|()| tls.flush()).is_ok() && again {}
        tls.conn.send_close_notify();
        drop(tls.flush());
    })
}

type Expected = fn(&Reason) -> bool;
const PROTOCOL: Expected = |reason| matches!(reason, Reason::UpstreamProtocol(_));
const REACH: Expected = |reason| matches!(reason, Reason::Unreachable(_) | Reason::UpstreamProtocol(_));
const CERTIFICATE: Expected = |reason| matches!(reason, Reason::ServerCertificate(_));

/// Asks a server once: a fault of the server's, said as such to the program and on record.
fn fault(case: &str, web: &Web, expected: Expected) {
    let Some(mut bench) = web.bench("servers", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    tls.write_all(get("/v1/x").as_bytes()).unwrap();
    let (head, body) = read_answer(&mut tls).unwrap_or_else(|| panic!("{case}: no answer"));
    assert!(head.starts_with("HTTP/1.1 502 "), "{case}: {head}");
    assert!(header(&head, "wardroom-refused").is_none(), "{case}: {head}");
    let said: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(said["error"]["type"], "wardroom_upstream", "{case}");
    let end = ended(&mut bench, "/v1/x");
    assert!(
        expected(&end.verdict.reason) && end.status.is_none_or(|status| status == 101),
        "{case}: {end:?}"
    );
    assert_eq!(end.verdict.outcome, Outcome::Failed, "{case}");
    // The program's connection is none the worse for it.
    tls.write_all(get("/admin").as_bytes()).unwrap();
    assert!(read_answer(&mut tls).unwrap().0.starts_with("HTTP/1.1 403 "), "{case}");
}

#[test]
fn a_server_that_breaks_the_protocol_is_a_fault_and_not_a_refusal() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let cases: [(&str, Vec<u8>, bool, Expected); 12] = [
        ("no HTTP", b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec(), false, PROTOCOL),
        ("closes without a word", Vec::new(), false, REACH),
        ("closes within the head", ok.into(), false, REACH),
        ("100 MB of headers", format!("{ok}X-A: {}", "a".repeat(100 << 20)).into_bytes(), false, PROTOCOL),
        ("headers without end", format!("X-A: {}\r\n", "b".repeat(1000)).into_bytes(), true, PROTOCOL),
        (
            "a thousand headers",
            (ok.to_owned() + &"A: b\r\n".repeat(1000) + "\r\n").into_bytes(),
            false,
            PROTOCOL,
        ),
        ("a line without end", b"a".repeat(1000), true, PROTOCOL),
        (
            "two lengths",
            format!("{ok}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx").into_bytes(),
            false,
            PROTOCOL,
        ),
        ("obs-fold", format!("{ok}X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n").into_bytes(), false, PROTOCOL),
        ("a status of no number", b"HTTP/1.1 2x0 OK\r\n\r\n".to_vec(), false, PROTOCOL),
        (
            "interim answers without end",
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec(),
            true,
            PROTOCOL,
        ),
        (
            "an upgrade that nobody asked for",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_vec(),
            false,
            PROTOCOL,
        ),
    ];
    for (case, bytes, again, expected) in cases {
        fault(case, &saying(bytes, again), expected);
    }
}

#[test]
fn a_server_that_is_not_the_one_gets_no_request() {
    let certificate = |name: &str, last: (i32, u8, u8)| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(last.0, last.1, last.2);
        let made = params.self_signed(&key).unwrap();
        (made, key)
    };
    let (expired, other) = (certificate(HOST, (2020, 1, 1)), certificate("evil.example", (2096, 1, 1)));
    for (case, (made, key)) in [("expired", expired), ("another name", other)] {
        fault(case, &Web::with_certificate(&made, &key), CERTIFICATE);
    }
    let web = Web::hello();
    let strangers = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap().cert.pem();
    // Without a `ca` of the rule's, the machine's authorities are asked, from within the gate's confinement.
    if std::path::Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        fault("not the machine's", &Web { authority: String::new(), ..Web::hello() }, CERTIFICATE);
    }
    fault("self-signed", &Web { authority: strangers, ..web }, CERTIFICATE);
}

#[test]
fn a_server_that_resets_at_any_stage_is_a_fault() {
    let before = support::serve_each("127.0.0.1".parse().unwrap(), |tcp| reset(&tcp));
    let vouched = Web::hello();
    fault("before the handshake", &Web { address: before, ..vouched }, REACH);
    let plain = support::serve_each("127.0.0.1".parse().unwrap(), |mut tcp| {
        drop(tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        drop(tcp.read(&mut [0; 4096]));
    });
    fault("not TLS", &Web { address: plain, authority: Web::hello().authority, heads: channel().1 }, REACH);
    fault(
        "after the handshake",
        &Web::each(&[b"http/1.1"], |mut tls, _| {
            drop(tls.flush());
            reset(&tls.sock);
        }),
        REACH,
    );
    fault(
        "after the request",
        &Web::each(&[b"http/1.1"], |mut tls, _| {
            web::read_head(&mut tls);
            reset(&tls.sock);
        }),
        REACH,
    );
    fault(
        "within the head",
        &Web::each(&[b"http/1.1"], |mut tls, _| {
            web::read_head(&mut tls);
            drop(tls.write_all(b"HTTP/1.1 200 OK\r\nContent-").and_then(|()| tls.flush()));
            reset(&tls.sock);
        }),
        REACH,
    );
}

#[test]
fn a_server_that_never_speaks_is_too_slow() {
    let mute = support::serve_each("127.0.0.1".parse().unwrap(), |mut tcp| {
        while tcp.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
    });
    let web = Web { address: mute, ..Web::hello() };
    let Some(mut bench) = web.bench("mute", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    tls.sock.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (head, _) = web::exchange(&mut tls, &get("/v1/x"));
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    assert_eq!(ended(&mut bench, "/v1/x").verdict.reason, Reason::TooSlow);
}

#[test]
fn half_an_answer_is_never_taken_for_the_whole() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let cases = [
        ("a length that is too long", format!("{ok}Content-Length: 100\r\n\r\nhalf")),
        ("chunks without the last", format!("{ok}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")),
        ("a chunk size of no number", format!("{ok}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n")),
        (
            "a chunk longer than it says",
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n4\r\nhalfmore\r\n0\r\n\r\n"),
        ),
    ];
    for (case, bytes) in cases {
        let web = saying(bytes.into_bytes(), false);
        let Some(mut bench) = web.bench("servers", RULE) else { return };
        let mut tls = open(&bench, &[b"http/1.1"]);
        tls.write_all(get("/v1/x").as_bytes()).unwrap();
        let mut answer = Vec::new();
        drop(tls.read_to_end(&mut answer));
        let answer = String::from_utf8_lossy(&answer);
        let whole = answer.ends_with("0\r\n\r\n") || answer.contains("100\r\n\r\nhalf\r\n");
        assert!(!whole && answer.len() < 200, "{case}: {answer}");
        let end = ended(&mut bench, "/v1/x");
        assert_eq!((end.status, end.verdict.outcome), (Some(200), Outcome::Failed), "{case}: {end:?}");
        assert!(REACH(&end.verdict.reason), "{case}: {end:?}");
    }
}

#[test]
fn interim_answers_are_left_out_and_the_real_one_passes() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(3);
    let web = saying(format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").into_bytes(), false);
    let Some(bench) = web.bench("hints", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    let (head, body) = web::exchange(&mut tls, &get("/v1/x"));
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "hello", "{head}");
}

#[test]
fn a_compressed_bomb_stays_as_small_as_it_came() {
    // Nothing is unpacked on the way: what the server sent is what the program gets, and what is counted.
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4096\r\n\r\n".iter().copied();
    let web = saying(bytes.chain([0x1f; 4096]).collect(), false);
    let Some(mut bench) = web.bench("bomb", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    tls.write_all(get("/v1/x").as_bytes()).unwrap();
    let head = web::read_head(&mut tls).unwrap();
    assert_eq!(header(&head, "content-encoding"), Some("gzip"));
    let mut body = vec![0; 4096];
    tls.read_exact(&mut body).unwrap();
    drop(tls);
    assert_eq!(ended(&mut bench, "/v1/x").received, 4096);
}

#[test]
fn a_kept_connection_that_the_server_closed_is_replaced() {
    let web = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec(), false);
    let Some(bench) = web.bench("kept", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    for n in 0..10 {
        let (head, _) = web::exchange(&mut tls, &get(&format!("/v1/{n}")));
        assert!(head.starts_with("HTTP/1.1 200 "), "{n}: {head}");
        // Time for the server's close to arrive: a client over its own connection would need it as well.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server that answers the first request of each connection, and closes without a word at the next. Over `limit` connections
/// it answers none at all.
fn closing_at_the_second(limit: usize) -> Web {
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    Web::each(&[b"http/1.1"], move |mut tls, say| {
        let nth = connections.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        for kept in [false, true] {
            let Some(head) = web::read_head(&mut tls) else { return };
            drop(say.send(head));
            if kept || nth >= limit {
                return;
            }
            drop(
                tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                    .and_then(|()| tls.flush()),
            );
        }
    })
}

#[test]
fn a_kept_connection_that_closes_in_the_moment_of_a_request_is_tried_once_more() {
    let web = closing_at_the_second(usize::MAX);
    let Some(mut bench) = web.bench("again", "methods = [\"GET\", \"POST\"]") else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    for n in 0..4 {
        let (head, body) = web::exchange(&mut tls, &get(&format!("/v1/{n}")));
        assert!(head.starts_with("HTTP/1.1 200 ") && body == "hello", "{n}: {head}");
    }
    assert_eq!(web.heads.try_iter().count(), 4 + 3, "every request but the first was sent twice");
    for n in 0..4 {
        ended(&mut bench, &format!("/v1/{n}"));
    }
    let records = bench.record().iter().filter(|event| matches!(event, wardroom_model::Event::Request(_)));
    assert_eq!(records.count(), 2 * 4, "one decision and one end each");
    // What may not be done twice is not.
    let post = format!("POST /v1/post HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi");
    let (head, _) = web::exchange(&mut tls, &post);
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert_eq!(web.heads.try_iter().count(), 1);
}

#[test]
fn a_server_that_closes_every_connection_is_tried_no_more_than_twice() {
    let web = closing_at_the_second(1);
    let Some(bench) = web.bench("twice", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    assert!(web::exchange(&mut tls, &get("/v1/0")).0.starts_with("HTTP/1.1 200 "));
    assert!(web::exchange(&mut tls, &get("/v1/1")).0.starts_with("HTTP/1.1 502 "));
    assert_eq!(web.heads.try_iter().count(), 1 + 2);
}

#[test]
fn what_a_program_does_not_read_waits_at_the_server() {
    // Back-pressure: as much is offered as is taken, and a program that reads nothing lets only buffers fill.
    let (sent, written) = channel();
    let web = Web::each(&[b"http/1.1"], move |mut tls, _| {
        if web::read_head(&mut tls).is_none() {
            return;
        }
        drop(tls.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
        while tls.write_all(&[b'x'; 65_536]).and_then(|()| tls.flush()).is_ok() && sent.send(65_536).is_ok() {
        }
    });
    let Some(bench) = web.bench("pressure", RULE) else { return };
    let mut tls = open(&bench, &[b"http/1.1"]);
    tls.write_all(get("/v1/x").as_bytes()).unwrap();
    assert!(web::read_head(&mut tls).unwrap().starts_with("HTTP/1.1 200 "));
    let mut total = 0_usize;
    while let Ok(part) = written.recv_timeout(Duration::from_millis(500)) {
        total += part;
        assert!(total < 64 << 20, "{total} bytes went into buffers");
    }
}
