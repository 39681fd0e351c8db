//! What the gate holds of credentials: the values that the broker supplies, for as long as they may be used.
//!
//! A request that has begun keeps the value with which it began; a rotation changes nothing for it. What was revoked, or
//! is overdue where the policy refuses that, ends at once, with everything that uses it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use tokio::sync::watch;
use wardroom_kernel::locked::Locked;
use wardroom_model::credential::{AgeStep, CredentialAct};
use wardroom_model::supply::{Material, Supply};
use wardroom_model::{HostName, Secret};
use wardroom_policy::Overdue;

use super::mask::Needle;

/// All credentials' values.
#[derive(Debug)]
pub(crate) struct Held {
    slots: RefCell<BTreeMap<String, Slot>>,
    /// What must not come back, the latest last: a value that was replaced, revoked or withdrawn may be good at its provider still.
    past: RefCell<Vec<Past>>,
    /// How many values there have been.
    supplied: Cell<u64>,
    /// Says that something may have ended.
    endings: watch::Sender<()>,
}

/// One credential.
#[derive(Debug)]
struct Slot {
    now: Result<Rc<Value>, String>,
    ended: Rc<Ended>,
}

/// How a value that was supplied for a host looks where it must not appear.
#[derive(Debug)]
struct Past {
    name: String,
    host: HostName,
    needles: Vec<Rc<Needle>>,
    expires: Option<u64>,
}

/// The most values of a host that are looked for besides those in use. Each is some twenty pages of memory that is locked.
const PAST: usize = 4;
/// Seconds after its end for which a provider might take a value all the same.
const SKEW: u64 = 3_600;

/// How often a credential has ended, and in which way.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    revoked: Cell<u64>,
    overdue: Cell<u64>,
}

/// One value.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) real: Real,
    host: HostName,
    version: u64,
    expires: Option<u64>,
    overdue: Cell<bool>,
}

/// What is put in, in memory that is locked.
#[derive(Debug)]
pub(crate) enum Real {
    Plain(Rc<Locked>),
    Basic { user: String, password: Rc<Locked> },
    Aws { id: String, secret: Rc<Locked>, token: Option<Rc<Locked>> },
}

/// Leave to use a value, until it ends.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) value: Rc<Value>,
    ended: Rc<Ended>,
    begun: (u64, u64),
    overdue: Overdue,
}

impl Lease {
    /// Whether it may not be used any more.
    pub(crate) fn is_over(&self) -> bool {
        let late = match self.overdue {
            Overdue::Refuse => self.ended.overdue.get() != self.begun.1,
            Overdue::Alert => false,
        };
        late || self.ended.revoked.get() != self.begun.0
    }
}

impl Default for Held {
    fn default() -> Self {
        let (past, supplied) = (RefCell::default(), Cell::new(0));
        Self { slots: RefCell::default(), past, supplied, endings: watch::Sender::new(()) }
    }
}

impl Held {
    /// The value to use at this moment (seconds since the epoch), or why there is none. One that was supplied for another host is
    /// none: the policy has just bound the credential anew, and the broker will follow.
    pub(crate) fn lease(
        &self,
        name: &str,
        host: &HostName,
        overdue: Overdue,
        now: u64,
    ) -> Result<Lease, String> {
        let slots = self.slots.borrow();
        let slot = slots.get(name).ok_or_else(|| "no value has been supplied".to_owned())?;
        let value = Rc::clone(slot.now.as_ref().map_err(String::clone)?);
        if value.host != *host {
            return Err(format!("what was supplied is for {}", value.host));
        }
        if value.expires.is_some_and(|end| now >= end) {
            return Err("it has expired".to_owned());
        }
        match overdue {
            Overdue::Refuse if value.overdue.get() => return Err("it is overdue for rotation".to_owned()),
            Overdue::Refuse | Overdue::Alert => {}
        }
        let begun = (slot.ended.revoked.get(), slot.ended.overdue.get());
        Ok(Lease { value, ended: Rc::clone(&slot.ended), begun, overdue })
    }

    /// What must not come back from a host.
    pub(crate) fn needles(&self, host: &HostName) -> Vec<Rc<Needle>> {
        let past = self.past.borrow();
        past.iter().filter(|past| past.host == *host).flat_map(|past| past.needles.clone()).collect()
    }

    /// Changes whenever there is more that must not come back.
    pub(crate) fn supplied(&self) -> u64 {
        self.supplied.get()
    }

