//! Credentials at the gate: an agent's placeholder goes in, the real value goes out, to the bound host alone.
//!
//! A value is put in last, after the policy has permitted the request, after the limits have been reserved, after the
//! record, over a connection whose server has been verified. It is put in only where its placeholder stands: a request
//! without one goes out without one. It never goes into a record, an error or an answer.

mod exchange;
mod held;
mod lines;
pub(crate) mod mask;
mod own;
pub(crate) mod search;
mod seat;
mod sigv4;
mod spelling;
mod supplied;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use http::header::{CONTENT_LENGTH, UPGRADE};
use http::{HeaderName, HeaderValue, StatusCode, request};
use tokio::sync::watch;
use wardroom_model::credential::{CredentialAct, CredentialNote};
use wardroom_model::event::Actor;
use wardroom_model::supply::Supply;
use wardroom_model::{Event, HostName, Outcome, Reason, RuleRef, Verdict};
use wardroom_policy::Policy;

use crate::clock::unix_now;
use crate::inspect::OVERRIDES;
use crate::meter::{Ask, Meter, NoRoom, Reservation};
use crate::placeholder::Tag;
use crate::record::Recorder;

pub(crate) use exchange::Exchange;
use exchange::Use;
use held::Held;
use search::Search;
use seat::Binding;

/// The credentials of one agent.
#[derive(Debug)]
pub(crate) struct Credentials {
    shared: Rc<Shared>,
}

/// What every exchange needs of them.
#[derive(Debug)]
struct Shared {
    recorder: Rc<Recorder>,
    /// None where the keeper gave no tag: then there is no placeholder either, and a bound host is not served.
    search: Option<Search>,
    placeholders: BTreeMap<String, String>,
    bindings: RefCell<Vec<Rc<Binding>>>,
    held: Held,
    meter: Meter,
}

/// The request that asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) host: &'a HostName,
    pub(crate) port: u16,
    pub(crate) actor: Option<&'a Actor>,
}

/// A refusal that is yet to be recorded, and how it is answered.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) verdict: Box<Verdict>,
    pub(crate) status: StatusCode,
    /// Seconds after which it may be tried again, for a limit.
    pub(crate) retry_after: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, reason: Reason, rule: Option<RuleRef>) -> Self {
        let verdict = Box::new(Verdict { outcome: Outcome::Refused, reason, rule });
        Self { verdict, status, retry_after: None }
    }

    fn limited(none: &NoRoom, rule: Option<RuleRef>) -> Self {
        Self { retry_after: none.retry_after(), ..Self::new(none.status(), none.reason(), rule) }
    }
}

impl Credentials {
    /// The credentials of a policy, with what the keeper said of this start: the host's tag, and each credential's
    /// placeholder by its name.
    pub(crate) fn new(
        recorder: Rc<Recorder>,
        meter: Meter,
        tag: &str,
        placeholders: Vec<(String, String)>,
        policy: &Policy,
    ) -> Self {
        let search = Tag::parse(tag).and_then(|tag| Search::new(&tag));
        let placeholders = placeholders.into_iter().collect();
        let (bindings, held) = (RefCell::default(), Held::default());
        let shared = Shared { recorder, search, placeholders, bindings, held, meter };
        let credentials = Self { shared: Rc::new(shared) };
        credentials.replace(policy);
        credentials
    }

    /// Puts the bindings of another policy in force. What is open with a credential that is not in it ends.
    pub(crate) fn replace(&self, policy: &Policy) {
        let placeholder = |name: &str| self.shared.placeholders.get(name).cloned();
        let bind = |credential| Binding::new(credential, placeholder(&credential.name)).map(Rc::new);
        *self.shared.bindings.borrow_mut() = policy.credentials().iter().filter_map(bind).collect();
        let limits =
            policy.credentials().iter().map(|credential| (credential.name.clone(), credential.limits));
        self.shared.meter.put_in_force(limits, policy.model_apis().iter().map(Into::into).collect());
        self.shared.held.look_again();
    }

