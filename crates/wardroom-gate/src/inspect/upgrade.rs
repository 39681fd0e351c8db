//! WebSockets: a pipe between agent and server, once the server has said 101 and not before.
//!
//! The bytes to the server are counted and not looked at, since an agent's frames are scrambled (RFC 6455, 5.3); in those to
//! the agent a credential is masked, in as many bytes as it has. A credential's limit of bytes holds both ways. Each has a connection to the server of its own.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Request, Response, request, response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::oneshot;
use wardroom_model::Reason;
use wardroom_scribe::Receipt;

use super::body::{Answer, Cut, Out};
use super::flight::Flight;
use super::limits::{HEAD, PIECE};
use super::messages::Messages;
use super::refusal;
use super::roots::Speech;
use super::session::Session;
use super::upstream::{Flood, Server, address_one, broken, connect};
use crate::credential::Refusal;
use crate::limits::Place;

/// A WebSocket that has been agreed on.
#[derive(Debug)]
pub(super) struct Upgraded {
    flight: Rc<Flight>,
    server: oneshot::Receiver<(Server, Place, Bytes)>,
}

/// Asks the server for a WebSocket, over a connection that is for nothing else.
pub(super) async fn send(
    session: &Rc<Session>,
    flight: &Rc<Flight>,
    receipt: Receipt,
    (mut head, out): (request::Parts, Out),
) -> Result<Response<Incoming>, Refusal> {
    let (server, place) = connect(session, receipt, Speech::One).await.map_err(refusal::by)?;
    let opened = http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(server)).await;
    let (mut one, connection) = opened.map_err(|e| refusal::failed(broken(&e)))?;
    let (upgraded, pipe) = oneshot::channel();
    session.tasks.start(async move {
        // An error is told to whoever waits for the answer; nobody waits when the agent has left.
        if let Ok(parts) = connection.without_shutdown().await {
            drop(upgraded.send((parts.io.into_inner(), place, parts.read_buf)));
        }
    });
    head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    flight.insert(&mut head)?;
    let mut request = Request::from_parts(head, out);
    address_one(&mut request);
    let flood = Flood::watch(&mut request);
    let answer = flood.guard(one.send_request(request)).await.map_err(refusal::failed)?;
    let answer = answer.map_err(|e| refusal::failed(broken(&e)))?;
    if answer.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        *session.upgraded.borrow_mut() = Some(Upgraded { flight: Rc::clone(flight), server: pipe });
    }
    Ok(answer)
}

/// Passes a 101 on. What it switches to must be what was asked for.
pub(super) fn begin(session: &Session, mut head: response::Parts) -> Result<Response<Answer>, Refusal> {
    let websocket =
        head.headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !websocket || session.upgraded.borrow().is_none() {
        session.upgraded.take();
        return Err(refusal::failed(Reason::UpstreamProtocol("an upgrade that nobody asked for".to_owned())));
    }
    super::headers::incoming(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    Ok(Response::from_parts(head, Answer::own(Bytes::new())))
}

impl Upgraded {
    /// Moves bytes both ways until both sides have finished, or it is cut.
    pub(super) async fn carry<A: AsyncRead + AsyncWrite>(self, agent: A, early: Bytes) {
        let Self { flight, server } = self;
        let Ok((server, _place, first)) = server.await else { return };
        let (mut from_agent, mut to_agent) = split(agent);
        let (mut from_server, mut to_server) = split(server);
        let out = pump(&mut from_agent, &mut to_server, early, |part| flight.scrambled(part), Bytes::new);
        let mut messages = Messages::default();
        let masked = |part: Bytes| {
            let whole = messages.end_with(&part);
            let passed = flight.incoming(part)?;
            // Nothing that comes later belongs to a message that is whole.
            Ok(if whole { flight.finish(passed) } else { passed })
        };
        let back = pump(&mut from_server, &mut to_agent, first, masked, || flight.finish(Bytes::new()));
        tokio::select! {
            biased;
            () = flight.ended_early() => {}
            ended = async { tokio::try_join!(out, back) } => match ended {
                Ok(((), ())) => flight.completed(),
                Err(error) => flight.fail(Reason::Unreachable(error.to_string())),
            },
        }
    }
}

/// Passes parts on until there are no more, and then `rest`, what was held back of them: also where the connection breaks off,
/// for a message of a WebSocket says itself where it ends.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    first: Bytes,
    mut pass: impl FnMut(Bytes) -> Result<Bytes, Cut>,
    rest: impl FnOnce() -> Bytes,
) -> std::io::Result<()> {
    let mut part = first;
    let mut piece = vec![0; PIECE];
    let ended = loop {
        if !part.is_empty() {
            let passed = pass(part).map_err(std::io::Error::other)?;
            to.write_all(&passed).await?;
            to.flush().await?;
        }
        match from.read(&mut piece).await {
            Ok(0) => break Ok(()),
            Ok(length) => part = Bytes::copy_from_slice(piece.get(..length).unwrap_or_default()),
            Err(error) => break Err(error),
        }
    };
    to.write_all(&rest()).await?;
    to.flush().await?;
    ended?;
    to.shutdown().await
}