    fn remember(&self, mut new: Past, now: u64) {
        let mut past = self.past.borrow_mut();
        past.retain(|one| one.expires.is_none_or(|end| now < end.saturating_add(SKEW)));
        // A broker that is started again supplies what there is, and it is looked for already.
        match past.iter().position(|one| one.host == new.host && one.needles == new.needles) {
            Some(at) => new.needles = past.remove(at).needles,
            None => self.supplied.set(self.supplied.get() + 1),
        }
        past.push(new);
        let replaced = |at: usize, one: &Past| {
            let later = past.get(at + 1..).unwrap_or_default();
            later.iter().any(|later| later.name == one.name && later.host == one.host)
        };
        let of_host = |one: &Past| past.last().is_some_and(|new| new.host == one.host);
        let over: Vec<usize> = past
            .iter()
            .enumerate()
            .filter_map(|(at, one)| (of_host(one) && replaced(at, one)).then_some(at))
            .collect();
        if let [oldest, ..] = over[..]
            && over.len() > PAST
        {
            past.remove(oldest);
        }
    }

    /// Takes what the broker says, and returns what is to be put on record of it.
    pub(crate) fn take(
        &self,
        supply: Supply,
        placeholder: &str,
        now: u64,
    ) -> Option<(String, CredentialAct)> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(supply.name().to_owned()).or_insert_with(|| Slot {
            now: Err("no value has been supplied".to_owned()),
            ended: Rc::default(),
        });
        match supply {
            Supply::Value { name, version, material, set_at: _, expires, source, host } => {
                let new = slot.now.as_ref().map_or(true, |value| value.version != version);
                match Real::keep(&material, placeholder) {
                    Ok((real, needles)) => {
                        let overdue = Cell::new(false);
                        self.remember(Past { name: name.clone(), host: host.clone(), needles, expires }, now);
                        slot.now = Ok(Rc::new(Value { real, host, version, expires, overdue }));
                        new.then_some((name, CredentialAct::InUse { version, source }))
                    }
                    Err(error) => {
                        let why = format!("its memory cannot be locked (see `ulimit -l`): {error}");
                        slot.now = Err(why.clone());
                        Some((name, CredentialAct::Unavailable { why }))
                    }
                }
            }
            Supply::Unavailable { name, why } => {
                slot.now = Err(why.clone());
                Some((name, CredentialAct::Unavailable { why }))
            }
            Supply::Revoked { name } => {
                slot.now = Err("it was revoked".to_owned());
                slot.ended.revoked.set(slot.ended.revoked.get() + 1);
                self.endings.send_replace(());
                Some((name, CredentialAct::Revoked))
            }
            Supply::Age { name, step, seconds } => {
                if let (AgeStep::Overdue, Ok(value)) = (step, &slot.now) {
                    value.overdue.set(true);
                    slot.ended.overdue.set(slot.ended.overdue.get() + 1);
                    self.endings.send_replace(());
                }
                Some((name, CredentialAct::Age { step, seconds }))
            }
        }
    }

    /// The broker is gone: nothing has a value until another one supplies it. Returns whose value was there.
    pub(crate) fn orphan(&self, why: &str) -> Vec<String> {
        let mut slots = self.slots.borrow_mut();
        let had = slots.iter_mut().filter(|(_, slot)| slot.now.is_ok());
        had.map(|(name, slot)| {
            slot.now = Err(why.to_owned());
            name.clone()
        })
        .collect()
    }

    /// Has everything that uses a value look whether it still may.
    pub(crate) fn look_again(&self) {
        self.endings.send_replace(());
    }

    /// Changes whenever something may have ended.
    pub(crate) fn endings(&self) -> watch::Receiver<()> {
        self.endings.subscribe()
    }
}