    /// Takes what the broker says.
    pub(crate) fn take(&self, supply: Supply) {
        let placeholder = self.shared.placeholders.get(supply.name()).map_or("", String::as_str);
        if let Some((name, act)) = self.shared.held.take(supply, placeholder, unix_now()) {
            self.shared.note(name, act);
        }
    }

    /// The broker is gone.
    pub(crate) fn orphan(&self, why: &str) {
        for name in self.shared.held.orphan(why) {
            self.shared.note(name, CredentialAct::Unavailable { why: why.to_owned() });
        }
    }

    /// Changes whenever a request may have lost its credential ([`Exchange::ended`]).
    pub(crate) fn endings(&self) -> watch::Receiver<()> {
        self.shared.held.endings()
    }

    /// Looks at the head of a permitted request: whose placeholders it carries and where, which credential is bound,
    /// whether its limits have room. Nothing real is put in yet.
    pub(crate) fn admit(&self, asked: Asked<'_>, head: &mut request::Parts) -> Result<Exchange, Refusal> {
        let shared = &self.shared;
        let bound = shared.bound(asked.host);
        let Some(search) = &shared.search else {
            let why = || Reason::FailedClosed("the tag of placeholders is not known".to_owned());
            return match bound.first() {
                Some(binding) => Err(Refusal::new(StatusCode::FORBIDDEN, why(), Some(binding.rule.clone()))),
                None => {
                    let reserved = shared.reserve(asked, head, &[])?;
                    Ok(Exchange::new(Rc::clone(shared), asked, Vec::new(), false, reserved))
                }
            };
        };
        if let Some(place) = in_line(search, head) {
            return Err(shared.misused(asked, head, place));
        }
        let mut seated: Vec<Rc<Binding>> = Vec::new();
        for (name, value) in &head.headers {
            if search.hits_value(value.as_bytes()) {
                let mut seats = bound.iter().filter(|binding| binding.seat(name, value.as_bytes()).is_some());
                let Some(binding) = seats.next() else {
                    return Err(shared.misused(asked, head, name.as_str()));
                };
                if !seated.iter().any(|other| Rc::ptr_eq(other, binding)) {
                    seated.push(Rc::clone(binding));
                }
            } else if let Some((binding, place)) = owned(&bound, name, value) {
                return Err(shared.own(asked, binding, place));
            }
        }
        if let (Some(binding), Some(place)) = (bound.first(), own::in_query(&head.uri)) {
            return Err(shared.own(asked, binding, place));
        }
        let uses: Vec<_> =
            seated.into_iter().map(|binding| shared.lease(binding)).collect::<Result<_, _>>()?;
        let reserved = shared.reserve(asked, head, &uses)?;
        Ok(Exchange::new(Rc::clone(shared), asked, uses, !bound.is_empty(), reserved))
    }
}

/// The part of the request's line in which a placeholder stands.
fn in_line(search: &Search, head: &request::Parts) -> Option<&'static str> {
    let authority = head.uri.authority().map_or("", |authority| authority.as_str());
    let parts = [
        ("query", head.uri.query().unwrap_or_default()),
        ("path", head.uri.path()),
        ("authority", authority),
        ("method", head.method.as_str()),
    ];
    parts.into_iter().find_map(|(place, text)| search.hits_encoded(text).then_some(place))
}

/// Whether a header or a trailer carries a credential of the agent's own where these are bound: instead of which, and where.
fn owned<'a>(
    bound: &'a [Rc<Binding>],
    name: &'a HeaderName,
    value: &HeaderValue,
) -> Option<(&'a Binding, &'a str)> {
    let binding = bound.first()?;
    let elsewhere = || bound.iter().any(|binding| binding.header() == name).then_some(name.as_str());
    own::in_header(name, value).or_else(elsewhere).map(|place| (&**binding, place))
}

impl Shared {
    /// The credentials that are bound to a host.
    fn bound(&self, host: &HostName) -> Vec<Rc<Binding>> {
        self.bindings.borrow().iter().filter(|binding| binding.host == *host).cloned().collect()
    }

    /// Something happened to a credential.
    fn note(&self, name: String, act: CredentialAct) {
        let bindings = self.bindings.borrow();
        let host = bindings.iter().find(|binding| binding.name == name).map(|binding| binding.host.clone());
        let note = CredentialNote { name, host, actor: None, act, verdict: None };
        self.recorder.now(&Event::Credential(note));
    }

