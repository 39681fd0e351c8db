//! HTTP/2 at inspected hosts: every stream is a request of its own, and what is only meant to exhaust ends the connection.

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

use std::convert::Infallible;
use std::io::{Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use support::{Bench, Setup};
use tokio::task::LocalSet;
use wardroom_model::event::ConnectionPhase;
use wardroom_model::{Captured, Event, Reason};
use web::{HOST, Web, decided, ended};

#[test]
#[ignore = "the inside of the other tests"]
fn cell() {
    support::be_the_cell();
}

const RULE: &str = "methods = [\"GET\", \"POST\"]\npaths = [\"/v1/**\"]";

#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work)
}

type Sender = SendRequest<Full<Bytes>>;

/// A connection of an HTTP/2 client inside.
async fn connect(bench: &Bench) -> Sender {
    let tcp = bench.connect_to(HOST, 443).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let tcp = tokio::net::TcpStream::from_std(tcp).unwrap();
    let connector = tokio_rustls::TlsConnector::from(web::client_config(bench, &[b"h2"]));
    let tls = connector.connect(ServerName::try_from(HOST).unwrap(), tcp).await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let builder = hyper::client::conn::http2::Builder::new(Local);
    let (sender, connection) = builder.handshake(TokioIo::new(tls)).await.unwrap();
    tokio::task::spawn_local(async move { drop(connection.await) });
    sender
}

async fn ask(sender: &mut Sender, method: &str, uri: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(uri).body(Full::default()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// Frames as a stream of them.
struct Frames(std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next())
    }
}

#[test]
fn streams_reach_a_server_of_http_1_each_with_its_own_record() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("h2", RULE) else { return };
    block_on(async {
        let sender = connect(&bench).await;
        let many = (0..40).map(|n| {
            let mut sender = sender.clone();
            async move { ask(&mut sender, "GET", &format!("https://{HOST}/v1/{n}")).await }
        });
        let mut tasks = tokio::task::JoinSet::new();
        for one in many {
            tasks.spawn_local(one);
        }
        for (status, body) in tasks.join_all().await {
            assert_eq!((status.as_u16(), body.as_str()), (200, "hello"));
        }
    });
    for n in 0..40 {
        assert_eq!(ended(&mut bench, &format!("/v1/{n}")).status, Some(200));
    }
}

#[test]
fn n14a_streams_with_other_authorities_are_misdirected_and_the_others_go_on() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("n14a", RULE) else { return };
    block_on(async {
        let mut sender = connect(&bench).await;
        let own = format!("https://{HOST}/v1/own");
        assert_eq!(ask(&mut sender, "GET", &own).await.0.as_u16(), 200);
        assert_eq!(ask(&mut sender, "GET", "https://evil.example/v1/other").await.0.as_u16(), 421);
        assert_eq!(ask(&mut sender, "GET", &format!("https://{HOST}/admin")).await.0.as_u16(), 403);
        assert_eq!(ask(&mut sender, "DELETE", &own).await.0.as_u16(), 403);
        assert_eq!(ask(&mut sender, "GET", &format!("http://{HOST}/v1/plain")).await.0.as_u16(), 400);
        // The authority is the host, and the Host header another.
        let request = Request::get(&own).header("host", "evil.example").body(Full::default()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status().as_u16(), 421);
        assert_eq!(ask(&mut sender, "GET", &own).await.0.as_u16(), 200);
    });
    let (_, decision) = decided(&mut bench, "/v1/other");
    assert_eq!(decision.verdict.reason, Reason::OtherHost(Captured::from("evil.example")));
    assert_eq!(web.heads.try_iter().count(), 2);
}