impl Real {
    /// Copies a value into locked memory, with all that must not come back of it. The broker's copy is overwritten when it
    /// is dropped.
    fn keep(material: &Material, placeholder: &str) -> io::Result<(Self, Vec<Rc<Needle>>)> {
        let lock = |secret: &Secret| Locked::new(secret.expose()).map(Rc::new);
        let forms = |bytes: &Rc<Locked>| Needle::forms(bytes, placeholder);
        match material {
            Material::Plain(secret) => {
                let secret = lock(secret)?;
                let needles = forms(&secret)?;
                Ok((Self::Plain(secret), needles))
            }
            // The pair's base64 is known once it has been put in.
            Material::Basic { user, password } => {
                let password = lock(password)?;
                let needles = forms(&password)?;
                Ok((Self::Basic { user: user.clone(), password }, needles))
            }
            Material::Aws { access_key_id, secret_access_key, session_token } => {
                let secret = lock(secret_access_key)?;
                let token = session_token.as_ref().map(lock).transpose()?;
                let mut needles = forms(&secret)?;
                needles.extend(forms(&Rc::new(Locked::new(access_key_id.as_bytes())?))?);
                if let Some(token) = &token {
                    needles.extend(forms(token)?);
                }
                Ok((Self::Aws { id: access_key_id.clone(), secret, token }, needles))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(version: u64, expires: Option<u64>) -> Supply {
        let material = Material::Plain(Secret::new(format!("real-{version}").into_bytes()));
        let (name, source) = ("a".to_owned(), "a test".to_owned());
        Supply::Value { name, version, material, set_at: 0, expires, source, host: host() }
    }

    fn host() -> HostName {
        HostName::parse("a.example").unwrap()
    }

    fn lease(held: &Held, overdue: Overdue, now: u64) -> Result<Lease, String> {
        held.lease("a", &host(), overdue, now)
    }

    fn version(held: &Held) -> Result<u64, String> {
        lease(held, Overdue::Alert, 100).map(|lease| lease.value.version)
    }

    #[test]
    fn a_value_goes_to_no_host_but_the_one_that_it_was_supplied_for() {
        let held = Held::default();
        held.take(value(1, None), "p", 100).unwrap();
        let other = HostName::parse("b.example").unwrap();
        let why = held.lease("a", &other, Overdue::Alert, 100).unwrap_err();
        assert_eq!(why, "what was supplied is for a.example");
        assert!(version(&held).is_ok());
    }

    #[test]
    fn a_rotation_changes_nothing_for_a_request_that_has_begun() {
        let held = Held::default();
        assert!(version(&held).is_err());
        assert!(held.take(value(1, None), "p", 100).is_some());
        let begun = lease(&held, Overdue::Alert, 100).unwrap();
        assert!(
            held.take(value(2, None), "p", 100).is_some() && held.take(value(2, None), "p", 100).is_none()
        );
        assert_eq!((begun.value.version, begun.is_over(), version(&held)), (1, false, Ok(2)));
    }

    #[test]
    fn the_values_of_a_host_that_are_looked_for_are_the_latest_few_that_have_not_expired() {
        let held = Held::default();
        held.take(value(0, Some(200)), "p", 100).unwrap();
        let each = held.needles(&host()).len();
        held.take(value(0, Some(200)), "p", 100);
        assert_eq!(held.needles(&host()).len(), each, "the same again");
        for version in 1..20 {
            held.take(value(version, None), "p", 200 + SKEW).unwrap();
        }
        let left = held.needles(&host());
        assert!(left.len() <= (PAST + 1) * (each + 1) && left.len() > PAST * each, "{}", left.len());
    }

    #[test]
    fn a_value_in_use_is_looked_for_however_often_another_of_its_host_is_rotated() {
        let held = Held::default();
        let named = |name: &str, secret: String| {
            let (name, source) = (name.to_owned(), "a test".to_owned());
            let material = Material::Plain(Secret::new(secret.into_bytes()));
            Supply::Value { name, version: 1, material, set_at: 0, expires: None, source, host: host() }
        };
        held.take(named("still", "still-in-use-0123".to_owned()), "p", 100);
        for version in 0..30 {
            held.take(named("rotated", format!("rotated-{version}-0123")), "p", 100);
        }
        let mut mask = crate::credential::mask::Mask::default();
        mask.add(held.needles(&host()));
        assert!(mask.whole(b"still-in-use-0123").is_some() && mask.whole(b"rotated-29-0123").is_some());
        assert!(mask.whole(b"rotated-1-0123").is_none());
    }

    #[test]
    fn a_revocation_ends_every_version_and_an_end_of_the_broker_none() {
        let held = Held::default();
        held.take(value(1, None), "p", 100).unwrap();
        let old = lease(&held, Overdue::Alert, 100).unwrap();
        held.take(value(2, None), "p", 100).unwrap();
        assert_eq!(held.orphan("gone"), ["a"]);
        assert_eq!((version(&held), old.is_over()), (Err("gone".to_owned()), false));
        held.take(Supply::Revoked { name: "a".to_owned() }, "p", 100).unwrap();
        assert!(old.is_over() && version(&held).is_err());
        held.take(value(3, None), "p", 100).unwrap();
        assert_eq!((version(&held), old.is_over()), (Ok(3), true));
    }

    #[test]
    fn what_has_expired_or_is_overdue_where_that_is_refused_is_not_used() {
        let held = Held::default();
        held.take(value(1, Some(100)), "p", 100).unwrap();
        assert!(version(&held).is_err() && lease(&held, Overdue::Alert, 99).is_ok());
        held.take(value(2, None), "p", 100).unwrap();
        let (strict, mild) = (lease(&held, Overdue::Refuse, 1), lease(&held, Overdue::Alert, 1));
        held.take(Supply::Age { name: "a".to_owned(), step: AgeStep::Overdue, seconds: 1 }, "p", 100)
            .unwrap();
        assert!(strict.unwrap().is_over() && !mild.unwrap().is_over());
        assert!(lease(&held, Overdue::Refuse, 1).is_err() && version(&held).is_ok());
        held.take(value(3, None), "p", 100).unwrap();
        assert!(lease(&held, Overdue::Refuse, 1).is_ok());
    }
}
