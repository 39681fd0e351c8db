//! The doors of the fuzz targets (`fuzz/`): each takes hostile bytes and states what must hold whatever they are.
//!
//! Compiled for fuzzing and for tests alone. `cargo test` runs every input of `fuzz/corpus` through the same doors, so that what
//! was once found stays found.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::task::LocalSet;
use wardroom_kernel::locked::Locked;
use wardroom_model::{HostName, Reason};

use crate::credential::mask::{Mask, Needle};
use crate::credential::search::{InBody, Search};
use crate::greeting::Answer;
use crate::hello::Hello;
use crate::inspect::fuzzing as inspect;
use crate::meter::api::pointers;
use crate::meter::events::Events;
use crate::meter::scan::{Field, Found, Pointers, Scan};
use crate::placeholder::Tag;
use crate::resolver;

/// The first byte of an input says how long the parts are in which the rest comes.
fn parts(data: &[u8]) -> (&[u8], usize) {
    match data.split_first() {
        Some((size, rest)) => (rest, usize::from(*size).max(1)),
        None => (data, 1),
    }
}

/// A ClientHello, the second of a client as well, is understood the same in whatever parts it comes, and so is a server's
/// answer.
pub fn client_hello(data: &[u8]) {
    let (bytes, size) = parts(data);
    let Ok(host) = HostName::parse("api.example.com") else { return };
    for new in [Hello::default, Hello::again] {
        hello(&host, bytes, size, new);
    }
    let answer = |size: usize| {
        let mut answer = Answer::default();
        bytes.chunks(size).find_map(|part| answer.feed(part))
    };
    assert_eq!(answer(bytes.len().max(1)), answer(size));
}

fn hello(host: &HostName, bytes: &[u8], size: usize, new: fn() -> Hello) {
    let hello = |size: usize| {
        let mut hello = new();
        let mut fed = 0;
        let mut answers = bytes.chunks(size).map(|part| {
            let end = hello.feed(part, host).map(|end| end.map(|end| fed + end));
            fed += part.len();
            end
        });
        answers.find(|answer| *answer != Ok(None)).unwrap_or(Ok(None))
    };
    let (whole, split) = (hello(bytes.len().max(1)), hello(size));
    match (&whole, &split) {
        // What is malformed may be noticed earlier or later, and in other words; never may it pass.
        (Err(Reason::Malformed(_)), other) | (other, Err(Reason::Malformed(_))) => {
            assert!(!matches!(other, Ok(Some(_))), "it passed");
        }
        (whole, split) => assert_eq!(whole, split),
    }
}

/// Every question gets one answer of its own id, and no answer gets one.
pub fn dns(data: &[u8]) {
    let answer = resolver::reply(
        data,
        |query, _| {
            let host = HostName::parse(&query.name().to_ascii());
            if host.is_ok() { ResponseCode::NoError } else { ResponseCode::NXDomain }
        },
        || {},
    );
    let Some(answer) = answer else { return };
    assert_eq!(answer.first_chunk::<2>(), data.first_chunk::<2>(), "another id");
    let read = Message::from_vec(&answer);
    assert!(read.is_ok_and(|read| read.metadata.message_type == MessageType::Response));
}

/// One connection's requests are the same in whatever parts their bytes come, and each that is read names the host.
pub fn http(data: &[u8]) {
    let (bytes, size) = parts(data);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let Ok(runtime) = runtime else { return };
    let (whole, split) =
        runtime.block_on(async { (requests(bytes, bytes.len().max(1)).await, requests(bytes, size).await) });
    assert_eq!(whole, split, "another border, other requests");
}

