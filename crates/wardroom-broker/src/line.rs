//! One credential in the broker: what its value is, what the gate was told of it, and when to look again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wardroom_model::Material;
use wardroom_model::credential::AgeStep;
use wardroom_model::supply::{Supply, SupplyError};
use wardroom_policy::Credential;
use zeroize::Zeroizing;

use crate::fetch::{FetchError, Got};
use crate::store::{Stamp, StoreError};

/// How long to wait after a source failed: doubled each time, up to a minute.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// A message on its way to the gate.
pub(crate) type Packet = Zeroizing<Vec<u8>>;

/// One credential.
pub(crate) struct Line {
    pub(crate) credential: Arc<Credential>,
    /// The value, while it is not being renewed.
    pub(crate) got: Option<Got>,
    /// What the store looked like when the value was got.
    pub(crate) stamp: Stamp,
    /// Whether its source is being asked.
    pub(crate) busy: bool,
    /// Whether it is to be got anew as soon as that is possible.
    pub(crate) wanted: bool,
    state: State,
    version: u64,
    failures: u32,
    retry: Option<Instant>,
    step: Option<AgeStep>,
}

/// What the gate knows.
enum State {
    /// Nothing yet.
    Unknown,
    /// A value: the message that said so, when the secret was set, when it ends, when to get the next.
    Value { packet: Packet, set_at: Option<u64>, expires: Option<u64>, again: Option<u64> },
    /// There is none.
    Unavailable(String),
    /// And there will be none.
    Revoked,
}

impl Line {
    pub(crate) fn new(credential: Credential) -> Self {
        Self {
            credential: Arc::new(credential),
            got: None,
            stamp: Stamp::default(),
            busy: false,
            wanted: true,
            state: State::Unknown,
            version: 0,
            failures: 0,
            retry: None,
            step: None,
        }
    }

    /// Whether its value is this one: a source may give the same to several. What is leased is given to one.
    pub(crate) fn uses(&self, other: &Got) -> bool {
        let Material::Plain(theirs) = &other.material else { return false };
        let same = |got: &Got| matches!(&got.material, Material::Plain(ours) if ours.eq_ct(theirs.expose()));
        !other.is_leased() && self.got.as_ref().is_some_and(same)
    }

    /// Whether it is time to ask the source.
    pub(crate) fn is_due(&self, now: u64, steady: Instant) -> bool {
        if self.busy {
            return false;
        }
        let renew = match &self.state {
            State::Value { again, .. } => again.is_some_and(|again| now >= again),
            State::Unknown | State::Unavailable(_) => self.failures > 0,
            State::Revoked => false,
        };
        self.wanted || (renew && self.retry.is_none_or(|retry| steady >= retry))
    }

    /// A value was got. What is to be said of it.
    pub(crate) fn have(&mut self, mut got: Got, now: u64) -> Result<Vec<Packet>, SupplyError> {
        self.failures = 0;
        self.retry = None;
        self.step = None;
        self.version = self.next_version(&got);
        let empty = Material::Plain(wardroom_model::Secret::new(Vec::new()));
        let material = std::mem::replace(&mut got.material, empty);
        let supply = Supply::Value {
            name: self.credential.name.clone(),
            version: self.version,
            material,
            set_at: got.set_at.unwrap_or(now),
            expires: got.expires,
            source: got.source.clone(),
            host: self.credential.host.clone(),
        };
        let packet = supply.to_packet()?;
        if let Supply::Value { material, .. } = supply {
            got.material = material;
        }
        let said = packet.clone();
        self.state = State::Value { packet, set_at: got.set_at, expires: got.expires, again: got.again };
        self.got = Some(got);
        let mut said = vec![said];
        said.extend(self.age(now)?);
        Ok(said)
    }

    /// The value was made to last longer.
    pub(crate) fn keep(&mut self, got: Got, now: u64) -> Result<Vec<Packet>, SupplyError> {
        self.version = self.version.saturating_sub(1);
        self.have(got, now)
    }

