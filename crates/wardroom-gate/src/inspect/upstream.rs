//! The server's side: connections that were dialled for a recorded request, verified, and kept for the next ones of the same
//! agent's connection. None is ever shared between two connections of an agent, or two agents.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::iter::successors;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wardroom_model::{Outcome, Reason, Verdict};
use wardroom_scribe::Receipt;

use super::accept::H2;
use super::body::Out;
use super::frames::{Allowance, Frames, Peer};
use super::limits::{
    HANDSHAKE_TIME, HEAD, HEAD_LIST, INTERIM, KEPT, RESET_HERE, SEND, TLS_BUFFER, WINDOW_OUT, WINDOW_OUT_ALL,
};
use super::roots::{Speech, unverified};
use super::session::{Session, Tasks};
use crate::attempt::permitted;
use crate::dial::dial;
use crate::limits::Place;

/// A server's end of a connection. In a box, because it is moved through every layer above it.
pub(super) type Server = Box<TlsStream<TcpStream>>;

/// The connections to the server of one agent's connection.
#[derive(Debug)]
pub(super) struct Pool {
    two: RefCell<Option<http2::SendRequest<Out>>>,
    one: RefCell<Vec<http1::SendRequest<Out>>>,
    /// The agent has several requests at once, so one that is in use is not waited for.
    pub(super) streams: Cell<bool>,
    /// The server speaks HTTP/1.1 only: connections are opened side by side.
    only_one: Cell<bool>,
    /// What the server may still send over HTTP/2 that moves nothing.
    pub(super) idle_frames: Rc<Allowance>,
    /// Until it is known what the server speaks, one dials and the others wait.
    dialling: Mutex<()>,
}

/// The use of a connection for one request.
#[derive(Debug)]
pub(super) enum Lease {
    One(http1::SendRequest<Out>),
    Two(http2::SendRequest<Out>),
}

/// A request that could not be sent.
pub(super) enum Unsent {
    /// Nothing of it left: the connection had been closed meanwhile.
    Untouched(Box<Request<Out>>),
    /// The connection is gone, and nothing of an answer had come: nobody knows what the server did.
    Lost(Reason),
    Broken(Reason),
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            two: RefCell::default(),
            one: RefCell::default(),
            streams: Cell::default(),
            only_one: Cell::default(),
            idle_frames: Allowance::new(),
            dialling: Mutex::new(()),
        }
    }

    pub(super) fn clear(&self) {
        self.two.take();
        self.one.take();
    }

    /// A connection that is free, or a new one on the strength of this record.
    pub(super) async fn lease(
        &self,
        session: &Rc<Session>,
        receipt: &mut Option<Receipt>,
    ) -> Result<Lease, Verdict> {
        if let Some(two) = self.open_two() {
            return Ok(two);
        }
        let waiting = if self.only_one.get() { None } else { Some(self.dialling.lock().await) };
        if let Some(two) = self.open_two() {
            return Ok(two);
        }
        if let Some(one) = self.free_one().await {
            return Ok(Lease::One(one));
        }
        let Some(receipt) = receipt.take() else {
            return Err(failed(Reason::Unreachable("closed before the request was sent".to_owned())));
        };
        // In a box of its own: most requests need none of it.
        let (server, place) = Box::pin(connect(session, receipt, Speech::Any)).await?;
        let two = server.get_ref().1.alpn_protocol() == Some(H2);
        let lease = if two {
            Lease::Two(Box::pin(self.speak_two((server, place), &session.tasks)).await.map_err(failed)?)
        } else {
            self.only_one.set(true);
            Lease::One(Box::pin(speak_one((server, place), &session.tasks)).await.map_err(failed)?)
        };
        drop(waiting);
        Ok(lease)
    }

    /// HTTP/2 with the server, over whatever carries it, for this request and the next ones. It keeps its place until it ends.
    pub(super) async fn speak_two<S>(
        &self,
        (server, place): (S, Place),
        tasks: &Tasks,
    ) -> Result<http2::SendRequest<Out>, Reason>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut builder = http2::Builder::new(tasks.clone());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_OUT)
            .initial_connection_window_size(WINDOW_OUT_ALL)
            .max_header_list_size(HEAD_LIST)
            .max_send_buf_size(SEND)
            .max_local_error_reset_streams(RESET_HERE);
        let server = Frames::new(server, Peer::Server, Rc::clone(&self.idle_frames));
        let (two, connection) = builder.handshake(TokioIo::new(server)).await.map_err(|e| broken(&e))?;
        tasks.start(kept(connection, place));
        *self.two.borrow_mut() = Some(two.clone());
        Ok(two)
    }

    fn open_two(&self) -> Option<Lease> {
        let mut two = self.two.borrow_mut();
        if two.as_ref().is_some_and(http2::SendRequest::is_closed) {
            *two = None;
        }
        two.as_ref().map(|two| Lease::Two(two.clone()))
    }

    /// Keeps a connection for the next request. The oldest goes where there are too many: once it is not in use, that closes it.
    pub(super) fn keep(&self, one: http1::SendRequest<Out>) {
        let mut kept = self.one.borrow_mut();
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push(one);
    }

    /// A connection whose last answer is over, or about to be.
    async fn free_one(&self) -> Option<http1::SendRequest<Out>> {
        loop {
            let next = {
                let mut one = self.one.borrow_mut();
                one.retain(|one| !one.is_closed());
                let ready = one.iter().position(http1::SendRequest::is_ready);
                match ready {
                    Some(ready) => return Some(one.swap_remove(ready)),
                    None if self.streams.get() => return None,
                    None => one.pop(),
                }
            };
            let mut next = next?;
            if next.ready().await.is_ok() {
                return Some(next);
            }
        }
    }
}

