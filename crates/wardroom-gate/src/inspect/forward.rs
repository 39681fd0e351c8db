//! One request's life: what it asks, what the policy says now, whose credential it carries, the record, the server, the answer.
//!
//! The order is the promise: nothing of a request leaves before it is decided and on record, and a real credential goes in
//! last, over a connection whose server has been verified.

use std::rc::Rc;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri, Version, request};
use http_body::Body;
use hyper::body::Incoming;
use wardroom_model::Reason;
use wardroom_model::request::{RequestDecision as Decided, RequestPhase};
use wardroom_policy::{RequestDecision, RequestLine, RequestPermit};
use wardroom_scribe::Receipt;

use super::body::{Answer, Cut, Out, Source};
use super::flight::{Flight, event};
use super::refusal::{self, Named};
use super::request::{self as asking, Asking};
use super::session::Session;
use super::upstream::{Unsent, authority};
use super::{headers, upgrade};
use crate::credential::{Asked, Refusal};

/// Answers a request. An error means that nothing can be recorded any more: no answer at all.
pub(super) async fn answer(
    session: Rc<Session>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Cut> {
    session.requests.set(session.requests.get() + 1);
    let (mut head, body) = request.into_parts();
    let (flight, receipt, upgrading) = match admit(&session, &mut head) {
        Ok(Some(admitted)) => admitted,
        Ok(None) => return Err(Cut),
        Err(refused) => return refuse(&session, &head, &refused),
    };
    let carried = tokio::select! {
        biased;
        () = flight.ended_early() => Err(None),
        answer = carry(&session, &flight, receipt, Request::from_parts(head, body), upgrading) => answer.map_err(Some),
    };
    carried.or_else(|refusal| {
        if let Some(refusal) = refusal {
            flight.refuse(refusal);
        }
        let why = flight.why().ok_or(Cut)?;
        Ok(refusal::answer(&session, flight.named(), &why))
    })
}

type Admitted = Option<(Rc<Flight>, Receipt, bool)>;

/// Decides a request and puts it on record. An error is a refusal that is yet to be recorded; none means that there is no
/// record any more.
fn admit(session: &Rc<Session>, head: &mut request::Parts) -> Result<Admitted, Refusal> {
    let asking = asking::read(head, &session.host, session.port)?;
    let permit = decide(session, &asking)?;
    let upgrading = asking.upgrade;
    let target = asking.line.path_and_query().parse::<PathAndQuery>();
    let target =
        target.map_err(|e| asking::refused(StatusCode::BAD_REQUEST, Reason::Malformed(e.to_string())))?;
    let asked = Asked { host: &session.host, port: session.port, actor: session.attempt.actor.as_ref() };
    head.uri = Uri::from(target);
    let exchange = session.gate.credentials.admit(asked, head)?;
    let Some((flight, receipt)) = Flight::begin(session, asking, &permit, exchange) else { return Ok(None) };
    Ok(Some((flight, receipt, upgrading)))
}

/// What the policy in force now says about the request, and about the one that an override header makes of it.
fn decide(session: &Session, asking: &Asking) -> Result<RequestPermit, Refusal> {
    let policy = session.gate.policy();
    let one = |line: &RequestLine| match session.decide(&policy, line) {
        RequestDecision::Permit(permit) => Ok(permit),
        RequestDecision::Denial(verdict) => Err(refusal::by(verdict)),
    };
    asking.overridden.as_ref().map_or(Ok(()), |line| one(line).map(drop))?;
    one(&asking.line)
}

/// Records a refusal, and answers with it. Nothing more of the request is read than has come already.
fn refuse(session: &Session, head: &request::Parts, refused: &Refusal) -> Result<Response<Answer>, Cut> {
    let line = asking::line(head);
    let phase = RequestPhase::Decided(Decided { verdict: (*refused.verdict).clone(), credential: None });
    let id = session.gate.connection_id();
    let refusal = event(session, id, &line, line.shown(false), phase);
    session.gate.recorder.record(&refusal).ok_or(Cut)?;
    let overridden = asking::is_overridden(head);
    Ok(refusal::answer(session, Named { method: line.method(), path: line.path(), overridden }, refused))
}

/// Sends a permitted and recorded request to the server.
async fn carry(
    session: &Rc<Session>,
    flight: &Rc<Flight>,
    receipt: Receipt,
    request: Request<Incoming>,
    upgrading: bool,
) -> Result<Response<Answer>, Refusal> {
    let (mut head, body) = request.into_parts();
    headers::outgoing(&mut head.headers);
    let host = HeaderValue::try_from(authority(session));
    let host = host.map_err(|e| refusal::failed(Reason::FailedClosed(e.to_string())))?;
    head.headers.insert(HOST, host);
    let mut out = Out { inner: Source::Flowing(body), flight: Rc::clone(flight) };
    if flight.needs_digest(&head) {
        flight.digested(out.collect().await?);
    }
    let answer = if upgrading {
        Box::pin(upgrade::send(session, flight, receipt, (head, out))).await?
    } else {
        send(session, flight, receipt, (head, out)).await?
    };
    let (mut head, body) = answer.into_parts();
    flight.answered(&mut head)?;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return upgrade::begin(session, head);
    }
    headers::incoming(&mut head.headers);
    // Each side speaks its own version; an old server's is not the gate's.
    head.version = Version::HTTP_11;
    if upgrading {
        // What comes behind a refused upgrade is nobody's: not a request, and not a WebSocket.
        head.headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    let sized = head.headers.contains_key(CONTENT_LENGTH);
    Ok(Response::from_parts(head, Answer::carried(body, Rc::clone(flight), sized)))
}

/// Over a connection that is kept, or a new one.
async fn send(
    session: &Rc<Session>,
    flight: &Rc<Flight>,
    receipt: Receipt,
    (mut head, out): (request::Parts, Out),
) -> Result<Response<Incoming>, Refusal> {
    let mut receipt = Some(receipt);
    let mut lease = session.pool.lease(session, &mut receipt).await.map_err(refusal::by)?;
    flight.insert(&mut head)?;
    // As long as this request's record has not dialled, the connection is one that was kept.
    let mut second = receipt.is_some().then(|| repeatable(flight, &head, &out)).flatten();
    let mut request = Request::from_parts(head, out);
    loop {
        request = match (lease.send(session, request).await, second.take()) {
            (Ok(answer), _) => return Ok(answer),
            // The server closed a kept connection just now. The others may be just as dead.
            (Err(Unsent::Lost(_)), Some(again)) => {
                session.pool.clear();
                again
            }
            (Err(Unsent::Untouched(unsent)), again) => {
                second = again;
                *unsent
            }
            (Err(Unsent::Lost(reason) | Unsent::Broken(reason)), _) => return Err(refusal::failed(reason)),
        };
        lease = session.pool.lease(session, &mut receipt).await.map_err(refusal::by)?;
    }
}

/// The same request once more, where doing it twice is as good as once (RFC 9110, 9.2.2) and there is no body to be gone.
fn repeatable(flight: &Rc<Flight>, head: &request::Parts, out: &Out) -> Option<Request<Out>> {
    let again = || Out { inner: Source::Collected(None), flight: Rc::clone(flight) };
    (head.method.is_idempotent() && out.is_end_stream()).then(|| Request::from_parts(head.clone(), again()))
}
