//! The meter: what an agent's credentials may still use, and what each request to a model's API has used.
//!
//! Every request reserves what it may need before it is sent, and settles from what its answer says. What is missing
//! or cut off counts as the worst case. Counters lie in a file that survives every process, and belong to an agent and a
//! credential: starting the agent again gives nothing back. Bodies flow by; none is kept or held up, but for the end of a
//! request whose reservation has no room.
//!
//! The meter never sends, refuses or records anything by itself: the caller does, with what it is told here.

mod account;
pub(crate) mod api;
mod clock;
mod counters;
mod estimate;
pub(crate) mod events;
mod prices;
mod refusal;
mod reservation;
pub(crate) mod scan;
mod window;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use wardroom_model::HostName;
use wardroom_model::credential::{CredentialAct, CredentialNote};
use wardroom_policy::CredentialLimits;

pub use counters::{Counters, CountersError, Usage};
pub use prices::{ModelPrice, PerMillion, PriceError, Prices, Rate, Tokens};
pub(crate) use refusal::NoRoom;
pub(crate) use reservation::Reservation;

use account::{Account, Amount, Caps, Full, Limit, Stage, Step};
use api::{Api, Apis, Declared};
use clock::{Clock, Moment, Now};
use counters::Place;

/// Where steps towards a limit are told, to be recorded.
pub(crate) type Notes = Box<dyn Fn(CredentialNote)>;

/// The counters of one agent, and the prices.
pub(crate) struct Meter {
    shared: Rc<Shared>,
}

/// A request that wants to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// The credential that is put in, if any. Without one there is no limit, and usage is read all the same.
    pub(crate) credential: Option<&'a str>,
    pub(crate) host: &'a HostName,
    pub(crate) method: &'a str,
    /// The canonical path.
    pub(crate) path: &'a str,
    /// The length of the body, as the head says it.
    pub(crate) length: Option<u64>,
    /// Whether it is what its method says: no WebSocket, and no header that names another method.
    pub(crate) plain: bool,
}

struct Shared {
    prices: Prices,
    clock: fn() -> Now,
    notes: Notes,
    state: RefCell<State>,
}

struct State {
    apis: Rc<Apis>,
    caps: BTreeMap<String, Caps>,
    open: BTreeMap<String, Open>,
    counters: Option<Counters>,
    time: Clock,
}

/// A credential's account, as it is kept.
#[derive(Debug, Clone, Copy)]
struct Open {
    place: Place,
    account: Account,
    /// What of it is reserved by requests that are not over.
    reserved: Amount,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl Meter {
    /// Without counters every request with a limited credential is refused.
    pub(crate) fn new(prices: Prices, counters: Option<Counters>, notes: Notes) -> Self {
        Self::with_clock(prices, counters, notes, clock::now)
    }

    fn with_clock(prices: Prices, counters: Option<Counters>, notes: Notes, clock: fn() -> Now) -> Self {
        let latest = counters.as_ref().map(Counters::latest).unwrap_or_default();
        let state = State {
            apis: Rc::new(Apis::default()),
            caps: BTreeMap::new(),
            open: BTreeMap::new(),
            counters,
            time: Clock::new(latest, clock()),
        };
        Self { shared: Rc::new(Shared { prices, clock, notes, state: RefCell::new(state) }) }
    }

    /// Puts the limits and APIs of a policy in force. What was used stays used.
    pub(crate) fn put_in_force(
        &self,
        limits: impl IntoIterator<Item = (String, CredentialLimits)>,
        apis: Vec<Declared>,
    ) {
        let mut state = self.shared.state.borrow_mut();
        state.caps = limits.into_iter().map(|(name, limits)| (name, Caps::new(&limits))).collect();
        state.apis = Rc::new(Apis::new(apis));
    }

    /// Reserves what a request needs that is about to be sent; to be asked before anything of it is.
    pub(crate) fn reserve(&self, ask: Ask<'_>) -> Result<Reservation, NoRoom> {
        let Ask { credential, host, method, path, length, plain } = ask;
        let caps = credential.map(|name| self.shared.caps(name)).unwrap_or_default();
        let apis = Rc::clone(&self.shared.state.borrow().apis);
        let shape = match apis.of(method, host, path, caps.of_models()) {
            Api::Free | Api::Model(_) | Api::Unknown if !plain && caps.of_models() => {
                return Err(NoRoom::Unmetered);
            }
            Api::Model(shape) => Some(shape),
            Api::Free => None,
            Api::Unknown if caps.of_models() => return Err(NoRoom::Unmetered),
            Api::Unknown => None,
        };
        // At least a token will come out, and what the head says will go in. The rest is reserved when the body has said
        // what it asks for, before its last byte is passed on.
        let tokens = u64::from(shape.is_some());
        let first = Amount { bytes: length.unwrap_or_default(), tokens, micro_usd: tokens };
        let account = match credential.filter(|_| caps.any()) {
            Some(name) => {
                let day = self.shared.change(name, host, |open, moment| {
                    open.account.request(&caps)?;
                    open.account.reserve(first, &caps, open.reserved)?;
                    open.reserved = open.reserved.plus(first);
                    Ok(moment.second / clock::DAY)
                })?;
                Some((name.to_owned(), host.clone(), day))
            }
            None => None,
        };
        Ok(Reservation::new(Rc::clone(&self.shared), account, shape, first))
    }
}

impl Shared {
    fn caps(&self, name: &str) -> Caps {
        self.state.borrow().caps.get(name).copied().unwrap_or_default()
    }

