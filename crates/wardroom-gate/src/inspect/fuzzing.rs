//! An inspected connection without a network: the gate's own code between an agent and a server that are both made of bytes in
//! memory. For the fuzz targets ([`crate::fuzzing`]) and their corpus.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::Instant;
use wardroom_kernel::hostnet;
use wardroom_model::credential::CredentialAct;
use wardroom_model::event::Actor;
use wardroom_model::request::{Request, RequestPhase};
use wardroom_model::supply::{Material, Supply};
use wardroom_model::{Event, HostName, Outcome, Secret};
use wardroom_policy::{CredentialKind, Policy};
use wardroom_scribe::Handoff;

use super::{Acceptors, Inspector, Roots, Session, serve, upstream};
use crate::attempt::Attempt;
use crate::attribution::Actors;
use crate::credential::Credentials;
use crate::dial::Outside;
use crate::gate::Gate;
use crate::limits::Limits;
use crate::meter::{Meter, Prices};
use crate::placeholder::{Shape, Tag, make};
use crate::record::Recorder;
use crate::relay::{Pipes, Traffic};
use crate::synthetic::Synthetic;
use crate::upstream::{Resolvers, Upstream};
use crate::vigil::Vigil;

pub(crate) const HEAD: usize = super::limits::HEAD;

const HOST: &str = "api.example.com";
/// A credential's value that no answer may show.
const REAL: &str = "sk-real-0123456789abcdef";
/// A server that is dialled, because the one at hand is gone, refuses.
const POLICY: &str = r#"
[agent]
name = "scout"

[isolation]
kind = "cell"

[[network.allow]]
host = "api.example.com"
address = "127.0.0.1:1"
methods = ["GET", "HEAD", "POST"]
paths = ["/public/**"]

[[credential]]
env = "EXAMPLE_API_KEY"
host = "api.example.com"
header = "x-api-key"
"#;

/// A gate, which serves one input after the other: making one takes longer than what an input asks of it.
#[derive(Clone)]
struct Inside {
    gate: Rc<Gate>,
    handoff: Arc<Handoff>,
    host: HostName,
    placeholder: String,
}

thread_local! {
    static INSIDE: Option<Inside> = Inside::new().ok();
}

impl Inside {
    fn new() -> io::Result<Self> {
        let policy = Policy::parse("agent.toml", POLICY).map_err(|e| io::Error::other(e.to_string()))?;
        let host = HostName::parse(HOST).map_err(io::Error::other)?;
        let tag = Tag::new(&[1; 32]);
        let placeholder = make(Shape::of("EXAMPLE_API_KEY", &host, CredentialKind::Header), &tag, &[2; 32]);
        let handoff = Arc::new(Handoff::in_memory());
        let recorder = Rc::new(Recorder::new(Arc::clone(&handoff)));
        let meter = Meter::new(Prices::built_in().map_err(io::Error::other)?, None, Box::new(drop));
        let names = vec![("example".to_owned(), placeholder.clone())];
        let credentials = Credentials::new(Rc::clone(&recorder), meter, tag.as_str(), names, &policy);
        credentials.take(Supply::Value {
            name: "example".to_owned(),
            host: host.clone(),
            version: 1,
            material: Material::Plain(Secret::new(REAL.as_bytes().to_vec())),
            set_at: 0,
            expires: None,
            source: "a fuzz target".to_owned(),
        });
        let gate = Rc::new(Gate {
            recorder,
            credentials,
            names: RefCell::new(Synthetic::new(0).ok_or(io::ErrorKind::Other)?),
            limits: Limits::new(Instant::now()),
            // Nobody is asked who is behind a connection that is none.
            actors: Actors::new(hostnet::open()?, None)?,
            outside: Outside {
                upstream: Upstream::new(Resolvers::Given(Vec::new())),
                host: hostnet::open()?,
            },
            pipes: Pipes::new(),
            authority: None,
            inspector: Inspector {
                agent: "scout".to_owned(),
                acceptors: Acceptors::new(),
                roots: Roots::new(),
            },
            in_force: watch::Sender::new(policy.network().clone()),
            closing: watch::Sender::new(false),
            next_id: Cell::new(0),
            vigil: Vigil::new(),
        });
        Ok(Self { gate, handoff, host, placeholder })
    }

