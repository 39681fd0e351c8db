//! HTTP towards the agent, in the version that its handshake chose. Each request is answered by itself ([`super::forward`]).

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use wardroom_model::Reason;

use super::accept::{Agent, H2};
use super::body::Cut;
use super::forward::answer;
use super::frames::{Frames, Peer, too_many};
use super::limits::{HEAD, HEAD_LIST, RESET_HERE, RESET_UNSEEN, SEND, STREAMS, WINDOW_IN, WINDOW_IN_ALL};
use super::session::Session;
use super::upstream::causes;

/// What saying good-bye may take: a record into a socket's buffer.
const CLOSING: Duration = Duration::from_secs(1);

/// Serves a connection's requests until the agent has no more. An error is what the agent did wrong.
pub(super) async fn serve(session: &Rc<Session>, agent: Agent) -> Result<(), Reason> {
    if agent.get_ref().1.alpn_protocol() == Some(H2) {
        two(session, agent).await
    } else {
        one(session, agent).await
    }
}

/// HTTP/1.1, over whatever carries it.
pub(super) async fn one<A: AsyncRead + AsyncWrite + Unpin>(
    session: &Rc<Session>,
    agent: A,
) -> Result<(), Reason> {
    let service = service_fn(|request| answer(Rc::clone(session), request));
    let mut builder = http1::Builder::new();
    // No timer: who is too slow is seen once a round ([`super::pace`]).
    builder.header_read_timeout(None).max_buf_size(HEAD).auto_date_header(false);
    let connection = builder.serve_connection(TokioIo::new(agent), service);
    let parts = match connection.without_shutdown().await {
        Ok(parts) => parts,
        Err(error) => return fault(&error),
    };
    let mut agent = parts.io.into_inner();
    let upgraded = session.upgraded.take();
    match upgraded {
        Some(upgraded) => Box::pin(upgraded.carry(agent, parts.read_buf)).await,
        // The agent may be gone already; whoever is not hears a proper end.
        None => drop(timeout(CLOSING, agent.shutdown()).await),
    }
    Ok(())
}

/// HTTP/2, over whatever carries it.
pub(super) async fn two<A: AsyncRead + AsyncWrite + Unpin + 'static>(
    session: &Rc<Session>,
    agent: A,
) -> Result<(), Reason> {
    session.pool.streams.set(true);
    let service = service_fn(|request| answer(Rc::clone(session), request));
    let mut builder = http2::Builder::new(session.tasks.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_local_error_reset_streams(RESET_HERE)
        .max_header_list_size(HEAD_LIST)
        .max_send_buf_size(SEND)
        .initial_stream_window_size(WINDOW_IN)
        .initial_connection_window_size(WINDOW_IN_ALL)
        .auto_date_header(false);
    let agent = Frames::new(agent, Peer::Agent, Rc::clone(&session.idle_frames));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(agent), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = session.leaving.notified() => {
            // GOAWAY: what is on its way is answered, and nothing more begins (RFC 9113, 6.8).
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if session.idle_frames.is_spent() {
        return Err(Reason::LimitReached(too_many()));
    }
    ended.map_or_else(|error| fault(&error), Ok)
}

/// What an agent's connection ended with. One that is just closed is no fault.
fn fault(error: &hyper::Error) -> Result<(), Reason> {
    let mut words = error.to_string();
    for cause in causes(error) {
        // It is on its request's record.
        if cause.is::<Cut>() {
            return Ok(());
        }
        words = format!("{words}: {cause}");
    }
    if error.is_parse() || error.is_parse_too_large() || broke_http2(&words) {
        Err(Reason::Malformed(words))
    } else {
        Ok(())
    }
}

/// Whether the connection was ended for what the agent did, and not by the agent: the library says which, in words alone.
fn broke_http2(words: &str) -> bool {
    words.contains("http2 error") && !words.contains("received")
}
