//! One request and its answer, as they flow by.

use std::fmt;
use std::rc::Rc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode, response};
use wardroom_model::HostName;
use wardroom_model::request::Usage;

use super::account::Amount;
use super::api::Shape;
use super::clock::DAY;
use super::estimate::{self, Estimate};
use super::events::Events;
use super::prices::Tokens;
use super::scan::{Field, Found, Pointers, Scan, Whole};
use super::{NoRoom, Shared};

/// What is reserved for one request. Dropped before it is settled, it counts as the worst case.
pub(crate) struct Reservation {
    shared: Rc<Shared>,
    /// The credential, its host, and the day on which was reserved; none where nothing is limited.
    account: Option<(String, HostName, u64)>,
    held: Amount,
    /// What was reserved on days that are over: it counts there.
    past: Amount,
    /// Bytes of bodies, both ways.
    bytes: u64,
    model: Option<Model>,
    settled: bool,
}

/// What there is about a request to a model's API.
struct Model {
    shape: Rc<Shape>,
    request: Scan,
    /// Bytes of the request's body.
    sent: u64,
    /// Set when the body has said what it asks for, or that it cannot be read.
    worst: Option<Estimate>,
    status: Option<StatusCode>,
    answer: Answer,
}

/// How an answer is read.
#[derive(Debug)]
enum Answer {
    /// It has not come, or cannot be read.
    Unread,
    Document(Scan),
    Events(Events),
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("held", &self.held).finish_non_exhaustive()
    }
}

impl Reservation {
    pub(super) fn new(
        shared: Rc<Shared>,
        account: Option<(String, HostName, u64)>,
        shape: Option<Rc<Shape>>,
        held: Amount,
    ) -> Self {
        let model = shape.map(|shape| Model {
            request: Scan::new(&shape.request),
            shape,
            sent: 0,
            worst: None,
            status: None,
            answer: Answer::Unread,
        });
        Self { shared, account, held, past: Amount::default(), bytes: 0, model, settled: false }
    }

    /// A part of the request's body, before it is passed on. An error means that it must not be: the server then never
    /// has the whole of the request.
    pub(crate) fn observe_request(&mut self, part: &[u8]) -> Result<(), NoRoom> {
        self.count(part)?;
        let Some(model) = &mut self.model else { return Ok(()) };
        model.sent = model.sent.saturating_add(length(part));
        model.request.push(part);
        match (model.request.whole(), model.worst) {
            (Whole::NotYet, _) | (_, Some(_)) => Ok(()),
            (Whole::Yes | Whole::Never, None) => self.hold_all(),
        }
    }

    /// The head of the answer: what can be read of its body. Heads of 1xx are none.
    pub(crate) fn answered(&mut self, head: &response::Parts) {
        let Some(model) = &mut self.model else { return };
        model.answer = reader(&head.headers, &model.shape.answer);
        model.status = Some(head.status);
        if model.worst.is_none() && self.hold_all().is_err() {
            // It answers a body that it has not seen the end of, or that has none. What has no room counts when it is over.
            self.expect_all();
        }
    }

    /// A part of the answer's body. An error means that a limit is used up, and that the answer should be cut off.
    pub(crate) fn observe(&mut self, part: &[u8]) -> Result<(), NoRoom> {
        if let Some(model) = &mut self.model {
            match &mut model.answer {
                Answer::Unread => {}
                Answer::Document(scan) => scan.push(part),
                Answer::Events(events) => events.push(part),
            }
        }
        self.count(part)
    }

    /// Settles, when the answer is over: `complete` says that it ended as it should. None where nothing was used that a
    /// model's API counts.
    pub(crate) fn settle(mut self, complete: bool) -> Option<Usage> {
        self.finish(complete)
    }

    /// Counts bytes that the reservation does not hold yet.
    fn count(&mut self, part: &[u8]) -> Result<(), NoRoom> {
        self.bytes = self.bytes.saturating_add(length(part));
        let more = Amount::bytes(self.bytes).minus(self.held).minus(self.past);
        if more == Amount::default() { Ok(()) } else { self.hold(more) }
    }

    fn hold_all(&mut self) -> Result<(), NoRoom> {
        let Some(model) = &mut self.model else { return Ok(()) };
        let said = (model.request.whole() == Whole::Yes).then(|| model.request.found());
        let worst = Estimate::new(&model.shape, &self.shared.prices, said, model.sent);
        let expected = worst.expected();
        let all = Amount { bytes: 0, tokens: expected.total(), micro_usd: worst.rate.cost(&expected) };
        self.hold(all.minus(self.held).minus(self.past))?;
        self.expect(worst);
        Ok(())
    }