/// The requests that hyper reads, as the gate has it read them, and the gate takes: method, path, and body; none for a body
/// that is broken.
async fn requests(bytes: &[u8], size: usize) -> Vec<(String, String, Option<Vec<u8>>)> {
    /// Longer than any input takes.
    const LONG: Duration = Duration::from_secs(20);
    let taken = RefCell::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
        if let Some((method, path)) = inspect::asked(&head) {
            taken.borrow_mut().push((method, path, body));
        }
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let (agent, gate) = tokio::io::duplex(bytes.len().max(1) + 1_024);
    let (mut answers, mut asks) = tokio::io::split(agent);
    let speak = async {
        for part in bytes.chunks(size) {
            if asks.write_all(part).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        drop(asks.shutdown().await);
    };
    let mut nowhere = tokio::io::sink();
    let hear = tokio::io::copy(&mut answers, &mut nowhere);
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_buf_size(inspect::HEAD).auto_date_header(false).half_close(true);
    let serve = async { drop(builder.serve_connection(TokioIo::new(gate), service).await) };
    let ended = tokio::time::timeout(LONG, async { tokio::join!(speak, hear, serve) }).await;
    assert!(ended.is_ok(), "it never ends");
    taken.into_inner()
}

/// A connection of an agent's over HTTP/2, as the gate serves it, ends, and what reaches the server is permitted.
pub fn http2(data: &[u8]) {
    let (bytes, size) = parts(data);
    let arrived = bounded(inspect::agent_over_http2(bytes, size));
    assert!(arrived.flatten().is_some(), "there is no connection");
}

/// A server's answer over HTTP/1.1, as the gate passes it on, is the same in whatever parts it comes. The second byte of an
/// input says whether it answers a `HEAD`.
pub fn answer(data: &[u8]) {
    let (bytes, size) = parts(data);
    let (bytes, method) = match bytes.split_first() {
        Some((1, rest)) => (rest, "HEAD"),
        Some((_, rest)) => (rest, "GET"),
        None => (bytes, "GET"),
    };
    let whole = bounded(inspect::server_over_http1(bytes, bytes.len().max(1), method));
    let split = bounded(inspect::server_over_http1(bytes, size, method));
    assert_eq!(whole, split, "another border, another answer");
}

/// Runs what must end. None where there is no event loop.
fn bounded<T>(work: impl Future<Output = T>) -> Option<T> {
    /// Longer than any input takes.
    const LONG: Duration = Duration::from_secs(20);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let work = async { tokio::time::timeout(LONG, work).await };
    let ended = LocalSet::new().block_on(&runtime, work);
    assert!(ended.is_ok(), "it never ends");
    ended.ok()
}

/// Names, as a policy and a resolver read them: what is a name is its own canonical form.
pub fn host_name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(host) = HostName::parse(text) {
        assert_eq!(HostName::parse(host.as_str()).as_ref(), Ok(&host));
    }
}

/// An answer is masked the same in whatever parts it comes, keeps its length, and has no value in it.
pub fn masking(data: &[u8]) {
    let (bytes, size) = parts(data);
    for (secret, needles) in NEEDLES.with(Clone::clone) {
        assert!(!needles.is_empty(), "no memory can be locked");
        masked_by(secret, &needles, bytes, size);
    }
}

fn masked_by(secret: &[u8], needles: &[Rc<Needle>], bytes: &[u8], size: usize) {
    let through = |size: usize| {
        let mut mask = Mask::default();
        mask.add(needles.iter().map(Rc::clone));
        let mut out = Vec::new();
        for part in bytes.chunks(size) {
            out.extend_from_slice(&mask.part(Bytes::copy_from_slice(part)).0);
        }
        out.extend_from_slice(&mask.rest().0);
        out
    };
    let (whole, split) = (through(bytes.len().max(1)), through(size));
    assert_eq!(whole.len(), bytes.len());
    assert_eq!(split.len(), bytes.len());
    for masked in [&whole, &split] {
        assert!(memchr::memmem::find(masked, secret).is_none(), "the value came through");
    }
}

/// One with a character that is in no token, and a token.
const SECRETS: [&[u8]; 2] = [b"sk/a\"a", b"sk-a/a"];

thread_local! {
    static NEEDLES: [(&'static [u8], Vec<Rc<Needle>>); 2] = SECRETS.map(|secret| {
        let locked = Locked::new(secret).map(Rc::new);
        let forms = locked.and_then(|locked| Needle::forms(&locked, "XXXXXXXXXXXXXXXXXXXXXXXXXX"));
        (secret, forms.unwrap_or_default())
    });
}

/// A placeholder is found in a body in whatever parts it comes.
pub fn placeholder(data: &[u8]) {
    let (bytes, size) = parts(data);
    let Some(search) = Tag::parse("aaaabaaaac").and_then(|tag| Search::new(&tag)) else { return };
    let mut body = InBody::default();
    let found = bytes.chunks(size).filter(|part| body.hits(&search, part)).count() > 0;
    assert_eq!(found, search.hits(bytes));
}