    /// An agent's connection to the host, permitted and on record.
    fn session(&self) -> Rc<Session> {
        drop(self.handoff.taken());
        let (actor, dialled) = (None::<Actor>, ([198, 18, 0, 1], 443).into());
        let attempt = Rc::new(Attempt { id: 0, actor, host: Some(self.host.clone()), dialled });
        Session::new(&self.gate, &attempt, &self.host, &Rc::new(Traffic::new(&self.gate.vigil)))
    }

    /// Ends a connection, and makes sure that every permitted request has its end on record.
    async fn end(&self, session: Rc<Session>) -> OnRecord {
        session.end().await;
        let (mut permitted, mut ended, mut masked) = (0, 0, false);
        for event in self.handoff.taken() {
            #[expect(clippy::wildcard_enum_match_arm, reason = "of all records, these are looked for")]
            match event {
                Event::Request(Request { phase: RequestPhase::Decided(decided), .. }) => {
                    permitted += usize::from(decided.verdict.outcome == Outcome::Allowed);
                }
                Event::Request(Request { phase: RequestPhase::Ended(_), .. }) => ended += 1,
                Event::Credential(note) => masked |= matches!(note.act, CredentialAct::Masked { .. }),
                _other => {}
            }
        }
        assert_eq!(permitted, ended, "a request without an end");
        OnRecord { permitted, masked }
    }
}

/// The method and the path of a request that goes on to be decided.
pub(crate) fn asked(head: &http::request::Parts) -> Option<(String, String)> {
    let host = HostName::parse(HOST).ok()?;
    let asking = super::request::read(head, &host, 443).ok()?;
    Some((asking.line.method().to_owned(), asking.line.path_and_query()))
}

/// What the ledger says of a connection.
struct OnRecord {
    permitted: usize,
    masked: bool,
}

