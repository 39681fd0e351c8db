//! A request on its way: what it was permitted as, how far it is, and the record of its end.
//!
//! It ends once, when nothing of it is left: its record is written then, however it came about.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, request, response};
use tokio::time::Instant;
use wardroom_model::request::{Request, RequestDecision, RequestEnd, RequestPhase};
use wardroom_model::{Captured, Event, Outcome, Reason, Verdict};
use wardroom_policy::{RequestLine, RequestPermit};
use wardroom_scribe::Receipt;

use super::pace::Still;
use super::refusal::Named;
use super::request::Asking;
use super::session::Session;
use crate::credential::{Exchange, Refusal};

/// The requests of a connection that are on their way.
#[derive(Debug, Default)]
pub(super) struct Flights(RefCell<BTreeMap<u64, Weak<Flight>>>);

/// One request on its way.
#[derive(Debug)]
pub(super) struct Flight {
    session: Rc<Session>,
    id: u64,
    asking: Asking,
    shown: Captured,
    permitted: Verdict,
    credential: Option<String>,
    exchange: RefCell<Option<Exchange>>,
    begun: Instant,
    status: Cell<Option<u16>>,
    sent: Cell<u64>,
    received: Cell<u64>,
    complete: Cell<bool>,
    /// Why it is over before its time.
    cut: RefCell<Option<Refusal>>,
    waiting: RefCell<[Option<Waker>; SIDES]>,
    still: Cell<Still>,
}

/// Who waits for a request's sake.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    /// For the head of the answer, or for bytes of a WebSocket.
    Head,
    /// For the request's body.
    Out,
    /// For the answer's body.
    Back,
}

const SIDES: usize = 3;

/// A record of this request, of the moment that `phase` is.
pub(super) fn event(
    session: &Session,
    id: u64,
    line: &RequestLine,
    path: Captured,
    phase: RequestPhase,
) -> Event {
    Event::Request(Request {
        id,
        connection: session.attempt.id,
        actor: session.attempt.actor.clone(),
        host: session.host.clone(),
        port: session.port,
        method: line.method().to_owned(),
        path,
        phase,
    })
}

impl Flights {
    fn each(&self, visit: impl Fn(&Flight)) {
        // Cutting one may end it, which takes it out of the map.
        let all: Vec<_> = self.0.borrow().values().filter_map(Weak::upgrade).collect();
        all.iter().for_each(|flight| visit(flight));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Decides each again; `denied` says why not.
    pub(super) fn reconsider(&self, denied: impl Fn(&RequestLine) -> Option<Verdict>) {
        self.each(|flight| {
            let lines = [Some(&flight.asking.line), flight.asking.overridden.as_ref()];
            if let Some(verdict) = lines.into_iter().flatten().find_map(&denied) {
                flight.cut(Verdict {
                    outcome: Outcome::Refused,
                    reason: Reason::PolicyChanged,
                    rule: verdict.rule,
                });
            }
        });
    }

    /// Ends those whose credential may not be used any more.
    pub(super) fn drop_ended_credentials(&self) {
        self.each(|flight| {
            let ended = flight.exchange.borrow().as_ref().is_some_and(Exchange::ended);
            if ended {
                let reason = Reason::CredentialUnavailable("it was revoked, or is bound no more".to_owned());
                let rule = flight.permitted.rule.clone();
                flight.cut(Verdict { outcome: Outcome::Refused, reason, rule });
            }
        });
    }

    pub(super) fn cut_all(&self, verdict: &Verdict) {
        self.each(|flight| flight.cut(verdict.clone()));
    }

    /// Ends those that have stood still for too long. Called once a round.
    pub(super) fn round(&self) {
        self.each(|flight| {
            let mut still = flight.still.get();
            let too_long = still.round(flight.sent.get() + flight.received.get());
            flight.still.set(still);
            if too_long {
                flight.fail(Reason::TooSlow);
            }
        });
    }
}

impl Flight {
    /// Puts the permitted request on record, and it on its way. None when nothing can be recorded any more.
    pub(super) fn begin(
        session: &Rc<Session>,
        asking: Asking,
        permit: &RequestPermit,
        exchange: Exchange,
    ) -> Option<(Rc<Self>, Receipt)> {
        let id = session.gate.connection_id();
        let permitted = permit.verdict().clone();
        let shown = asking.line.shown(permit.keep_query());
        let credential = exchange.credential().map(ToOwned::to_owned);
        let decision = RequestDecision { verdict: permitted.clone(), credential: credential.clone() };
        let phase = RequestPhase::Decided(decision);
        let receipt =
            session.gate.recorder.record(&event(session, id, &asking.line, shown.clone(), phase))?;
        let flight = Rc::new(Self {
            session: Rc::clone(session),
            id,
            asking,
            shown,
            permitted,
            credential,
            exchange: RefCell::new(Some(exchange)),
            begun: Instant::now(),
            status: Cell::default(),
            sent: Cell::default(),
            received: Cell::default(),
            complete: Cell::default(),
            cut: RefCell::default(),
            waiting: RefCell::default(),
            still: Cell::default(),
        });
        session.flights.0.borrow_mut().insert(id, Rc::downgrade(&flight));
        Some((flight, receipt))
    }

