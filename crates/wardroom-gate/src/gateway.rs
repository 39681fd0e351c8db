//! The transparent gateway: every TCP connection of the cell that was diverted arrives here.
//!
//! One connection's life: where it wanted to go, who is behind it, what the policy says, which server its ClientHello
//! names, the record, the dial, the bytes, the end. It is decided again whenever the policy changes, and closed with a
//! reset as soon as the answer is no.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use wardroom_kernel::nflog::Target;
use wardroom_model::event::{ConnectionEnd, ConnectionPhase};
use wardroom_model::{HostName, Outcome, Reason, Verdict};
use wardroom_policy::{Decision, NetworkPolicy, Permit, TlsExpectation};
use wardroom_scribe::Receipt;

use crate::attempt::{Attempt, permitted};
use crate::dial::dial;
use crate::gate::Gate;
use crate::greeting::{self, Broken};
use crate::hello::{self, Flight};
use crate::inspect::{self, Session};
use crate::limits::{HELLO_TIME, Place};
use crate::relay::{Traffic, eager, relay};

/// What is waited after `accept` failed: out of descriptors, most likely, which the end of other connections cures.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const TCP: u8 = 6;

/// A listener whose connections are ready to be carried.
pub(crate) fn listener(socket: OwnedFd) -> io::Result<TcpListener> {
    eager(&socket)?;
    TcpListener::from_std(socket.into())
}

/// The next connection, however long it takes: what goes wrong with one is no reason to take no more.
pub(crate) async fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(_passing) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Accepts connections, for ever.
pub(crate) async fn serve(gate: Rc<Gate>, listener: TcpListener) {
    loop {
        let (agent, peer) = accepted(&listener).await;
        let Some(dialled) = original_destination(&agent, peer) else {
            reset(&agent);
            continue;
        };
        let connections = gate.policy().connections();
        match gate.limits.open(Instant::now(), connections) {
            Ok(place) => {
                let gate = Rc::clone(&gate);
                tokio::task::spawn_local(async move { attend(gate, agent, peer, dialled, place).await });
            }
            Err(reached) => {
                reset(&agent);
                let verdict = Verdict::refused(Reason::LimitReached(reached.to_string()));
                let target = Target { protocol: TCP, destination: dialled };
                gate.recorder.packet(target, gate.actors.announced(target), verdict);
            }
        }
    }
}

/// Where the connection was going before the firewall turned it here. None for one that was not turned.
fn original_destination(agent: &TcpStream, peer: SocketAddr) -> Option<SocketAddr> {
    // A connection has one family.
    let destination = match peer {
        SocketAddr::V4(_) => SocketAddr::V4(sockopt::ip_original_dst(agent.as_fd()).ok()?),
        SocketAddr::V6(_) => SocketAddr::V6(sockopt::ipv6_original_dst(agent.as_fd()).ok()?),
    };
    Some(destination)
}

/// Closing will send a reset: the program sees at once that it was refused, and no state stays behind.
fn reset(stream: &TcpStream) {
    // Were this to fail, the connection would be closed in the ordinary way, which is no less closed.
    let _harmless = sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO));
}

async fn attend(gate: Rc<Gate>, agent: TcpStream, peer: SocketAddr, dialled: SocketAddr, place: Place) {
    let host = match dialled.ip() {
        IpAddr::V4(ip) => gate.names.borrow().name(ip).cloned(),
        IpAddr::V6(_) => None,
    };
    let actor = gate.actors.behind(peer, dialled).await;
    let attempt = Rc::new(Attempt { id: gate.connection_id(), actor, host, dialled });
    let agent = Rc::new(agent);
    if let Err(verdict) = admit_and_carry(&gate, &agent, &attempt).await {
        reset(&agent);
        gate.recorder.now(&attempt.event(ConnectionPhase::Decided(verdict)));
    }
    drop(agent);
    drop(place);
}