/// Usage is read the same in whatever parts an answer comes, and what is no JSON gives none.
pub fn usage(data: &[u8]) {
    let (bytes, size) = parts(data);
    let pointers = pointers(&[
        (Field::Model, "/model"),
        (Field::Input, "/usage/input_tokens"),
        (Field::Output, "/a/0/b"),
        (Field::Cached, "/a/1"),
    ]);
    assert_eq!(scanned(&pointers, bytes, size), scanned(&pointers, bytes, bytes.len().max(1)));
    assert_eq!(streamed(&pointers, bytes, size), streamed(&pointers, bytes, bytes.len().max(1)));
    if let Some(found) = scanned(&pointers, bytes, size) {
        // The one difference to a strict reader: text of strings that nobody asked for is not looked at.
        if let Ok(text) = std::str::from_utf8(bytes)
            && let Ok(tree) = serde_json::from_str::<serde_json::Value>(text)
        {
            agrees(&found, &tree);
        }
    } else if let Ok(tree) = serde_json::from_slice::<serde_json::Value>(bytes) {
        assert!(!tree.is_object() || deep(bytes), "a whole object was not read: {tree}");
    }
}

/// A number that was said without doubt is the one that a reader of the whole tree sees, or a larger one before it.
fn agrees(found: &Found, tree: &serde_json::Value) {
    let read = tree.pointer("/usage/input_tokens").and_then(serde_json::Value::as_u64);
    if let (Some(scanned), Some(read)) = (found.number(Field::Input), read) {
        assert!(scanned >= read);
    }
}

/// Whether the nesting, or a number, is beyond what the scanner follows.
fn deep(bytes: &[u8]) -> bool {
    let opens = bytes.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    opens > 64 || bytes.len() > 1_024
}

fn scanned(pointers: &Pointers, bytes: &[u8], size: usize) -> Option<Found> {
    let mut scan = Scan::new(pointers);
    bytes.chunks(size).for_each(|part| scan.push(part));
    scan.finish()
}

fn streamed(pointers: &Pointers, bytes: &[u8], size: usize) -> Found {
    let mut events = Events::new(pointers);
    bytes.chunks(size).for_each(|part| events.push(part));
    events.found().clone()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_input_of_the_corpus_keeps_the_promises() {
        type Door = (&'static str, fn(&[u8]));
        let doors: [Door; 9] = [
            ("answer", super::answer),
            ("client_hello", super::client_hello),
            ("dns", super::dns),
            ("host_name", super::host_name),
            ("http", super::http),
            ("http2", super::http2),
            ("masking", super::masking),
            ("placeholder", super::placeholder),
            ("usage", super::usage),
        ];
        for (name, door) in doors {
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
            let inputs = fs::read_dir(&corpus).unwrap_or_else(|e| panic!("{}: {e}", corpus.display()));
            let read = inputs.map(|input| fs::read(input.unwrap().path()).unwrap()).map(|input| door(&input));
            assert!(read.count() > 0, "{name}: no input");
        }
    }

    /// What a door never lets in cannot break behind it.
    #[test]
    fn requests_reach_the_server_and_answers_the_agent() {
        let input = |name: &str| {
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
            fs::read(corpus.join(name)).unwrap()
        };
        let arrived = |name| {
            let input = input(name);
            super::bounded(super::inspect::agent_over_http2(&input[1..], input[0].into())).flatten()
        };
        assert_eq!(arrived("http2/get"), Some(1));
        assert_eq!(arrived("http2/post"), Some(1));
        assert_eq!(arrived("http2/other-authority"), Some(0));
        let heard = |name| {
            let input = input(name);
            let heard =
                super::bounded(super::inspect::server_over_http1(&input[2..], input[0].into(), "GET"));
            heard.flatten().map(|(status, _, body)| (status.as_u16(), body.to_vec()))
        };
        assert_eq!(heard("answer/length"), Some((200, b"hello".to_vec())));
        assert_eq!(heard("answer/chunked"), Some((200, b"hello".to_vec())));
        assert_eq!(heard("answer/broken-chunk"), None);
        assert_eq!(heard("answer/compressed"), None);
        assert_eq!(heard("answer/reflected"), Some((200, b"24".to_vec())), "masked");
    }
}
