//! One request and its answer: the real value goes in last, and is masked in whatever comes back.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, Entry, IF_RANGE, RANGE, SEC_WEBSOCKET_EXTENSIONS, SET_COOKIE,
    TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request, response};
use wardroom_model::credential::{CredentialAct, CredentialNote};
use wardroom_model::event::Actor;
use wardroom_model::request::Usage;
use wardroom_model::{Event, HostName, Reason};

use super::held::{Lease, Real};
use super::mask::{Mask, Needle};
use super::search::InBody;
use super::seat::{Binding, Seat, fill};
use super::sigv4::{self, Key, Signed};
use super::{Asked, Refusal, Shared, owned};
use crate::meter::{NoRoom, Reservation};

/// What Netscape called `Range`; Apache still takes it for that.
const REQUEST_RANGE: HeaderName = HeaderName::from_static("request-range");

/// One request and its answer, from the moment it is admitted. Dropped before it is settled, it counts as the worst case.
#[derive(Debug)]
pub(crate) struct Exchange {
    shared: Rc<Shared>,
    host: HostName,
    port: u16,
    actor: Option<Actor>,
    uses: Vec<Use>,
    /// The names of the credentials in use.
    names: Option<String>,
    /// Whether a credential is bound to the host, in use or not.
    bound: bool,
    /// The digest of the request's body, where a signature needs it.
    digest: Option<String>,
    body: InBody,
    mask: Mask,
    /// How many values there had been when the mask was made.
    supplied: u64,
    masked: bool,
    /// What is reserved of each credential's limits; without a credential, what a model's API counts.
    reserved: Vec<Reservation>,
}

/// A credential in use.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) binding: Rc<Binding>,
    pub(super) lease: Lease,
}

impl Exchange {
    pub(super) fn new(
        shared: Rc<Shared>,
        asked: Asked<'_>,
        uses: Vec<Use>,
        bound: bool,
        reserved: Vec<Reservation>,
    ) -> Self {
        let Asked { host, port, actor } = asked;
        let names: Vec<_> = uses.iter().map(|used| used.binding.name.as_str()).collect();
        let names = (!names.is_empty()).then(|| names.join(" "));
        Self {
            shared,
            host: host.clone(),
            port,
            actor: actor.cloned(),
            uses,
            names,
            bound,
            digest: None,
            body: InBody::default(),
            mask: Mask::default(),
            supplied: 0,
            masked: false,
            reserved,
        }
    }

    /// What must not come back, up to this moment. A server may keep what it was sent, and give it back to whoever asks without
    /// it; and what is open for long may get a value that was put in place of its own.
    fn look_for_all(&mut self) {
        let supplied = self.shared.held.supplied();
        if std::mem::replace(&mut self.supplied, supplied) != supplied {
            self.mask.add(self.shared.held.needles(&self.host));
        }
    }

    /// The credential that is put in, by its name; several, by their names.
    pub(crate) fn credential(&self) -> Option<&str> {
        self.names.as_deref()
    }

    /// Whether the SHA-256 of the whole body, in hexadecimal, is needed before the head can be sent
    /// ([`Self::digested`]): a signature covers it, and the agent does not say it.
    pub(crate) fn needs_digest(&self, head: &request::Parts) -> bool {
        let signs = |used: &Use| matches!(used.lease.value.real, Real::Aws { .. });
        self.uses.iter().any(signs) && sigv4::needs_digest(&head.headers)
    }

    /// Gives that digest.
    pub(crate) fn digested(&mut self, hexadecimal: String) {
        self.digest = Some(hexadecimal);
    }

    /// Puts the real value in: the last thing before the head is sent.
    pub(crate) fn insert(&mut self, head: &mut request::Parts) -> Result<(), Refusal> {
        self.look_for_all();
        if self.mask.is_empty() && !self.bound {
            return Ok(());
        }
        // An answer that is compressed could not be masked.
        head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        head.headers.remove(SEC_WEBSOCKET_EXTENSIONS);
        // Nor one in pieces, each of which holds too little of a value to be known. A server may always answer in full
        // (RFC 9110, 14.2).
        head.headers.remove(RANGE);
        head.headers.remove(IF_RANGE);
        head.headers.remove(REQUEST_RANGE);
        let uses = std::mem::take(&mut self.uses);
        let inserted = uses.iter().try_for_each(|used| self.put(used, head));
        self.uses = uses;
        inserted
    }