#[test]
fn n13_connect_in_a_stream_is_refused() {
    let web = Web::hello();
    let Some(bench) = web.bench("n13", RULE) else { return };
    block_on(async {
        let mut sender = connect(&bench).await;
        for authority in [format!("{HOST}:443"), "evil.example:443".to_owned()] {
            let request = Request::connect(&authority).body(Full::default()).unwrap();
            let answer = sender.send_request(request).await;
            assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 403), "{authority}");
        }
        assert!(!sender.is_closed());
        assert_eq!(ask(&mut sender, "GET", &format!("https://{HOST}/v1/x")).await.0.as_u16(), 200);
    });
    assert_eq!(web.heads.try_iter().count(), 1);
}

#[test]
fn a_stream_is_cut_when_the_policy_changes_and_the_others_go_on() {
    let web = Web::each(&[b"http/1.1"], |mut tls, say| {
        let Some(head) = web::read_head(&mut tls) else { return };
        drop(say.send(head));
        drop(tls.write_all(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n"));
        drop(tls.flush());
        drop(tls.read(&mut [0]));
    });
    let Some(mut bench) = web.bench("n20", "paths = [\"/v1/**\", \"/v2/**\"]") else { return };
    block_on(async {
        let mut sender = connect(&bench).await;
        let mut open = Vec::new();
        for path in ["/v1/stream", "/v2/stream"] {
            let request = Request::get(format!("https://{HOST}{path}")).body(Full::default()).unwrap();
            let mut body = sender.send_request(request).await.unwrap().into_body();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
            open.push(body);
        }
        let narrower = support::policy(&web.policy("paths = [\"/v2/**\"]"));
        let begun = Instant::now();
        wardroom_gate::control::send_policy(&bench.control, &narrower).unwrap();
        assert!(open[0].frame().await.unwrap().is_err());
        assert!(begun.elapsed() < Duration::from_secs(1));
        let other = tokio::time::timeout(Duration::from_millis(200), open[1].frame()).await;
        assert!(other.is_err(), "still open: {other:?}");
    });
    assert_eq!(ended(&mut bench, "/v1/stream").verdict.reason, Reason::PolicyChanged);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A field as HPACK writes one literally, without indexing.
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// The head of a permitted request.
fn head(more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/v1/raw")];
    usual.iter().chain(more).flat_map(|(name, value)| field(name, value)).collect()
}

/// Sends these frames, and returns whether the connection was ended.
fn ends(bench: &Bench, frames: &[Vec<u8>]) -> bool {
    let mut tls = web::open(bench, &[b"h2"]);
    tls.sock.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let start = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    if tls.write_all(&start).is_err() {
        return true;
    }
    for frame in frames {
        if tls.write_all(frame).is_err() {
            return true;
        }
    }
    drop(tls.flush());
    let mut buffer = [0; 65_536];
    loop {
        match tls.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

#[test]
fn n13_frames_that_are_only_meant_to_exhaust_end_the_connection() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("n13", RULE) else { return };
    let rapid: Vec<_> = (0..20_000_u32)
        .map(|n| {
            let stream = n * 2 + 1;
            let ask = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(&[]));
            [ask, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    let bomb: Vec<_> = std::iter::once(frame(HEADERS, END_STREAM, 1, &head(&[])))
        .chain((0..2_000).map(|_| frame(CONTINUATION, 0, 1, &field("x-a", &"b".repeat(100)).repeat(100))))
        .collect();
    let pings: Vec<_> = (0..10).map(|_| frame(PING, 0, 1, &[0; 8])).collect();
    for (case, frames) in
        [("rapid reset", rapid), ("continuations without end", bomb), ("a ping of a stream", pings)]
    {
        bench.forget();
        assert!(ends(&bench, &frames), "{case}");
        bench.seen(case, |event| match event {
            Event::Connection(c) => matches!(&c.phase, ConnectionPhase::Ended(end)
                if matches!(end.verdict.reason, Reason::Malformed(_))),
            _ => false,
        });
    }
    block_on(async {
        let mut sender = connect(&bench).await;
        assert_eq!(ask(&mut sender, "GET", &format!("https://{HOST}/v1/after")).await.0.as_u16(), 200);
    });
}

#[test]
fn n13_floods_of_frames_that_move_nothing_end_the_connection_on_record() {
    // It does not answer, so that the stream stays open.
    let web = Web::each(&[b"http/1.1"], |mut tls, _| drop(tls.read_to_end(&mut Vec::new())));
    let Some(mut bench) = web.bench("n13", RULE) else { return };
    let many = |frame: Vec<u8>| vec![frame; 20_000];
    let open = frame(HEADERS, END_HEADERS, 1, &head(&[]));
    let empty = std::iter::once(open).chain(many(frame(DATA, 0, 1, &[]))).collect();
    for (case, frames) in [
        ("settings", many(frame(SETTINGS, 0, 0, &[]))),
        ("pings", many(frame(PING, 0, 0, &[0; 8]))),
        ("empty data", empty),
        ("windows", many(frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()))),
    ] {
        bench.forget();
        assert!(ends(&bench, &frames), "{case}");
        bench.seen(case, |event| match event {
            Event::Connection(c) => {
                matches!(&c.phase, ConnectionPhase::Ended(end) if match &end.verdict.reason {
                    Reason::LimitReached(what) => what.contains("move nothing"),
                    // The library has a bound of its own for this one, which comes first.
                    Reason::Malformed(what) => case == "empty data" && what.contains("excessive load"),
                    _ => false,
                })
            }
            _ => false,
        });
    }
    // As many as nobody has a use for, and fewer than a flood.
    let few = vec![frame(PING, 0, 0, &[0; 8]); 1000];
    assert!(!ends(&bench, &few));
}

#[test]
fn interim_answers_over_http_2_pass_unseen_and_a_flood_of_them_is_the_server_s_fault() {
    let answering = |interim: usize| {
        Web::each(&[b"h2"], move |mut tls, _| {
            drop(tls.write_all(&frame(SETTINGS, 0, 0, &[])));
            let Some(stream) = request_of(&mut tls) else { return };
            let hints = [field(":status", "103"), field("link", "</a>")].concat();
            for _ in 0..interim {
                if tls.write_all(&frame(HEADERS, END_HEADERS, stream, &hints)).is_err() {
                    return;
                }
            }
            let answer = frame(HEADERS, END_HEADERS | END_STREAM, stream, &field(":status", "200"));
            drop(tls.write_all(&answer).and_then(|()| tls.flush()));
            drop(tls.read(&mut [0; 64]));
        })
    };
    for (interim, status) in [(3, 200), (usize::MAX, 502)] {
        let web = answering(interim);
        let Some(mut bench) = web.bench("interim", RULE) else { return };
        block_on(async {
            let mut sender = connect(&bench).await;
            let url = format!("https://{HOST}/v1/x");
            let asked = tokio::time::timeout(Duration::from_secs(30), ask(&mut sender, "GET", &url)).await;
            assert_eq!(asked.expect("an end of it").0.as_u16(), status);
        });
        let end = ended(&mut bench, "/v1/x");
        match status {
            200 => assert_eq!(end.status, Some(200)),
            _ => assert!(
                matches!(&end.verdict.reason, Reason::UpstreamProtocol(what) if what.contains("move nothing")),
                "{end:?}"
            ),
        }
    }
}

/// A server of HTTP/2 that answers the first request of its first connection, does `then` with the stream of each further one of
/// that, and answers every one of later connections.
fn leaving(then: fn(u32) -> Vec<u8>) -> Web {
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    Web::each(&[b"h2"], move |mut tls, say| {
        let first = connections.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        drop(tls.write_all(&frame(SETTINGS, 0, 0, &[])));
        let mut next = request_of(&mut tls);
        while let Some(stream) = next {
            drop(say.send(format!("{first} {stream}")));
            let answer = match first && stream > 1 {
                true => then(stream),
                false => frame(HEADERS, END_HEADERS | END_STREAM, stream, &field(":status", "200")),
            };
            drop(tls.write_all(&answer).and_then(|()| tls.flush()));
            next = head_of(&mut tls);
        }
    })
}

fn refused_unseen(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &7_u32.to_be_bytes())
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[&last.to_be_bytes()[..], &code.to_be_bytes(), SAID.as_bytes()].concat())
}

/// What a server might say of a request: its headers, with what was put into them.
const SAID: &str = "bad header x-api-key: the-real-value";

#[test]
fn a_request_that_a_server_of_http_2_did_not_look_at_is_sent_once_more_and_no_other_is() {
    type Then = fn(u32) -> Vec<u8>;
    let cases: [(&str, Then, &str, u16); 7] = [
        ("refused unseen", refused_unseen, "GET", 200),
        ("leaving, and it came behind the last", |_| goaway(1, 0), "GET", 200),
        ("refused unseen, and not idempotent", refused_unseen, "POST", 502),
        ("a fault, whatever was seen", |_| goaway(1, 2), "GET", 502),
        (
            "reset without a word of why",
            |stream| frame(RST_STREAM, 0, stream, &2_u32.to_be_bytes()),
            "GET",
            502,
        ),
        ("cancelled", |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()), "GET", 502),
        ("a broken frame", |_| frame(PING, 0, 1, &[0; 8]), "GET", 502),
    ];
    for (case, then, method, status) in cases {
        let web = leaving(then);
        let Some(mut bench) = web.bench("again", RULE) else { return };
        block_on(async {
            let mut sender = connect(&bench).await;
            let url = |path: &str| format!("https://{HOST}{path}");
            assert_eq!(ask(&mut sender, "GET", &url("/v1/first")).await.0.as_u16(), 200, "{case}");
            let (answered, body) = ask(&mut sender, method, &url("/v1/second")).await;
            assert_eq!(answered.as_u16(), status, "{case}");
            assert!(!body.contains("the-real-value"), "S1, {case}: {body}");
        });
        let sent: Vec<String> = web.heads.try_iter().collect();
        let wanted: &[&str] =
            if status == 200 { &["true 1", "true 3", "false 1"] } else { &["true 1", "true 3"] };
        assert_eq!(sent, wanted, "{case}");
        ended(&mut bench, "/v1/second");
        let of_it = |event: &&Event| matches!(event, Event::Request(r) if r.path.shown() == b"/v1/second");
        let record = bench.record();
        assert_eq!(record.iter().filter(of_it).count(), 2, "{case}: one decision and one end");
        assert!(!format!("{record:?}").contains("the-real-value"), "S1, {case}: {record:?}");
    }
}

/// Reads frames up to a request's head, and returns its stream.
fn request_of(tls: &mut impl Read) -> Option<u32> {
    // The preface.
    tls.read_exact(&mut [0; 24]).ok()?;
    head_of(tls)
}

fn head_of(tls: &mut impl Read) -> Option<u32> {
    loop {
        let (kind, stream) = read_frame(tls)?;
        if kind == HEADERS {
            return Some(stream);
        }
    }
}

/// Reads a frame: its kind and its stream.
fn read_frame(tls: &mut impl Read) -> Option<(u8, u32)> {
    let mut start = [0; 9];
    tls.read_exact(&mut start).ok()?;
    let length = u32::from_be_bytes([0, start[0], start[1], start[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    tls.read_exact(&mut payload).ok()?;
    Some((start[3], u32::from_be_bytes([start[5], start[6], start[7], start[8]])))
}

/// The resident memory of this process, in which the gate is a thread.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn n13_floods_and_stalls_take_bounded_memory_and_leave_the_gate_to_others() {
    let web = Web::answering(|_| {
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n".to_vec();
        answer.resize(answer.len() + (1 << 20), b'x');
        answer
    });
    let Some(bench) = web.bench("n13", RULE) else { return };
    let get = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(&[]));
    let settings: Vec<_> = (0..50_000).map(|_| frame(SETTINGS, 0, 0, &[])).collect();
    let pings: Vec<_> = (0..50_000).map(|_| frame(PING, 0, 0, &[0; 8])).collect();
    let open = frame(HEADERS, END_HEADERS, 1, &head(&[]));
    let empty: Vec<_> = std::iter::once(open).chain((0..50_000).map(|_| frame(DATA, 0, 1, &[]))).collect();
    // A window of nothing (SETTINGS_INITIAL_WINDOW_SIZE): a hundred answers of a megabyte that nobody takes.
    let closed = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let stalled: Vec<_> = std::iter::once(closed).chain((0..100).map(|n| get(n * 2 + 1))).collect();
    let before = resident();
    for (case, frames) in
        [("settings", settings), ("pings", pings), ("empty data", empty), ("no window", stalled)]
    {
        let mut tls = web::open(&bench, &[b"h2"]);
        tls.sock.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        // Nothing is read meanwhile. Whether the gate ends it or only stops reading, this comes to an end.
        let start = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        drop(tls.write_all(&start).and_then(|()| frames.iter().try_for_each(|frame| tls.write_all(frame))));
        drop(tls.flush());
        std::thread::sleep(Duration::from_millis(300));
        let grown = resident().saturating_sub(before);
        assert!(grown < 64 << 20, "{case}: {grown} bytes");
        block_on(async {
            let mut sender = connect(&bench).await;
            // Something that the gate answers by itself.
            let (status, _) = ask(&mut sender, "GET", &format!("https://{HOST}/admin")).await;
            assert_eq!(status.as_u16(), 403, "{case}");
        });
    }
}

#[test]
#[ignore = "it waits for as long as an idle connection may"]
fn an_idle_connection_is_told_and_then_closed_pings_or_not() {
    let web = Web::hello();
    let Some(bench) = web.bench("idle", RULE) else { return };
    let mut tls = web::open(&bench, &[b"h2"]);
    tls.sock.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let ask = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head(&[]));
    tls.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &ask].concat()).unwrap();
    let (begun, mut said, mut buffer) = (Instant::now(), Vec::new(), [0; 4096]);
    loop {
        assert!(begun.elapsed() < Duration::from_secs(150), "still open");
        drop(tls.write_all(&frame(PING, 0, 0, &[0; 8])).and_then(|()| tls.flush()));
        match tls.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => said.extend_from_slice(&buffer[..length]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let goaway = [GOAWAY, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff];
    assert!(said.windows(goaway.len()).any(|part| part == goaway), "{said:?}");
}

#[test]
fn n13_pseudo_headers_out_of_place_never_become_a_request() {
    let web = Web::hello();
    let Some(bench) = web.bench("n13", RULE) else { return };
    let cases = [
        ("two paths", head(&[(":path", "/admin")])),
        ("two authorities", head(&[(":authority", "evil.example")])),
        ("a pseudo-header of answers", head(&[(":status", "200")])),
        ("an unknown one", head(&[(":other", "x")])),
        ("one behind a header", [head(&[("x-a", "b")]), field(":path", "/admin")].concat()),
        ("upper case", head(&[("X-Upper", "b")])),
        ("a connection header", head(&[("connection", "close")])),
        ("a transfer coding", head(&[("transfer-encoding", "chunked")])),
        ("an upgrade", head(&[("upgrade", "websocket")])),
        ("a line break in a value", head(&[("x-a", "b\r\nx-c: d")])),
        ("a line break in a name", head(&[("x-a\r\nx-c", "d")])),
        (
            "extended CONNECT",
            [
                field(":method", "CONNECT"),
                field(":protocol", "websocket"),
                field(":scheme", "https"),
                field(":authority", HOST),
                field(":path", "/v1/ws"),
            ]
            .concat(),
        ),
        ("no path", [field(":method", "GET"), field(":scheme", "https"), field(":authority", HOST)].concat()),
        (
            "an empty path",
            [
                field(":method", "GET"),
                field(":scheme", "https"),
                field(":authority", HOST),
                field(":path", ""),
            ]
            .concat(),
        ),
    ];
    for (case, head) in cases {
        let mut tls = web::open(&bench, &[b"h2"]);
        let bytes =
            [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)]
                .concat();
        tls.write_all(&bytes).unwrap();
        tls.flush().unwrap();
        tls.sock.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
        let mut rest = Vec::new();
        drop(tls.read_to_end(&mut rest));
        let heads: Vec<String> = web.heads.try_iter().collect();
        assert!(heads.is_empty(), "{case}: {heads:?}");
    }
}

#[test]
fn trailers_pass_between_two_sides_of_http_2() {
    let web = Web::on_tokio(&[b"h2"], |tls| async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            let path = request.uri().to_string();
            let body = request.into_body().collect().await.unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            trailers.insert("x-seen", body.trailers().map_or(0, HeaderMap::len).into());
            let frames = [Ok(Frame::data(Bytes::from(path))), Ok(Frame::trailers(trailers))];
            Ok::<_, Infallible>(Response::new(Frames(Vec::from(frames).into_iter())))
        });
        let builder = hyper::server::conn::http2::Builder::new(Local);
        drop(builder.serve_connection(TokioIo::new(tls), service).await);
    });
    let Some(mut bench) = web.bench("trailers", RULE) else { return };
    block_on(async {
        let mut sender = connect(&bench).await;
        let request = Request::post(format!("https://{HOST}/v1/grpc")).header("te", "trailers");
        let answer = sender.send_request(request.body(Full::from("hi")).unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), format!("https://{HOST}/v1/grpc"));
    });
    let end = ended(&mut bench, "/v1/grpc");
    assert_eq!((end.status, end.sent), (Some(200), 2));
}

