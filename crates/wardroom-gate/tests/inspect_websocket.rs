//! WebSockets with a credential: what its limits and its mask mean for a pipe.

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
use std::sync::mpsc::channel;

use support::{Bench, REAL, Setup, placeholder};
use wardroom_model::{Outcome, Reason};
use web::{ClientTls, HOST, ServerTls, Web, ended, exchange, open};

#[test]
#[ignore = "the inside of the other tests"]
fn cell() {
    support::be_the_cell();
}

/// A server that agrees to a WebSocket, and goes on with this.
fn agreeing(then: impl Fn(&mut ServerTls) + Clone + Send + 'static) -> Web {
    Web::each(&[b"http/1.1"], move |mut tls, _| {
        if web::read_head(&mut tls).is_none() {
            return;
        }
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        drop(tls.write_all(switch).and_then(|()| tls.flush()));
        then(&mut tls);
    })
}

/// A bench whose policy binds a credential with these limits to the host.
fn bench(web: &Web, test: &str, limits: &str) -> Option<Bench> {
    let credential = format!(
        "[[credential]]\nenv = \"EXAMPLE_API_KEY\"\nhost = \"{HOST}\"\nheader = \"x-api-key\"\n{limits}\n"
    );
    let policy = web.policy("") + &credential;
    let setup = Setup { policy: &policy, inspected: &[HOST], credential: Some(HOST), ..Setup::default() };
    Bench::start(test, &setup)
}

/// A WebSocket that the server has agreed to, with the credential in its request.
fn websocket(bench: &Bench) -> ClientTls {
    let mut tls = open(bench, &[b"http/1.1"]);
    let ask = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Api-Key: {}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        placeholder()
    );
    let (head, _) = exchange(&mut tls, &ask);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    tls
}

const LIMIT: usize = 64 * 1024;
const LIMITED: &str = "limits = { bytes_per_day = \"64 KiB\" }";

#[test]
fn s4_a_websocket_is_cut_where_its_credential_has_no_room_for_more_bytes_to_the_server() {
    let (say, arrived) = channel();
    let web = agreeing(move |tls| {
        let mut buffer = vec![0; LIMIT];
        while let Ok(length) = tls.read(&mut buffer) {
            if length == 0 || say.send(length).is_err() {
                return;
            }
        }
    });
    let Some(mut bench) = bench(&web, "s4", LIMITED) else { return };
    let mut tls = websocket(&bench);
    for _ in 0..32 {
        if tls.write_all(&[b'x'; LIMIT]).and_then(|()| tls.flush()).is_err() {
            break;
        }
    }
    let end = ended(&mut bench, "/v1/ws");
    assert_eq!(end.verdict.outcome, Outcome::Refused, "{end:?}");
    assert!(matches!(end.verdict.reason, Reason::LimitReached(_)), "{end:?}");
    assert!(tls.read(&mut [0]).is_err(), "cut, and not ended as it should");
    assert!(arrived.try_iter().sum::<usize>() <= LIMIT);
    // What it used stays used.
    let mut tls = open(&bench, &[b"http/1.1"]);
    let key = placeholder();
    let ask =
        format!("GET /v1/x HTTP/1.1\r\nHost: {HOST}\r\nX-Api-Key: {key}\r\nContent-Length: {LIMIT}\r\n\r\n");
    assert!(exchange(&mut tls, &ask).0.starts_with("HTTP/1.1 429 "));
}

#[test]
fn s4_a_websocket_is_cut_where_its_credential_has_no_room_for_more_bytes_to_the_agent() {
    let web = agreeing(|tls| while tls.write_all(&[b'x'; LIMIT]).and_then(|()| tls.flush()).is_ok() {});
    let Some(mut bench) = bench(&web, "s4", LIMITED) else { return };
    let mut tls = websocket(&bench);
    let mut heard = Vec::new();
    assert!(tls.read_to_end(&mut heard).is_err(), "cut, and not ended as it should");
    assert!(heard.len() <= LIMIT, "{}", heard.len());
    let end = ended(&mut bench, "/v1/ws");
    assert!(matches!(end.verdict.reason, Reason::LimitReached(_)), "{end:?}");
}

#[test]
fn what_a_mask_held_back_of_a_websocket_reaches_the_agent_when_the_server_leaves() {
    let end = REAL.get(..16).unwrap();
    for properly in [true, false] {
        let web = agreeing(move |tls| {
            drop(tls.write_all(format!("data {end}").as_bytes()).and_then(|()| tls.flush()));
            if properly {
                tls.conn.send_close_notify();
                drop(tls.flush());
            }
        });
        let Some(bench) = bench(&web, "held", "") else { return };
        let mut tls = websocket(&bench);
        let mut heard = vec![0; 5 + end.len()];
        tls.read_exact(&mut heard).unwrap();
        assert_eq!(heard, format!("data {end}").as_bytes(), "properly: {properly}");
    }
}

#[test]
fn a_message_that_is_whole_reaches_the_agent_though_a_value_might_go_on_after_it() {
    let web = agreeing(|tls| {
        for _ in 0..2 {
            drop(tls.write_all(b"\x81\x05hello").and_then(|()| tls.flush()));
            // Nothing more comes until the agent has answered.
            drop(tls.read_exact(&mut [0]));
        }
    });
    let Some(bench) = bench(&web, "whole", "") else { return };
    let mut tls = websocket(&bench);
    for _ in 0..2 {
        let mut heard = [0; 7];
        tls.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"\x81\x05hello");
        tls.write_all(b"x").and_then(|()| tls.flush()).unwrap();
    }
}