impl Lease {
    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        self,
        session: &Session,
        mut request: Request<Out>,
    ) -> Result<Response<Incoming>, Unsent> {
        let flood = Flood::watch(&mut request);
        match self {
            Self::One(mut one) => {
                address_one(&mut request);
                let answer = flood.guard(one.try_send_request(request)).await.map_err(Unsent::Broken)?;
                session.pool.keep(one);
                answer.map_err(|error| unsent(error, &flood))
            }
            Self::Two(mut two) => {
                address_two(&mut request, session);
                let answer = flood.guard(two.try_send_request(request)).await.map_err(Unsent::Broken)?;
                answer.map_err(|error| unsent(error, &flood))
            }
        }
    }
}

fn unsent(mut error: hyper::client::conn::TrySendError<Request<Out>>, flood: &Flood) -> Unsent {
    match error.take_message() {
        Some(request) => Unsent::Untouched(Box::new(request)),
        None if lost(error.error()) && flood.is_silent() => Unsent::Lost(broken(error.error())),
        None => Unsent::Broken(broken(error.error())),
    }
}

/// Whether the connection ended, rather than the server saying something wrong.
fn lost(error: &hyper::Error) -> bool {
    let below = causes(error).any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(is_gone) || cause.downcast_ref().is_some_and(is_unseen)
    });
    below || error.is_incomplete_message() || error.is_closed() || error.is_canceled()
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

