//! What the gate itself answers: a refusal of Wardroom's with the remedy, or a fault of the server's.
//!
//! A program can tell the two apart by the word in `error.type`, and neither from a fault of the network. Nothing of a
//! request's query or body comes back.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;
use wardroom_model::{Outcome, Reason, Verdict};
use wardroom_policy::{RequestLine, allow_command};

use super::body::Answer;
use super::session::Session;
use crate::clock::unix_now;
use crate::credential::Refusal;

/// Marks an answer as Wardroom's own.
const REFUSED: HeaderName = HeaderName::from_static("wardroom-refused");

/// A request as its answer and its record name it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Whether a header asks for another method.
    pub(super) overridden: bool,
}

/// A verdict with the status that says it.
pub(super) fn by(verdict: Verdict) -> Refusal {
    let status = if matches!(verdict.reason, Reason::LimitReached(_)) {
        // It passes by itself, and no rule more would help.
        StatusCode::SERVICE_UNAVAILABLE
    } else if verdict.outcome == Outcome::Refused {
        StatusCode::FORBIDDEN
    } else if verdict.reason == Reason::TooSlow {
        StatusCode::GATEWAY_TIMEOUT
    } else {
        StatusCode::BAD_GATEWAY
    };
    Refusal { verdict: Box::new(verdict), status, retry_after: None }
}

/// A fault that is not Wardroom's.
pub(super) fn failed(reason: Reason) -> Refusal {
    let ours = matches!(reason, Reason::FailedClosed(_));
    let outcome = if ours { Outcome::Refused } else { Outcome::Failed };
    by(Verdict { outcome, reason, rule: None })
}

/// The answer to a request that is refused, or that came to nothing. Its record has been made, or is about to be.
pub(super) fn answer(session: &Session, named: Named<'_>, why: &Refusal) -> Response<Answer> {
    if why.verdict.outcome == Outcome::Refused {
        refusal(session, named, why)
    } else {
        fault(session, named, why)
    }
}

fn refusal(session: &Session, named: Named<'_>, refused: &Refusal) -> Response<Answer> {
    let Refusal { verdict, status, retry_after } = refused;
    let Named { method, path, overridden } = named;
    let host = session.host.as_str();
    // What was refused may be the other method, and this one is permitted already.
    let remediable = remedy(&verdict.reason) && !overridden;
    // A path that would be a pattern, or that servers read in more than one way, gets no command that permits more.
    let line = RequestLine::new(method, path);
    let remedy = remediable
        .then(|| allow_command(session.agent(), &session.host, session.port, Some(&line)))
        .flatten();
    let body = json!({ "error": {
        "type": "wardroom_refused",
        "message": format!("Wardroom refused {method} {path} on {host}: {}", verdict.reason),
        "reason": verdict.reason.to_string(),
        "rule": verdict.rule.as_ref().map(ToString::to_string),
        "host": host,
        "method": method,
        "path": path,
        "allow": remedy,
        "retry_after": retry_after,
        "reset": retry_after.map(|seconds| unix_now() + seconds),
    }});
    let mut answer = written(*status, &body);
    answer.headers_mut().insert(REFUSED, HeaderValue::from_static("1"));
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
    }
    answer
}

fn fault(session: &Session, named: Named<'_>, why: &Refusal) -> Response<Answer> {
    let Named { method, path, overridden: _ } = named;
    let host = session.host.as_str();
    let reason = why.verdict.reason.to_string();
    let body = json!({ "error": {
        "type": "wardroom_upstream",
        "message": format!("{method} {path} on {host} was permitted and failed: {reason}"),
        "reason": reason,
        "host": host,
        "method": method,
        "path": path,
    }});
    written(why.status, &body)
}

/// What is said to a program that speaks without TLS where TLS is expected, and then closed.
pub(crate) fn not_tls() -> Vec<u8> {
    let body = json!({ "error": {
        "type": "wardroom_refused",
        "message": "Wardroom refused this connection: it must be TLS",
        "reason": Reason::NotTls.to_string(),
    }})
    .to_string();
    format!(
        "HTTP/1.1 400 Bad Request\r\n{CONTENT_TYPE}: application/json\r\n{CONTENT_LENGTH}: {}\r\n{REFUSED}: 1\r\n\
         {CONNECTION}: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn written(status: StatusCode, body: &serde_json::Value) -> Response<Answer> {
    let mut answer = Response::new(Answer::own(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Whether a rule more would have permitted it.
fn remedy(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::NoRule | Reason::MethodNotNamed(_) | Reason::PathNotNamed | Reason::PortNotNamed(_)
    )
}
