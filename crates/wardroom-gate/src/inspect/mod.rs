//! Connections that the policy asks to look into: TLS ends here, every request is decided and recorded by itself, and TLS to
//! the real server begins here.
//!
//! Nothing is collected, cached or rewritten but what the connection itself makes necessary: each body moves part by part at
//! the speed of its slower side. What cannot be parsed, decided or recorded does not leave.

mod accept;
mod body;
mod flight;
mod forward;
mod frames;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod headers;
mod limits;
mod messages;
mod pace;
mod refusal;
mod request;
mod roots;
mod serve;
mod session;
mod upgrade;
mod upstream;
mod wire;

use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use wardroom_model::{Outcome, Reason, Verdict};

pub(crate) use accept::Acceptors;
pub(crate) use refusal::not_tls;
pub(crate) use request::OVERRIDES;
pub(crate) use roots::{BUNDLES, Roots};
pub(crate) use session::Session;

use limits::ROUND;
use pace::{Over, Quiet};

/// What inspected connections of one gate share.
#[derive(Debug)]
pub(crate) struct Inspector {
    /// The agent's name, for the remedy in a refusal.
    pub(crate) agent: String,
    pub(crate) acceptors: Acceptors,
    pub(crate) roots: Roots,
}

/// Serves one connection to its end. `permitted` is the verdict that let it in.
pub(crate) async fn carry(
    session: &Rc<Session>,
    agent: Rc<TcpStream>,
    flight: Vec<u8>,
    permitted: &Verdict,
) -> Verdict {
    let ended = tokio::select! {
        ended = converse(session, agent, flight) => ended,
        quiet = rounds(session) => quiet,
    };
    match ended {
        Ok(()) => permitted.clone(),
        Err(reason) => Verdict { outcome: outcome(&reason), reason, rule: permitted.rule.clone() },
    }
}

async fn converse(session: &Rc<Session>, agent: Rc<TcpStream>, flight: Vec<u8>) -> Result<(), Reason> {
    let inspector = &session.gate.inspector;
    let none = || Reason::FailedClosed("this start of the agent has no certificate authority".to_owned());
    let authority = session.gate.authority.as_ref().ok_or_else(none)?;
    let traffic = Rc::clone(&session.traffic);
    let accepting = inspector.acceptors.accept(authority, &session.host, (agent, flight), traffic);
    // In a box of its own, which is gone when the connection is idle.
    let accepted = Box::pin(accepting).await?;
    serve::serve(session, accepted).await
}

/// Looks at the requests on their way, round after round, and whenever a credential may have ended. Returns when the
/// connection has been quiet for too long.
async fn rounds(session: &Session) -> Result<(), Reason> {
    let mut endings = session.gate.credentials.endings();
    let mut rounds = interval_at(Instant::now() + ROUND, ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut quiet, mut told) = (Quiet::default(), false);
    loop {
        tokio::select! {
            _tick = rounds.tick() => {
                session.flights.round();
                session.idle_frames.renew();
                session.pool.idle_frames.renew();
            }
            // The sender lives in the gate, and so longer than any connection.
            _changed = endings.changed() => {
                session.flights.drop_ended_credentials();
                continue;
            }
        }
        let streams = session.pool.streams.get();
        let busy = !session.flights.is_empty();
        match quiet.round(session.requests.get(), busy, session.traffic.sent.get()) {
            None => {}
            // Whoever speaks HTTP/2 is told first, and has a round to close. Pings are no requests.
            Some(_) if streams && !told => {
                told = true;
                session.leaving.notify_one();
            }
            Some(Over::TooSlow) if !streams => return Err(Reason::TooSlow),
            Some(Over::Idle | Over::TooSlow) => return Ok(()),
        }
    }
}

/// A program that trusts only its own authorities is not refused by Wardroom: it does not come this way.
fn outcome(reason: &Reason) -> Outcome {
    if matches!(reason, Reason::ClientDeclined(_)) { Outcome::Failed } else { Outcome::Refused }
}