/// Serves an agent that sends these bytes over HTTP/2, in parts of this size, after the preface (RFC 9113, 3.4). What
/// reaches the server is permitted, on record, and in the credential's place has its value or nothing. Returns how many
/// requests did; none where there is no connection.
pub(crate) async fn agent_over_http2(bytes: &[u8], size: usize) -> Option<usize> {
    let inside = INSIDE.with(Clone::clone)?;
    let session = inside.session();
    let (server, to_server) = duplex(ROOM);
    let arrived = Rc::<Arrived>::default();
    tokio::task::spawn_local(reflect(server, Rc::clone(&arrived)));
    let place = inside.gate.limits.inspecting(1).ok()?;
    session.pool.speak_two((to_server, place), &session.tasks).await.ok()?;
    let (agent, gate) = duplex(ROOM);
    let (mut answers, mut asks) = tokio::io::split(agent);
    let speak = async {
        for part in std::iter::once(PREFACE).chain(bytes.chunks(size)) {
            if asks.write_all(part).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        drop(asks.shutdown().await);
    };
    let mut heard = Vec::new();
    let hear = async { drop(answers.read_to_end(&mut heard).await) };
    let served = async { drop(serve::two(&session, gate).await) };
    tokio::join!(speak, hear, served);
    silent(&heard);
    let permitted = inside.end(session).await.permitted;
    let (all, well) = (arrived.all.get(), arrived.well.get());
    assert_eq!(all, well, "one arrived that should not have");
    assert!(all <= permitted, "{all} requests arrived, and {permitted} were permitted");
    Some(all)
}

/// Requests that reached the server, and those among them that should. What panics in the server's task is heard by nobody.
#[derive(Default)]
struct Arrived {
    all: Cell<usize>,
    well: Cell<usize>,
}

/// A server that says back what it was sent, the credential's value included.
async fn reflect(server: DuplexStream, arrived: Rc<Arrived>) {
    let service = service_fn(|request: http::Request<Incoming>| {
        let arrived = Rc::clone(&arrived);
        async move {
            let (head, body) = request.into_parts();
            arrived.all.set(arrived.all.get() + 1);
            arrived_well(&head);
            arrived.well.set(arrived.well.get() + 1);
            let key = head.headers.get("x-api-key").map(|key| Bytes::copy_from_slice(key.as_bytes()));
            // One that breaks off has no answer.
            let body = body.collect().await?.to_bytes();
            let mut response = Response::new(Full::<Bytes>::from([key.unwrap_or_default(), body].concat()));
            *response.status_mut() = StatusCode::CREATED;
            Ok::<_, hyper::Error>(response)
        }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(super::session::Tasks::default());
    drop(builder.auto_date_header(false).serve_connection(TokioIo::new(server), service).await);
}

fn arrived_well(head: &http::request::Parts) {
    assert!(["GET", "HEAD", "POST"].contains(&head.method.as_str()), "{}", head.method);
    assert!(head.uri.path().starts_with("/public"), "{}", head.uri);
    assert!(!head.uri.path().contains("/../"), "{}", head.uri);
    assert_eq!(head.uri.authority().map(http::uri::Authority::as_str), Some(HOST));
    let mut keys = head.headers.get_all("x-api-key").iter();
    assert!(keys.all(|key| key.as_bytes() == REAL.as_bytes()), "{:?}", head.headers);
}

/// What an agent heard of an answer: all of it; none where it broke off, or is a fault of the server's. Which fault depends on
/// when it is noticed: a head that no rule of HTTP permits and that does not end is either, and is asked for once more as what
/// was never begun.
type Heard = Option<(StatusCode, HeaderMap, Bytes)>;

/// Has a server answer a request, and a second one after it, with these bytes over HTTP/1.1, in parts of this size. Returns
/// the first answer, as the agent hears it. Whatever is heard, the credential's value is not in it. Of a body with masks in it
/// only the length is kept: how many of the first bytes of a value are masked depends on where a part ends ([`crate::credential`]).
pub(crate) async fn server_over_http1(bytes: &[u8], size: usize, method: &str) -> Heard {
    let inside = INSIDE.with(Clone::clone)?;
    let session = inside.session();
    let (server, to_server) = duplex(ROOM);
    let place = inside.gate.limits.inspecting(1).ok()?;
    let one = upstream::speak_one((to_server, place), &session.tasks).await.ok()?;
    session.pool.keep(one);
    let (agent, gate) = duplex(ROOM);
    let serve = async { drop(serve::one(&session, gate).await) };
    let ask = async {
        let opened = hyper::client::conn::http1::handshake(TokioIo::new(agent)).await;
        let (mut asks, answers) = opened.ok()?;
        let ask = async {
            let ask = |path: &str| {
                let ask = http::Request::builder().method(method).uri(path).header("host", HOST);
                ask.header("x-api-key", &inside.placeholder).body(Empty::<Bytes>::new()).ok()
            };
            let first = heard(asks.send_request(ask("/public/first")?).await).await;
            if asks.ready().await.is_ok() {
                drop(heard(asks.send_request(ask("/public/second")?).await).await);
            }
            // Hanging up ends the connection.
            drop(asks);
            first
        };
        let (first, _gone) = tokio::join!(ask, answers);
        first
    };
    let (first, (), ()) = tokio::join!(ask, serve, recite(server, bytes, size));
    let masked = inside.end(session).await.masked;
    first.filter(|(status, ..)| *status != StatusCode::BAD_GATEWAY).map(|(status, headers, body)| {
        let body = if masked { body.len().to_string().into() } else { body };
        (status, headers, body)
    })
}

/// A server that waits for a head, and says what it has to say whatever was asked.
async fn recite(mut server: DuplexStream, bytes: &[u8], size: usize) {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        if server.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {
            continue;
        }
        return;
    }
    let (mut more, mut answers) = tokio::io::split(server);
    let say = async {
        for part in bytes.chunks(size) {
            if answers.write_all(part).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        drop(answers.shutdown().await);
    };
    let mut nowhere = tokio::io::sink();
    let listen = async { drop(tokio::io::copy(&mut more, &mut nowhere).await) };
    tokio::join!(say, listen);
}

async fn heard(answer: hyper::Result<Response<Incoming>>) -> Heard {
    let (head, mut body) = answer.ok()?.into_parts();
    for (name, value) in &head.headers {
        silent(name.as_str().as_bytes());
        silent(value.as_bytes());
    }
    if let Some(reason) = head.extensions.get::<hyper::ext::ReasonPhrase>() {
        silent(reason.as_bytes());
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            silent(&whole);
            return None;
        };
        if let Ok(part) = frame.into_data() {
            whole.extend_from_slice(&part);
        }
    }
    silent(&whole);
    Some((head.status, head.headers, whole.into()))
}

/// The value is not in it.
fn silent(bytes: &[u8]) {
    assert!(memchr::memmem::find(bytes, REAL.as_bytes()).is_none(), "the value came through");
}

/// What either side may write ahead.
const ROOM: usize = 64 * 1024;
/// The client's preface, and the settings that must follow it: none.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
