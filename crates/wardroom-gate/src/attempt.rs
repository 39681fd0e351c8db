//! One connection's attempt: where it wants to go, who is behind it, and what the policy says about it.

use std::net::{IpAddr, SocketAddr};

use wardroom_model::event::{Actor, Connection, ConnectionPhase, Program};
use wardroom_model::{Event, HostName, Reason, Verdict};
use wardroom_policy::{Decision, NetworkPolicy, Permit};

use crate::synthetic::is_synthetic;

/// What one connection is.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) id: u64,
    pub(crate) actor: Option<Actor>,
    pub(crate) host: Option<HostName>,
    pub(crate) dialled: SocketAddr,
}

impl Attempt {
    pub(crate) fn event(&self, phase: ConnectionPhase) -> Event {
        let Self { id, actor, host, dialled } = self;
        let (id, dialled) = (*id, *dialled);
        Event::Connection(Connection { id, actor: actor.clone(), host: host.clone(), dialled, phase })
    }

    pub(crate) fn decide(&self, policy: &NetworkPolicy) -> Decision {
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

pub(crate) fn permitted(decision: Decision) -> Result<Permit, Verdict> {
    match decision {
        Decision::Permit(permit) => Ok(permit),
        Decision::Denial(verdict) => Err(verdict),
    }
}