    /// No value was got. A value that has not ended goes on, unless it is the operator's own store that says no.
    pub(crate) fn lack(
        &mut self,
        error: &FetchError,
        now: u64,
        steady: Instant,
    ) -> Result<Option<Packet>, SupplyError> {
        self.failures = self.failures.saturating_add(1);
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.saturating_sub(1).min(6)).min(LONGEST_RETRY);
        self.retry = Some(steady + wait);
        let goes_on = match &self.state {
            State::Value { expires, .. } => expires.is_none_or(|end| now < end),
            State::Unknown | State::Unavailable(_) | State::Revoked => false,
        };
        match error {
            FetchError::Store(StoreError::Revoked { .. }) => {
                self.got = None;
                self.state = State::Revoked;
                self.failures = 0;
            }
            FetchError::Web(_) | FetchError::Run(_) | FetchError::Ran(_) if goes_on => {
                if let State::Value { again, .. } = &mut self.state {
                    *again = Some(now);
                }
                return Ok(None);
            }
            FetchError::Store(_)
            | FetchError::Locked(_)
            | FetchError::Run(_)
            | FetchError::Ran(_)
            | FetchError::Web(_)
            | FetchError::Shape(_)
            | FetchError::Unsendable(_) => {
                let why = described(error);
                if matches!(&self.state, State::Unavailable(before) if *before == why) {
                    return Ok(None);
                }
                self.got = None;
                self.state = State::Unavailable(why);
            }
        }
        self.standing()
    }

    /// A value whose end has come, while no other could be got.
    pub(crate) fn expire(&mut self, now: u64) -> Result<Option<Packet>, SupplyError> {
        let over = match &self.state {
            State::Value { expires, .. } => expires.is_some_and(|end| now >= end),
            State::Unknown | State::Unavailable(_) | State::Revoked => false,
        };
        if !over {
            return Ok(None);
        }
        self.state = State::Unavailable("the value has expired, and its source gave no other".to_owned());
        self.standing()
    }

    /// A step of the age, if it was just reached.
    pub(crate) fn age(&mut self, now: u64) -> Result<Option<Packet>, SupplyError> {
        let State::Value { set_at: Some(set_at), .. } = self.state else { return Ok(None) };
        let seconds = now.saturating_sub(set_at);
        let step = step(seconds, self.credential.lifetime());
        if step <= self.step {
            return Ok(None);
        }
        self.step = step;
        let said = step.map(|step| Supply::Age { name: self.credential.name.clone(), step, seconds });
        said.map(|said| said.to_packet()).transpose()
    }

    /// Everything that a new gate must know.
    pub(crate) fn everything(&mut self, now: u64) -> Result<Vec<Packet>, SupplyError> {
        let mut said: Vec<_> = self.standing()?.into_iter().collect();
        self.step = None;
        said.extend(self.age(now)?);
        Ok(said)
    }

    fn standing(&self) -> Result<Option<Packet>, SupplyError> {
        let name = self.credential.name.clone();
        match &self.state {
            State::Unknown => Ok(None),
            State::Value { packet, .. } => Ok(Some(packet.clone())),
            State::Unavailable(why) => Supply::Unavailable { name, why: why.clone() }.to_packet().map(Some),
            State::Revoked => Supply::Revoked { name }.to_packet().map(Some),
        }
    }

    /// The store counts its own values; what is exchanged for them is counted here.
    fn next_version(&self, got: &Got) -> u64 {
        let itself = self.credential.is_sent_as_stored();
        got.stored.filter(|_| itself).unwrap_or(self.version + 1)
    }
}

/// An error with its causes.
pub(crate) fn described(error: &FetchError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The step of an age: a tenth of the time is left, none is, it is over by a tenth.
#[must_use]
pub fn step(seconds: u64, lifetime: u64) -> Option<AgeStep> {
    let tenth = lifetime / 10;
    if seconds >= lifetime.saturating_add(tenth) {
        Some(AgeStep::Overdue)
    } else if seconds >= lifetime {
        Some(AgeStep::Due)
    } else if seconds >= lifetime - tenth {
        Some(AgeStep::DueSoon)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use wardroom_model::Secret;
    use wardroom_policy::Policy;

    use super::*;

    fn got(token: &str) -> Got {
        let material = Material::Plain(Secret::new(token.as_bytes().to_vec()));
        Got { material, ..Got::from_source(String::new()) }
    }

    #[test]
    fn a_token_that_a_server_gave_twice_is_known_as_the_one_in_use() {
        let text = "[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\n[[network.allow]]\nhost = \"a.example\"\n\
                    [[credential]]\nenv = \"A_KEY\"\nhost = \"a.example\"\nkind = \"bearer\"\n";
        let mut line = Line::new(Policy::parse("scout.toml", text).unwrap().credentials()[0].clone());
        assert!(!line.uses(&got("at-1")));
        line.have(got("at-1"), 1).unwrap();
        assert!(line.uses(&got("at-1")) && !line.uses(&got("at-2")));
    }

    #[test]
    fn the_steps_of_an_age_come_in_order() {
        let day = 86_400;
        for (days, expected) in [
            (0, None),
            (26, None),
            (27, Some(AgeStep::DueSoon)),
            (30, Some(AgeStep::Due)),
            (33, Some(AgeStep::Overdue)),
        ] {
            assert_eq!(step(days * day, 30 * day), expected, "{days}");
        }
    }
}
