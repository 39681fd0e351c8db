//! One inspected connection: what its requests share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wardroom_model::event::Program;
use wardroom_model::{HostName, Verdict};
use wardroom_policy::{NetworkPolicy, RequestDecision, RequestLine};

use super::flight::Flights;
use super::frames::Allowance;
use super::upgrade::Upgraded;
use super::upstream::Pool;
use crate::attempt::Attempt;
use crate::gate::Gate;
use crate::relay::Traffic;

/// What one inspected connection is.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) gate: Rc<Gate>,
    pub(super) attempt: Rc<Attempt>,
    pub(super) host: HostName,
    pub(super) port: u16,
    pub(super) traffic: Rc<Traffic>,
    /// Requests so far, refused ones included.
    pub(super) requests: Cell<u64>,
    /// Requests on their way.
    pub(super) flights: Flights,
    /// Connections to the server.
    pub(super) pool: Pool,
    pub(super) tasks: Tasks,
    /// Said to a connection with streams when it has been idle for too long: it is to take no more.
    pub(super) leaving: Notify,
    /// What the agent may still send over HTTP/2 that moves nothing.
    pub(super) idle_frames: Rc<Allowance>,
    /// A WebSocket that begins when the answer to its request has been written.
    pub(super) upgraded: RefCell<Option<Upgraded>>,
}

impl Session {
    pub(crate) fn new(
        gate: &Rc<Gate>,
        attempt: &Rc<Attempt>,
        host: &HostName,
        traffic: &Rc<Traffic>,
    ) -> Rc<Self> {
        Rc::new(Self {
            gate: Rc::clone(gate),
            attempt: Rc::clone(attempt),
            host: host.clone(),
            port: attempt.dialled.port(),
            traffic: Rc::clone(traffic),
            requests: Cell::default(),
            flights: Flights::default(),
            pool: Pool::new(),
            tasks: Tasks::default(),
            leaving: Notify::new(),
            idle_frames: Allowance::new(),
            upgraded: RefCell::default(),
        })
    }

    /// The agent's name.
    pub(super) fn agent(&self) -> &str {
        &self.gate.inspector.agent
    }

    pub(super) fn program(&self) -> Option<&Program> {
        self.attempt.actor.as_ref().map(|actor| &actor.program)
    }

    pub(super) fn decide(&self, policy: &NetworkPolicy, line: &RequestLine) -> RequestDecision {
        policy.decide_request(&self.host, self.port, self.program(), line)
    }

    /// Decides every request on its way again.
    pub(crate) fn reconsider(&self, policy: &NetworkPolicy) {
        self.flights.reconsider(|line| match self.decide(policy, line) {
            RequestDecision::Permit(_) => None,
            RequestDecision::Denial(verdict) => Some(verdict),
        });
    }

    /// Ends what is still on its way, with this as the reason.
    pub(crate) fn cut(&self, verdict: &Verdict) {
        self.flights.cut_all(verdict);
    }

    /// Waits until nothing is left, and all of it on record.
    pub(crate) async fn end(&self) {
        self.upgraded.take();
        self.pool.clear();
        self.tasks.end().await;
    }
}

/// The tasks of one connection: they end with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks(Rc<RefCell<JoinSet<()>>>);

impl Tasks {
    pub(super) fn start(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.0.borrow_mut();
        tasks.spawn_local(task);
        // What has ended leaves nothing behind; a panic has been reported by its hook.
        while tasks.try_join_next().is_some() {}
    }

    async fn end(&self) {
        let mut tasks = self.0.take();
        tasks.shutdown().await;
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.start(task);
    }
}