    /// As its answer names it.
    pub(super) fn named(&self) -> Named<'_> {
        let Asking { line, overridden, .. } = &self.asking;
        Named { method: line.method(), path: line.path(), overridden: overridden.is_some() }
    }

    /// Ends it for this reason, unless it has ended for another: everything that waits for its sake is woken.
    pub(super) fn cut(&self, verdict: Verdict) {
        self.refuse(super::refusal::by(verdict));
    }

    /// Ends it for a fault that is not Wardroom's.
    pub(super) fn fail(&self, reason: Reason) {
        self.cut(Verdict { outcome: Outcome::Failed, reason, rule: self.permitted.rule.clone() });
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        self.cut.borrow_mut().get_or_insert(refusal);
        let waiting = self.waiting.take();
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether it was cut; if not, `side` is woken when it is.
    pub(super) fn is_cut(&self, side: Side, cx: &Context<'_>) -> bool {
        if self.cut.borrow().is_some() {
            return true;
        }
        let at = match side {
            Side::Head => 0,
            Side::Out => 1,
            Side::Back => 2,
        };
        if let Some(waker) = self.waiting.borrow_mut().get_mut(at)
            && !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        false
    }

    /// Waits until it is cut.
    pub(super) async fn ended_early(&self) {
        std::future::poll_fn(|cx| if self.is_cut(Side::Head, cx) { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }

    /// Why it was cut.
    pub(super) fn why(&self) -> Option<Refusal> {
        let cut = self.cut.borrow();
        let Refusal { verdict, status, retry_after } = cut.as_ref()?;
        Some(Refusal { verdict: verdict.clone(), status: *status, retry_after: *retry_after })
    }

    /// Puts the real credential in: the last thing before the head is sent.
    pub(super) fn insert(&self, head: &mut request::Parts) -> Result<(), Refusal> {
        self.exchange.borrow_mut().as_mut().map_or(Ok(()), |exchange| exchange.insert(head))
    }

    /// Whether the digest of the whole body is needed before the head can be sent.
    pub(super) fn needs_digest(&self, head: &request::Parts) -> bool {
        self.exchange.borrow().as_ref().is_some_and(|exchange| exchange.needs_digest(head))
    }

    /// Gives that digest.
    pub(super) fn digested(&self, hexadecimal: String) {
        if let Some(exchange) = self.exchange.borrow_mut().as_mut() {
            exchange.digested(hexadecimal);
        }
    }

    /// A part of the request's body. Err when it must not leave; it is cut then.
    pub(super) fn outgoing(&self, part: Bytes) -> Result<Bytes, super::body::Cut> {
        self.leaving(part, Exchange::outgoing)
    }

    /// A part of a WebSocket to the server. Err when it must not leave; it is cut then.
    pub(super) fn scrambled(&self, part: Bytes) -> Result<Bytes, super::body::Cut> {
        self.leaving(part, Exchange::scrambled)
    }

    fn leaving(
        &self,
        part: Bytes,
        check: impl FnOnce(&mut Exchange, Bytes) -> Result<Bytes, Refusal>,
    ) -> Result<Bytes, super::body::Cut> {
        let checked = match self.exchange.borrow_mut().as_mut() {
            Some(exchange) => check(exchange, part),
            None => Ok(part),
        };
        let part = checked.map_err(|refusal| {
            self.refuse(refusal);
            super::body::Cut
        })?;
        self.count_out(part.len());
        Ok(part)
    }

    /// The head of the answer.
    pub(super) fn answered(&self, head: &mut response::Parts) -> Result<(), Refusal> {
        self.status.set(Some(head.status.as_u16()));
        self.exchange.borrow_mut().as_mut().map_or(Ok(()), |exchange| exchange.answered(head))
    }

    /// A part of the answer's body. Err when it must not go on; it is cut then.
    pub(super) fn incoming(&self, part: Bytes) -> Result<Bytes, super::body::Cut> {
        self.count_back(part.len());
        let masked = match self.exchange.borrow_mut().as_mut() {
            Some(exchange) => exchange.incoming(part),
            None => Ok(part),
        };
        masked.map_err(|refusal| {
            self.refuse(refusal);
            super::body::Cut
        })
    }

    /// Trailers of the request. Err when they must not leave; it is cut then.
    pub(super) fn outgoing_trailers(&self, trailers: &HeaderMap) -> Result<(), super::body::Cut> {
        let checked =
            self.exchange.borrow().as_ref().map_or(Ok(()), |exchange| exchange.outgoing_trailers(trailers));
        checked.map_err(|refusal| {
            self.refuse(refusal);
            super::body::Cut
        })
    }

    /// The trailers of the answer.
    pub(super) fn trailed(&self, trailers: &mut HeaderMap) {
        if let Some(exchange) = self.exchange.borrow_mut().as_mut() {
            exchange.trailed(trailers);
        }
    }

    /// Whether something of the answer's body is held back.
    pub(super) fn holds(&self) -> bool {
        self.exchange.borrow().as_ref().is_some_and(Exchange::holds)
    }

    /// The last part for now of the answer's body: with its end, which was held back.
    pub(super) fn finish(&self, part: Bytes) -> Bytes {
        let held = self.exchange.borrow_mut().as_mut().map(Exchange::finish).unwrap_or_default();
        match (part.is_empty(), held.is_empty()) {
            (_, true) => part,
            (true, false) => held,
            (false, false) => [part, held].concat().into(),
        }
    }

    /// The whole answer has been handed on.
    pub(super) fn completed(&self) {
        self.complete.set(true);
    }

    pub(super) fn count_out(&self, bytes: usize) {
        crate::relay::add(&self.sent, bytes);
    }

    pub(super) fn count_back(&self, bytes: usize) {
        crate::relay::add(&self.received, bytes);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.session.flights.0.borrow_mut().remove(&self.id);
        let exchange = self.exchange.take();
        let usage = exchange.and_then(|exchange| exchange.settle(self.complete.get()));
        let verdict = self.cut.take().map_or_else(|| self.permitted.clone(), |refusal| *refusal.verdict);
        let end = RequestEnd {
            status: self.status.get(),
            sent: self.sent.get(),
            received: self.received.get(),
            micros: u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            credential: self.credential.take(),
            usage,
            verdict,
        };
        let shown = self.shown.clone();
        let ended = event(&self.session, self.id, &self.asking.line, shown, RequestPhase::Ended(end));
        self.session.gate.recorder.now(&ended);
    }
}