#[test]
fn n18_streams_to_a_server_of_http_1_become_no_more_connections_than_the_policy_s_limit_allows() {
    // A server that never answers: every stream keeps a connection.
    let web = Web::each(&[b"http/1.1"], |mut tls, say| {
        drop(say.send(web::read_head(&mut tls).unwrap_or_default()));
        drop(tls.read(&mut [0]));
    });
    let policy = format!("[network]\nconnections = 4\n\n{}", web.policy(RULE));
    let setup = Setup { policy: &policy, inspected: &[HOST], ..Setup::default() };
    let Some(mut bench) = Bench::start("n18", &setup) else { return };
    block_on(async {
        let sender = connect(&bench).await;
        let ask_one = |n: usize| {
            let mut sender = sender.clone();
            async move { ask(&mut sender, "GET", &format!("https://{HOST}/v1/{n}")).await }
        };
        let waiting: Vec<_> = (0..8).map(|n| tokio::task::spawn_local(ask_one(n))).collect();
        let arrived = async {
            while bench.record().iter().filter(|event| is_decided(event)).count() < 8 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        arrived.await;
        let (status, body) = tokio::time::timeout(Duration::from_secs(5), ask_one(8)).await.unwrap();
        assert_eq!(status.as_u16(), 503, "{body}");
        let said: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(said["error"]["type"], "wardroom_refused");
        assert!(said["error"]["reason"].as_str().unwrap().contains("8 connections to servers"), "{body}");
        assert_eq!(web.heads.try_iter().count(), 8);
        // What is given up makes room.
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let again = tokio::time::timeout(Duration::from_secs(2), ask_one(9)).await;
        assert!(again.is_err(), "{again:?}");
        assert_eq!(web.heads.try_iter().count(), 1, "it reached the server, which says nothing");
    });
    let end = ended(&mut bench, "/v1/8");
    assert!(matches!(end.verdict.reason, Reason::LimitReached(_)), "{end:?}");
}

fn is_decided(event: &Event) -> bool {
    match event {
        Event::Request(r) => matches!(r.phase, wardroom_model::request::RequestPhase::Decided(_)),
        _ => false,
    }
}