    /// The worst that can come of it is known from now on.
    fn expect(&mut self, worst: Estimate) {
        if let Some(model) = &mut self.model {
            model.worst = Some(worst);
        }
    }

    fn expect_all(&mut self) {
        if let Some(model) = &mut self.model {
            model.worst = Some(Estimate::new(&model.shape, &self.shared.prices, None, model.sent));
        }
    }

    fn hold(&mut self, more: Amount) -> Result<(), NoRoom> {
        let Some((name, host, day)) = &mut self.account else {
            self.held = self.held.plus(more);
            return Ok(());
        };
        let (caps, held) = (self.shared.caps(name), self.held);
        let today = self.shared.change(name, host, |open, moment| {
            let reserved = open.account.reserve(more, &caps, open.reserved);
            reserved.map_err(|full| full.without(held))?;
            open.reserved = open.reserved.plus(more);
            Ok(moment.second / DAY)
        })?;
        if std::mem::replace(day, today) != today {
            self.past = self.past.plus(std::mem::take(&mut self.held));
        }
        self.held = self.held.plus(more);
        Ok(())
    }

    fn finish(&mut self, complete: bool) -> Option<Usage> {
        if std::mem::replace(&mut self.settled, true) {
            return None;
        }
        let Some(Used { model, tokens, assumed }) =
            self.model.as_ref().and_then(|model| model.used(complete))
        else {
            self.release(Amount { bytes: self.bytes, ..Amount::default() });
            return None;
        };
        let price = self.shared.prices.of(&model);
        let vendor = self.model.as_ref().and_then(|model| model.shape.vendor);
        let rate = price.unwrap_or_else(|| self.shared.prices.worst(vendor));
        let micro_usd = rate.cost(&tokens);
        self.release(Amount { bytes: self.bytes, tokens: tokens.total(), micro_usd });
        let Tokens { input, output, cached, written, written_long } = tokens;
        let limited =
            self.account.as_ref().is_some_and(|(name, ..)| self.shared.caps(name).micro_usd.is_some());
        Some(Usage {
            model,
            input: input.saturating_add(written).saturating_add(written_long),
            output,
            cached,
            // A model without a price counts as the dearest where dollars are limited, and the record says so.
            micro_usd: (price.is_some() || limited).then_some(micro_usd),
            assumed: assumed || (limited && price.is_none()),
        })
    }

    fn release(&mut self, used: Amount) {
        let Some((name, host, day)) = &self.account else { return };
        let (held, used) = (self.held, used.minus(self.past));
        let settled = self.shared.change(name, host, |open, moment| {
            open.account.settle(*day, held, used);
            if moment.second / DAY == *day {
                open.reserved = open.reserved.minus(held);
            }
            Ok(())
        });
        if settled.is_err() {
            // Without counters what was reserved stays used, and the next request is refused.
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        drop(self.finish(false));
    }
}

/// What a request has used.
struct Used {
    model: String,
    tokens: Tokens,
    assumed: bool,
}

impl Model {
    /// None where the server refused, or never had the whole request.
    fn used(&self, complete: bool) -> Option<Used> {
        let worst = self.worst?;
        if self.status.is_some_and(|status| !status.is_success()) {
            return None;
        }
        let nothing = Found::default();
        let answer = match &self.answer {
            Answer::Unread => &nothing,
            Answer::Document(scan) => scan.found(),
            Answer::Events(events) => events.found(),
        };
        let whole = match &self.answer {
            Answer::Document(scan) => complete && scan.whole() == Whole::Yes,
            Answer::Unread | Answer::Events(_) => complete,
        };
        let (tokens, assumed) = estimate::used(&self.shape, answer, whole, &worst);
        let model = answer.text(Field::Model).or_else(|| self.request.found().text(Field::Model));
        let model = model.unwrap_or_default().to_owned();
        Some(Used { model, tokens, assumed })
    }
}

fn reader(headers: &HeaderMap, pointers: &Pointers) -> Answer {
    let of = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    let encoding = of(CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        return Answer::Unread;
    }
    let kind = of(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "text/event-stream" => Answer::Events(Events::new(pointers)),
        kind if kind == "application/json" || kind.ends_with("+json") => {
            Answer::Document(Scan::new(pointers))
        }
        _ => Answer::Unread,
    }
}

fn length(part: &[u8]) -> u64 {
    u64::try_from(part.len()).unwrap_or(u64::MAX)
}