    fn lease(&self, binding: Rc<Binding>) -> Result<Use, Refusal> {
        let lease =
            self.held.lease(&binding.name, &binding.host, binding.overdue, unix_now()).map_err(|why| {
                let reason = Reason::CredentialUnavailable(why);
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason, Some(binding.rule.clone()))
            })?;
        Ok(Use { binding, lease })
    }

    /// Reserves what the request needs of every credential's limits, or only counts where none is used.
    fn reserve(
        &self,
        asked: Asked<'_>,
        head: &request::Parts,
        uses: &[Use],
    ) -> Result<Vec<Reservation>, Refusal> {
        let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let (host, method, path) = (asked.host, head.method.as_str(), head.uri.path());
        let plain = !head.headers.contains_key(UPGRADE)
            && !OVERRIDES.iter().any(|name| head.headers.contains_key(*name));
        let one = |used: Option<&Use>| {
            let credential = used.map(|used| used.binding.name.as_str());
            let reserved = self.meter.reserve(Ask { credential, host, method, path, length, plain });
            reserved.map_err(|none| Refusal::limited(&none, used.map(|used| used.binding.rule.clone())))
        };
        match uses {
            [] => Ok(vec![one(None)?]),
            uses => uses.iter().map(Some).map(one).collect(),
        }
    }

    /// A placeholder where it is not bound: on record by the name of its credential, or by none where it is another's.
    fn misused(&self, asked: Asked<'_>, head: &request::Parts, place: &str) -> Refusal {
        let target = head.uri.to_string();
        let values = head.headers.values().map(HeaderValue::as_bytes);
        let texts: Vec<_> = values.chain([target.as_bytes(), head.method.as_str().as_bytes()]).collect();
        self.misused_in(asked, &texts, place)
    }

    /// The same, for these bytes.
    fn misused_in(&self, asked: Asked<'_>, texts: &[&[u8]], place: &str) -> Refusal {
        let stands = |placeholder: &str| {
            let finder = memchr::memmem::Finder::new(placeholder);
            let decoded = |text: &&[u8]| search::basic(text).is_some_and(|pair| finder.find(&pair).is_some());
            let encoded: Vec<_> = search::base64_forms(placeholder).collect();
            let encoded = |text: &&[u8]| {
                encoded.iter().any(|form| memchr::memmem::find(text, form.as_bytes()).is_some())
            };
            texts.iter().any(|text| {
                finder.find(text).is_some()
                    || finder.find(&search::unescaped(text)).is_some()
                    || decoded(text)
                    || encoded(text)
            })
        };
        let whose = self.placeholders.iter().find(|(_, placeholder)| stands(placeholder));
        let name = whose.map(|(name, _)| name.clone()).unwrap_or_default();
        let rule = {
            let bindings = self.bindings.borrow();
            bindings.iter().find(|binding| binding.name == name).map(|binding| binding.rule.clone())
        };
        let refusal = Refusal::new(StatusCode::FORBIDDEN, Reason::CredentialMisused(place.to_owned()), rule);
        self.refused(name, asked, CredentialAct::Misused { place: place.to_owned() }, &refusal);
        refusal
    }

    /// A credential of the agent's own.
    fn own(&self, asked: Asked<'_>, binding: &Binding, place: &str) -> Refusal {
        let reason = Reason::OwnCredential(place.to_owned());
        let refusal = Refusal::new(StatusCode::FORBIDDEN, reason, Some(binding.rule.clone()));
        let act = CredentialAct::OwnCredential { place: place.to_owned() };
        self.refused(binding.name.clone(), asked, act, &refusal);
        refusal
    }

    fn refused(&self, name: String, asked: Asked<'_>, act: CredentialAct, refusal: &Refusal) {
        let (host, actor) = (Some(asked.host.clone()), asked.actor.cloned());
        let verdict = Some(Verdict::clone(&refusal.verdict));
        self.recorder.now(&Event::Credential(CredentialNote { name, host, actor, act, verdict }));
    }
}

#[cfg(test)]
mod tests;