/// Everything between accept and end. An error is a refusal that is yet to be recorded.
async fn admit_and_carry(
    gate: &Rc<Gate>,
    agent: &Rc<TcpStream>,
    attempt: &Rc<Attempt>,
) -> Result<(), Verdict> {
    let permit = permitted(attempt.decide(&gate.policy()))?;
    let flight = match permit.tls() {
        TlsExpectation::Raw => None,
        TlsExpectation::Name => Some(first_flight(gate, agent, &permit).await?),
        TlsExpectation::Inspect => match first_flight(gate, agent, &permit).await {
            Err(verdict) if verdict.reason == Reason::NotTls => {
                return explained(gate, agent, attempt, verdict);
            }
            flight => Some(flight?),
        },
    };
    let mut changes = gate.in_force.subscribe();
    let policy = changes.borrow_and_update().clone();
    // Time has passed; the policy that decides is the one in force now.
    let permit = permitted(attempt.decide(&policy))?;
    let decided = attempt.event(ConnectionPhase::Decided(permit.verdict().clone()));
    let Some(receipt) = gate.recorder.record(&decided) else {
        reset(agent);
        return Ok(());
    };

    let begun = Instant::now();
    let traffic = Rc::new(Traffic::new(&gate.vigil));
    let passage = Passage { gate, agent, attempt, traffic: &traffic };
    let carried = match permit.host().filter(|_| permit.tls() == TlsExpectation::Inspect) {
        None => passage.as_it_comes(flight, (permit, receipt, policy), &mut changes).await,
        Some(host) => {
            let flight = flight.map(|flight| flight.bytes).unwrap_or_default();
            passage.looked_into(host, flight, &permit, &mut changes).await
        }
    };
    if carried.outcome != Outcome::Allowed {
        reset(agent);
    }
    let end = ConnectionEnd {
        remote: traffic.remote.get(),
        sent: traffic.sent.get(),
        received: traffic.received.get(),
        micros: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        verdict: carried,
    };
    gate.recorder.now(&attempt.event(ConnectionPhase::Ended(end)));
    Ok(())
}

/// A connection that was permitted, and is on record.
struct Passage<'a> {
    gate: &'a Rc<Gate>,
    agent: &'a Rc<TcpStream>,
    attempt: &'a Rc<Attempt>,
    traffic: &'a Rc<Traffic>,
}

impl Passage<'_> {
    async fn as_it_comes(
        &self,
        flight: Option<Flight>,
        (permit, receipt, policy): (Permit, Receipt, NetworkPolicy),
        changes: &mut watch::Receiver<NetworkPolicy>,
    ) -> Verdict {
        let as_permitted = permit.clone();
        let work = carry(self.gate, self.agent, flight, (permit, receipt, policy), self.traffic);
        Box::pin(watched(self.gate, changes, (self.attempt, &as_permitted), work, |_| ())).await
    }

    async fn looked_into(
        &self,
        host: &HostName,
        flight: Vec<u8>,
        permit: &Permit,
        changes: &mut watch::Receiver<NetworkPolicy>,
    ) -> Verdict {
        let session = Session::new(self.gate, self.attempt, host, self.traffic);
        let mut work = Box::pin(inspect::carry(&session, Rc::clone(self.agent), flight, permit.verdict()));
        let reconsider = |policy: &NetworkPolicy| session.reconsider(policy);
        let watch = watched(self.gate, changes, (self.attempt, permit), work.as_mut(), reconsider);
        let carried = Box::pin(watch).await;
        // What is still on its way hears the reason before it is dropped.
        session.cut(&carried);
        drop(work);
        session.end().await;
        carried
    }
}

/// Tells a program that speaks plain text where TLS is expected, in the words that it may understand.
fn explained(gate: &Gate, agent: &TcpStream, attempt: &Attempt, verdict: Verdict) -> Result<(), Verdict> {
    gate.recorder.record(&attempt.event(ConnectionPhase::Decided(verdict.clone()))).ok_or(verdict)?;
    // What it has still to say is nobody's, and unread bytes would take the answer away with a reset.
    let mut rest = [0; hello::BOUND];
    let _nothing = agent.try_read(&mut rest);
    // One who is gone already needs no answer; a fresh socket's buffer has room for one.
    let _gone = agent.try_write(&inspect::not_tls());
    Ok(())
}

