//! The transparent gateway: every TCP connection of the cell that was diverted arrives here.
//!
//! One connection's life: where it wanted to go, who is behind it, what the policy says, which server its ClientHello
//! names, the record, the dial, the bytes, the end. It is decided again whenever the policy changes, and closed with a
//! reset as soon as the answer is no.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use wardroom_kernel::nflog::Target;
use wardroom_model::event::{Actor, Connection, ConnectionEnd, ConnectionPhase, Program};
use wardroom_model::{Event, HostName, Outcome, Reason, Verdict};
use wardroom_policy::{Decision, NetworkPolicy, Permit, TlsExpectation};
use wardroom_scribe::Receipt;

use crate::dial::dial;
use crate::gate::Gate;
use crate::hello;
use crate::limits::{HELLO_TIME, Place};
use crate::relay::{Traffic, relay};
use crate::synthetic::is_synthetic;

/// What is waited after `accept` failed: out of descriptors, most likely, which the end of other connections cures.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const TCP: u8 = 6;

/// Accepts connections, for ever.
pub(crate) async fn serve(gate: Rc<Gate>, listener: TcpListener) {
    loop {
        let Ok((agent, peer)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(dialled) = original_destination(&agent) else {
            reset(&agent);
            continue;
        };
        let connections = gate.policy().connections();
        match gate.limits.open(Instant::now(), connections) {
            Ok(place) => {
                let gate = Rc::clone(&gate);
                tokio::task::spawn_local(async move { attend(&gate, agent, peer, dialled, place).await });
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
fn original_destination(agent: &TcpStream) -> Option<SocketAddr> {
    let destination = match agent.local_addr().ok()? {
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

/// What one connection is.
#[derive(Debug)]
struct Attempt {
    id: u64,
    actor: Option<Actor>,
    host: Option<HostName>,
    dialled: SocketAddr,
}

impl Attempt {
    fn event(&self, phase: ConnectionPhase) -> Event {
        let Self { id, actor, host, dialled } = self;
        let (id, dialled) = (*id, *dialled);
        Event::Connection(Connection { id, actor: actor.clone(), host: host.clone(), dialled, phase })
    }

    fn decide(&self, policy: &NetworkPolicy) -> Decision {
        let program: Option<&Program> = self.actor.as_ref().map(|actor| &actor.program);
        match (&self.host, self.dialled.ip()) {
            (Some(host), _) => policy.decide(host, self.dialled.port(), program),
            // An address of ours that stands for nothing: never given out, or by an earlier gate.
            (None, IpAddr::V4(ip)) if is_synthetic(ip) => {
                Decision::Denial(Verdict::refused(Reason::LiteralAddress))
            }
            (None, _) => policy.decide_literal(self.dialled, program),
        }
    }
}

async fn attend(gate: &Gate, agent: TcpStream, peer: SocketAddr, dialled: SocketAddr, place: Place) {
    let host = match dialled.ip() {
        IpAddr::V4(ip) => gate.names.borrow().name(ip).cloned(),
        IpAddr::V6(_) => None,
    };
    let actor = gate.actors.behind(peer, dialled).await;
    let attempt = Attempt { id: gate.connection_id(), actor, host, dialled };
    if let Err(verdict) = admit_and_carry(gate, &agent, &attempt).await {
        reset(&agent);
        gate.recorder.now(&attempt.event(ConnectionPhase::Decided(verdict)));
    }
    drop(agent);
    drop(place);
}

/// Everything between accept and end. An error is a refusal that is yet to be recorded.
async fn admit_and_carry(gate: &Gate, agent: &TcpStream, attempt: &Attempt) -> Result<(), Verdict> {
    let permit = permitted(attempt.decide(&gate.policy()))?;
    let flight = match permit.tls() {
        TlsExpectation::Raw => Vec::new(),
        TlsExpectation::Name => first_flight(gate, agent, &permit).await?,
        TlsExpectation::Inspect => {
            let why = "this gate cannot look inside TLS yet".to_owned();
            let rule = permit.verdict().rule.clone();
            return Err(Verdict { outcome: Outcome::Refused, reason: Reason::FailedClosed(why), rule });
        }
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
    let traffic = Traffic::default();
    let as_permitted = permit.clone();
    let carried = tokio::select! {
        verdict = carry(gate, agent, &flight, (permit, receipt, policy), &traffic) => verdict,
        verdict = revoked(&mut changes, attempt, &as_permitted) => verdict,
        () = gate.closed() => Verdict {
            outcome: Outcome::Failed,
            reason: Reason::FailedClosed("the gate ended".to_owned()),
            rule: None,
        },
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

fn permitted(decision: Decision) -> Result<Permit, Verdict> {
    match decision {
        Decision::Permit(permit) => Ok(permit),
        Decision::Denial(verdict) => Err(verdict),
    }
}

/// Reads the ClientHello within its time, and only while few others wait.
async fn first_flight(gate: &Gate, agent: &TcpStream, permit: &Permit) -> Result<Vec<u8>, Verdict> {
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

/// Dials and moves bytes until both sides have finished.
async fn carry(
    gate: &Gate,
    agent: &TcpStream,
    flight: &[u8],
    (permit, receipt, policy): (Permit, Receipt, NetworkPolicy),
    traffic: &Traffic,
) -> Verdict {
    let verdict = permit.verdict().clone();
    let server = match dial(permit, receipt, &policy, &gate.outside, &gate.limits).await {
        Ok(server) => server,
        Err(verdict) => return verdict,
    };
    traffic.remote.set(server.peer_addr().ok());
    match relay(agent, &server, flight, &gate.pipes, traffic).await {
        Ok(()) => verdict,
        Err(error) => {
            reset(&server);
            Verdict { outcome: Outcome::Failed, reason: Reason::Unreachable(error.to_string()), ..verdict }
        }
    }
}

/// Waits until the policy changes so that it no longer permits this connection as it was permitted.
async fn revoked(
    changes: &mut watch::Receiver<NetworkPolicy>,
    attempt: &Attempt,
    permit: &Permit,
) -> Verdict {
    let denied = changes.wait_for(|policy| match attempt.decide(policy) {
        Decision::Denial(_) => true,
        Decision::Permit(now) => now.pinned() != permit.pinned() || now.tls() != permit.tls(),
    });
    // The sender lives as long as the gate, so waiting ends only with a denial.
    let rule = denied.await.ok().and_then(|policy| match attempt.decide(&policy) {
        Decision::Denial(verdict) => verdict.rule,
        Decision::Permit(_) => None,
    });
    Verdict { outcome: Outcome::Refused, reason: Reason::PolicyChanged, rule }
}