    /// Changes an account and keeps it, or leaves it as it was; tells the steps that it has passed.
    fn change<T>(
        &self,
        name: &str,
        host: &HostName,
        change: impl FnOnce(&mut Open, Moment) -> Result<T, Full>,
    ) -> Result<T, NoRoom> {
        let caps = self.caps(name);
        let mut state = self.state.borrow_mut();
        let moment = state.time.read((self.clock)());
        let mut open = state.open(name, moment)?;
        let day = open.account.day();
        open.account.advance(moment);
        if open.account.day() != day {
            open.reserved = Amount::default();
        }
        let before = open;
        let changed = change(&mut open, moment);
        let steps = match &changed {
            Ok(_) => open.account.steps(&caps, open.reserved),
            Err(full) => {
                open = before;
                open.account.refused(*full).into_iter().collect()
            }
        };
        state.keep(name, open)?;
        drop(state);
        for step in steps {
            (self.notes)(note(name, host, step, until(&open, step.limit, step.of, moment)));
        }
        changed.map_err(|full| {
            let until = until(&open, full.limit, full.of, moment);
            // What is only reserved may come back at any moment: requests that are open are seldom so for longer.
            let until =
                if full.for_good || full.limit == Limit::Requests { until } else { moment.wall() + 5 };
            NoRoom::Exhausted { full, until, wait: until.saturating_sub(moment.wall()).max(1) }
        })
    }
}

/// When there is room again, by the wall clock.
fn until(open: &Open, limit: Limit, of: u64, moment: Moment) -> u64 {
    match limit {
        Limit::Requests => moment.wall() + open.account.window.wait(of),
        Limit::Bytes | Limit::Tokens | Limit::Dollars => moment.day_ends(),
    }
}

fn note(name: &str, host: &HostName, step: Step, until: u64) -> CredentialNote {
    let Step { limit, used, of, stage } = step;
    let limit = limit.word().to_owned();
    let act = match stage {
        Stage::Near => CredentialAct::LimitNear { limit, used, of },
        Stage::NoFit => CredentialAct::NoFit { limit, used, of },
        Stage::All => CredentialAct::LimitReached { limit, of, until },
    };
    CredentialNote { name: name.to_owned(), host: Some(host.clone()), actor: None, act, verdict: None }
}

impl State {
    fn open(&mut self, name: &str, moment: Moment) -> Result<Open, NoRoom> {
        if let Some(open) = self.open.get(name) {
            return Ok(*open);
        }
        let counters = self.counters.as_ref().ok_or_else(|| NoRoom::Uncounted("no counters".to_owned()))?;
        let found = counters.find(name, moment.second);
        let (place, account) = found.map_err(|error| NoRoom::Uncounted(error.to_string()))?;
        let open = Open { place, account, reserved: Amount::default() };
        self.open.insert(name.to_owned(), open);
        Ok(open)
    }

    fn keep(&mut self, name: &str, open: Open) -> Result<(), NoRoom> {
        let counters = self.counters.as_ref().ok_or_else(|| NoRoom::Uncounted("no counters".to_owned()))?;
        let kept = counters.store(open.place, name, &open.account);
        kept.map_err(|error| NoRoom::Uncounted(error.to_string()))?;
        self.open.insert(name.to_owned(), open);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