/// Does the work until it is done, the policy no longer permits it as it was permitted, or the gate ends. `each` hears of
/// every new policy that still permits it.
async fn watched(
    gate: &Gate,
    changes: &mut watch::Receiver<NetworkPolicy>,
    (attempt, permit): (&Attempt, &Permit),
    work: impl Future<Output = Verdict>,
    each: impl Fn(&NetworkPolicy),
) -> Verdict {
    tokio::select! {
        verdict = work => verdict,
        verdict = revoked(changes, attempt, permit, each) => verdict,
        () = gate.closed() => Verdict {
            outcome: Outcome::Failed,
            reason: Reason::FailedClosed("the gate ended".to_owned()),
            rule: None,
        },
    }
}

/// Reads the ClientHello within its time, and only while few others wait.
async fn first_flight(gate: &Gate, agent: &TcpStream, permit: &Permit) -> Result<Flight, Verdict> {
    let refused = |reason| Verdict { outcome: Outcome::Refused, reason, rule: permit.verdict().rule.clone() };
    let waiting = gate.limits.waiting().map_err(|r| refused(Reason::LimitReached(r.to_string())))?;
    // TLS to a literal address has no name that could be compared.
    let host = permit.host().ok_or_else(|| refused(Reason::NoServerName))?;
    let flight = timeout(HELLO_TIME, hello::read(agent, host)).await;
    drop(waiting);
    match flight {
        Ok(read) => read.map_err(refused),
        Err(_elapsed) => Err(refused(Reason::TooSlow)),
    }
}

/// Dials, has the two greet each other where a name is expected, and moves bytes until both sides have finished.
async fn carry(
    gate: &Gate,
    agent: &TcpStream,
    flight: Option<Flight>,
    (permit, receipt, policy): (Permit, Receipt, NetworkPolicy),
    traffic: &Traffic,
) -> Verdict {
    let verdict = permit.verdict().clone();
    let (server, remote) = match dial(permit, receipt, &policy, &gate.outside, &gate.limits).await {
        Ok(answered) => answered,
        Err(verdict) => {
            gate.alarm();
            return verdict;
        }
    };
    traffic.remote.set(Some(remote));
    let carried = async {
        if let Some(flight) = flight {
            // Both are gone, with what they hold, while the connection lasts.
            Box::pin(greeting::exchange(&gate.limits, (agent, &server), &flight, traffic)).await?;
        }
        relay(agent, &server, &gate.pipes, traffic).await.map_err(Broken::from)
    };
    match carried.await {
        Ok(()) => verdict,
        Err(broken) => {
            reset(&server);
            let (outcome, reason) = match broken {
                Broken::Gone(error) => (Outcome::Failed, Reason::Unreachable(error.to_string())),
                Broken::Refused(reason) => (Outcome::Refused, reason),
            };
            Verdict { outcome, reason, ..verdict }
        }
    }
}

/// Waits until the policy changes so that it no longer permits this connection as it was permitted.
async fn revoked(
    changes: &mut watch::Receiver<NetworkPolicy>,
    attempt: &Attempt,
    permit: &Permit,
    each: impl Fn(&NetworkPolicy),
) -> Verdict {
    let denied = changes.wait_for(|policy| match attempt.decide(policy) {
        Decision::Denial(_) => true,
        Decision::Permit(now) if !now.is_carried_as(permit) => true,
        Decision::Permit(_) => {
            each(policy);
            false
        }
    });
    // The sender lives as long as the gate, so waiting ends only with a denial.
    let rule = denied.await.ok().and_then(|policy| match attempt.decide(&policy) {
        Decision::Denial(verdict) => verdict.rule,
        Decision::Permit(_) => None,
    });
    Verdict { outcome: Outcome::Refused, reason: Reason::PolicyChanged, rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_listener_accepts_sends_at_once_and_notices_a_peer_that_vanished() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let listener = listener(socket.into()).unwrap();
        let here = listener.local_addr().unwrap();
        let (_client, accepted) = tokio::join!(TcpStream::connect(here), listener.accept());
        let (agent, _) = accepted.unwrap();
        assert!(agent.nodelay().unwrap());
        assert!(socket2::SockRef::from(&agent).keepalive().unwrap());
    }
}