/// Whether an HTTP/2 server says that it has done nothing with the request (RFC 9113, 8.7): it refused the stream, or leaves
/// without a fault, and the request came behind the last one that it looks at.
fn is_unseen(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && ((error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
            || (error.is_go_away() && reason == Some(h2::Reason::NO_ERROR)))
}

/// HTTP/1.1 names the path alone, and the host in its header. A body of a length that nobody knows is sent in chunks: the library
/// does so by itself for methods that usually have one, and leaves it out for GET and HEAD.
pub(super) fn address_one(request: &mut Request<Out>) {
    *request.version_mut() = Version::HTTP_11;
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = target.map(Uri::from).unwrap_or_default();
    if request.body().size_hint().exact().is_none() {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// HTTP/2 names everything in the target.
fn address_two(request: &mut Request<Out>, session: &Session) {
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(HOST);
    // From a connection of HTTP/1.1 that closed before it was sent.
    request.headers_mut().remove(TRANSFER_ENCODING);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let whole = format!("https://{}{target}", authority(session));
    if let Ok(uri) = whole.try_into() {
        *request.uri_mut() = uri;
    }
}

/// The host as requests name it: with the port where it is not the usual one.
pub(super) fn authority(session: &Session) -> String {
    match session.port {
        443 => session.host.to_string(),
        port => format!("{}:{port}", session.host),
    }
}

/// Counts interim answers, and gives up on a server that sends them without end.
pub(super) struct Flood(Arc<(AtomicU32, Notify)>);

impl Flood {
    pub(super) fn watch(request: &mut Request<Out>) -> Self {
        let seen = Arc::new((AtomicU32::new(0), Notify::new()));
        let counted = Arc::clone(&seen);
        hyper::ext::on_informational(request, move |_interim| {
            if counted.0.fetch_add(1, Ordering::Relaxed) >= INTERIM {
                counted.1.notify_one();
            }
        });
        Self(seen)
    }

    /// Whether nothing has come yet.
    fn is_silent(&self) -> bool {
        self.0.0.load(Ordering::Relaxed) == 0
    }

    pub(super) async fn guard<T>(&self, answer: impl Future<Output = T>) -> Result<T, Reason> {
        tokio::select! {
            // Where both came at once, it is not chance that decides.
            biased;
            () = self.0.1.notified() => {
                Err(Reason::UpstreamProtocol(format!("more than {INTERIM} interim answers")))
            }
            answer = answer => Ok(answer),
        }
    }
}

/// Dials the server for a recorded request, and makes sure that it is the one. The place is the connection's among all.
pub(super) async fn connect(
    session: &Session,
    receipt: Receipt,
    speech: Speech,
) -> Result<(Server, Place), Verdict> {
    let gate = &session.gate;
    let policy = gate.policy();
    let permit = permitted(session.attempt.decide(&policy))?;
    let because = |reason| Verdict { rule: permit.verdict().rule.clone(), ..failed(reason) };
    let place = gate.limits.inspecting(policy.connections());
    let place = place.map_err(|reached| because(Reason::LimitReached(reached.to_string())))?;
    let config = gate.inspector.roots.config(permit.authorities(), speech).map_err(because)?;
    let name = ServerName::try_from(session.host.as_str().to_owned());
    let name = name.map_err(|e| because(Reason::FailedClosed(e.to_string())))?;
    let dialled = dial(permit.clone(), receipt, &policy, &gate.outside, &gate.limits).await;
    gate.alarm();
    let (tcp, remote) = dialled?;
    session.traffic.remote.set(Some(remote));
    let connector = TlsConnector::from(config);
    let handshake = connector.connect_with(name, tcp, |tls| tls.set_buffer_limit(Some(TLS_BUFFER)));
    match timeout(HANDSHAKE_TIME, handshake).await {
        Ok(Ok(server)) => Ok((Box::new(server), place)),
        Ok(Err(error)) => Err(because(unverified(&error))),
        Err(_elapsed) => Err(because(Reason::TooSlow)),
    }
}

/// HTTP/1.1 with a server, over whatever carries it. It keeps its place until it ends.
pub(super) async fn speak_one<S>(
    (server, place): (S, Place),
    tasks: &Tasks,
) -> Result<http1::SendRequest<Out>, Reason>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    let opened = builder.max_buf_size(HEAD).handshake(TokioIo::new(server)).await;
    let (one, connection) = opened.map_err(|e| broken(&e))?;
    tasks.start(kept(connection, place));
    Ok(one)
}

/// A connection in its place until it ends. How it ends is told to whoever waits for an answer.
async fn kept(connection: impl Future, place: Place) {
    drop(connection.await);
    drop(place);
}

fn failed(reason: Reason) -> Verdict {
    let ours = matches!(reason, Reason::FailedClosed(_) | Reason::LimitReached(_));
    let outcome = if ours { Outcome::Refused } else { Outcome::Failed };
    Verdict { outcome, reason, rule: None }
}

/// What lies below an error of the library, from the top.
pub(super) fn causes(error: &hyper::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source())
}

/// What a server did wrong, in the words of the library and of what lies below.
pub(super) fn broken(error: &hyper::Error) -> Reason {
    let mut words = error.to_string();
    for cause in causes(error) {
        if let Some(lost) = cause.downcast_ref::<io::Error>()
            && lost.get_ref().is_none()
        {
            return Reason::Unreachable(lost.to_string());
        }
        words = format!("{words}: {}", in_our_words(cause));
    }
    Reason::UpstreamProtocol(words)
}

/// An error without what the server said of it: the data of a GOAWAY may be whatever it was sent, a credential's value too.
fn in_our_words(cause: &(dyn Error + 'static)) -> String {
    let within = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let h2 = within.map_or_else(|| cause.downcast_ref(), |inner| inner.downcast_ref::<h2::Error>());
    match h2.and_then(|error: &h2::Error| Some((error, error.reason()?))) {
        Some((error, code)) if error.is_go_away() => format!("connection ended: {code}"),
        Some((_, code)) => format!("stream ended: {code}"),
        None => cause.to_string(),
    }
}