    fn put(&mut self, used: &Use, head: &mut request::Parts) -> Result<(), Refusal> {
        let unusable = |why: &str| {
            let reason = Reason::CredentialUnavailable(why.to_owned());
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason, Some(used.binding.rule.clone()))
        };
        if used.lease.is_over() {
            return Err(unusable("it was revoked"));
        }
        let value = &used.lease.value;
        let mut signature = None;
        let mut seats = 0_usize;
        if let Entry::Occupied(mut entry) = head.headers.entry(used.binding.header()) {
            for header in entry.iter_mut() {
                match used.binding.seat(used.binding.header(), header.as_bytes()) {
                    None => continue,
                    Some(Seat::Signature(signed)) => signature = Some(signed),
                    Some(seat @ (Seat::Value { .. } | Seat::Pair { .. })) => {
                        let filled = fill(&seat, &value.real);
                        let (real, coded) = filled.ok_or_else(|| unusable("its value is of another kind"))?;
                        let placeholder = used.binding.placeholder.as_deref().unwrap_or_default();
                        self.mask.add(coded.and_then(|coded| Needle::passing(coded, placeholder)));
                        *header = real;
                    }
                }
                seats += 1;
            }
        }
        match signature {
            Some(signed) => self.sign(&signed, &value.real, head).map_err(unusable),
            None if seats > 0 => Ok(()),
            None => Err(unusable("its placeholder is gone")),
        }
    }

    fn sign(&self, signed: &Signed, real: &Real, head: &mut request::Parts) -> Result<(), &'static str> {
        match real {
            Real::Aws { id, secret, token } => {
                let key = Key { id, secret, token: token.as_deref().map(|token| &**token) };
                signed.sign_again(head, key, self.digest.as_deref())
            }
            Real::Plain(_) | Real::Basic { .. } => Err("its value is of another kind"),
        }
    }

    /// A part of the request's body on its way out.
    pub(crate) fn outgoing(&mut self, part: Bytes) -> Result<Bytes, Refusal> {
        if let Some(search) = &self.shared.search
            && self.body.hits(search, &part)
        {
            return Err(self.shared.misused_in(self.asked(), &[&part], "body"));
        }
        self.metered(|reservation| reservation.observe_request(&part))?;
        Ok(part)
    }

    /// A part of a WebSocket on its way out: counted and not searched, since an agent's frames are scrambled (RFC 6455, 5.3).
    pub(crate) fn scrambled(&mut self, part: Bytes) -> Result<Bytes, Refusal> {
        self.metered(|reservation| reservation.observe_request(&part))?;
        Ok(part)
    }

    /// Trailers of the request on their way out.
    pub(crate) fn outgoing_trailers(&self, trailers: &HeaderMap) -> Result<(), Refusal> {
        let Some(search) = &self.shared.search else { return Ok(()) };
        let bound = self.shared.bound(&self.host);
        for (name, value) in trailers {
            if search.hits_value(value.as_bytes()) {
                return Err(self.shared.misused_in(self.asked(), &[value.as_bytes()], name.as_str()));
            }
            // A server may take a trailer for the header of its name.
            if let Some((binding, place)) = owned(&bound, name, value) {
                return Err(self.shared.own(self.asked(), binding, place));
            }
        }
        Ok(())
    }

    fn asked(&self) -> Asked<'_> {
        Asked { host: &self.host, port: self.port, actor: self.actor.as_ref() }
    }

    fn metered(&mut self, observe: impl Fn(&mut Reservation) -> Result<(), NoRoom>) -> Result<(), Refusal> {
        let rule = self.uses.first().map(|used| used.binding.rule.clone());
        let mut reserved = self.reserved.iter_mut();
        reserved.try_for_each(observe).map_err(|none| Refusal::limited(&none, rule))
    }

    /// The head of the answer, masked in place.
    pub(crate) fn answered(&mut self, head: &mut response::Parts) -> Result<(), Refusal> {
        self.reserved.iter_mut().for_each(|reservation| reservation.answered(head));
        if self.bound {
            // A cookie can stand for a credential. None is given out, so that any which is sent was planted.
            head.headers.remove(SET_COOKIE);
        }
        self.look_for_all();
        if self.mask.is_empty() && !self.bound {
            return Ok(());
        }
        let is = |coding: &HeaderValue, plain: &[u8]| coding.as_bytes().eq_ignore_ascii_case(plain);
        let plain = head.headers.get_all(CONTENT_ENCODING).iter().all(|coding| is(coding, b"identity"));
        let whole = head.headers.get_all(TRANSFER_ENCODING).iter().all(|coding| is(coding, b"chunked"));
        if !plain || !whole || head.headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
            let why = "a compressed answer, which was not asked for and cannot be masked".to_owned();
            return Err(Refusal::new(StatusCode::BAD_GATEWAY, Reason::UpstreamProtocol(why), None));
        }
        head.extensions.remove::<hyper::ext::ReasonPhrase>();
        self.trailed(&mut head.headers);
        Ok(())
    }

    /// Headers or trailers of the answer, masked in place.
    pub(crate) fn trailed(&mut self, headers: &mut HeaderMap) {
        self.look_for_all();
        // A name cannot be masked: another could mean something.
        let telling: Vec<_> =
            headers.keys().filter(|name| self.mask.is_in_name(name.as_str())).cloned().collect();
        let mut place = (!telling.is_empty()).then(|| "header name".to_owned());
        for name in telling {
            headers.remove(name);
        }
        for (name, value) in headers.iter_mut() {
            if let Some(masked) = self.mask.whole(value.as_bytes()) {
                // A mask is made of a placeholder, which stood in a header; were it none, nothing is better than the value.
                *value =
                    HeaderValue::from_bytes(&masked).unwrap_or_else(|_none| HeaderValue::from_static(""));
                place = place.or_else(|| Some(name.as_str().to_owned()));
            }
        }
        if let Some(place) = place {
            self.reflected(place);
        }
    }

    /// A part of the answer's body, masked; its end may be held back until more is seen. An error means that a limit is
    /// used up, and the answer is to be cut off.
    pub(crate) fn incoming(&mut self, part: Bytes) -> Result<Bytes, Refusal> {
        self.metered(|reservation| reservation.observe(&part))?;
        self.look_for_all();
        let (part, found) = self.mask.part(part);
        if found {
            self.reflected("body".to_owned());
        }
        Ok(part)
    }

    /// Whether anything is held back.
    pub(crate) fn holds(&self) -> bool {
        self.mask.holds()
    }

    /// What was held back.
    pub(crate) fn finish(&mut self) -> Bytes {
        let (rest, found) = self.mask.rest();
        if found {
            self.reflected("body".to_owned());
        }
        rest
    }

    /// The real value came back: on record once for each answer.
    fn reflected(&mut self, place: String) {
        if !std::mem::replace(&mut self.masked, true) {
            let (name, host) = (self.names.clone().unwrap_or_default(), Some(self.host.clone()));
            let act = CredentialAct::Masked { place };
            let note = CredentialNote { name, host, actor: self.actor.clone(), act, verdict: None };
            self.shared.recorder.now(&Event::Credential(note));
        }
    }

    /// Settles what was reserved, by what the answer says, or by the worst case.
    pub(crate) fn settle(self, complete: bool) -> Option<Usage> {
        let used: Vec<_> =
            self.reserved.into_iter().map(|reservation| reservation.settle(complete)).collect();
        used.into_iter().flatten().next().map(|mut usage| {
            // The server's own word, which goes on record.
            if let Some(masked) = self.mask.whole(usage.model.as_bytes()) {
                usage.model = String::from_utf8_lossy(&masked).into_owned();
            }
            usage
        })
    }

    /// Whether a credential of this request may not be used any more ([`super::Credentials::endings`]).
    pub(crate) fn ended(&self) -> bool {
        self.uses.iter().any(|used| self.is_over(used))
    }

    /// Whether a credential was revoked, or is no longer what the policy binds to this host.
    fn is_over(&self, used: &Use) -> bool {
        let same = |binding: &Rc<Binding>| binding.name == used.binding.name && binding.host == self.host;
        used.lease.is_over() || !self.shared.bindings.borrow().iter().any(same)
    }
}
