//! Getting a credential's value: from its source, and through its kind's exchange. The same for the broker's process and
//! for the operator's commands.

use std::sync::Arc;

use age::x25519;
use thiserror::Error;
use wardroom_model::secret::Unsendable;
use wardroom_model::{Material, Secret};
use wardroom_policy::{Credential, Particulars, SecretCommand, SecretSource, Vault};

use crate::clock;
use crate::exchange::oauth2::Halves;
use crate::exchange::{Token, github, oauth2};
use crate::raw::Raw;
use crate::run::RunError;
use crate::store::{Store, StoreError};
use crate::vault::{self, Lease};
use crate::web::{Web, WebError};

/// Seconds before the end of a value at which the next is got, or a fifth of its life where that is less.
const EARLY: u64 = 300;
/// Seconds after which a value of a vault's KV store is read again: nobody says when it changes there.
const VAULT_AGAIN: u64 = 60;

/// Why there is no value. No message holds a word of one.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's key is not at hand.
    #[error("{0}")]
    Locked(String),
    /// The operator's program.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The operator's program, as whoever ran it says.
    #[error("{0}")]
    Ran(String),
    /// A server.
    #[error(transparent)]
    Web(#[from] WebError),
    /// What was given is not what the kind needs.
    #[error("{0}")]
    Shape(String),
    /// The value cannot be sent.
    #[error("the value cannot be sent")]
    Unsendable(#[from] Unsendable),
}

/// A value, and for how long.
#[derive(Debug)]
pub struct Got {
    /// What is put into requests.
    pub material: Material,
    /// When the secret behind it was set, where that is known.
    pub set_at: Option<u64>,
    /// Which value of the store it is or comes from, where it comes from there.
    pub stored: Option<u64>,
    /// When it ends by itself.
    pub expires: Option<u64>,
    /// When the next should be got.
    pub again: Option<u64>,
    /// Where it came from, in words for the record.
    pub source: String,
    pub(crate) lease: Option<Lease>,
    /// What it takes to end it at an OAuth 2 server.
    pub(crate) halves: Option<Halves>,
}

/// Whether a secret can be what this credential needs, as far as that can be seen without asking anybody.
///
/// # Errors
/// Says what is wrong with it.
pub fn check(credential: &Credential, secret: &Secret) -> Result<(), FetchError> {
    match (&credential.source, &credential.particulars) {
        (SecretSource::Command(_), _) => {
            Err(FetchError::Shape("its secret comes from the command in the policy".to_owned()))
        }
        (SecretSource::Vault(_), _) => Ok(Raw::bytes(secret).single()?.sendable()?),
        (SecretSource::Store, Particulars::GithubApp(_)) => github::check(secret),
        (SecretSource::Store, Particulars::Oauth2(of)) => oauth2::check(of, secret),
        (SecretSource::Store, particulars) => Raw::bytes(secret).material(particulars).map(drop),
    }
}

/// Runs the operator's programs.
pub trait Programs: Send + Sync {
    /// Runs the program of this credential, and returns what it prints.
    ///
    /// # Errors
    /// When it gives no answer.
    fn run(&self, credential: &Credential, command: &SecretCommand) -> Result<Secret, FetchError>;
}

/// Everything that getting a value may need.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it holds the store's key")]
pub struct Sources {
    /// Values at rest.
    pub store: Store,
    /// The store's key, or why it is not at hand.
    pub identity: Result<x25519::Identity, String>,
    /// Servers.
    pub web: Web,
    /// Programs.
    pub programs: Arc<dyn Programs>,
}

impl Sources {
    /// Gets a value.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn get(&self, credential: &Credential) -> Result<Got, FetchError> {
        let now = clock::unix();
        if self.store.is_revoked(&credential.name)? {
            return Err(self.store.revoked(&credential.name).into());
        }
        let (raw, got) = match &credential.source {
            SecretSource::Store => {
                let (secret, mut got) = self.held(credential)?;
                got.source = "the store".to_owned();
                (Raw::bytes(&secret), got)
            }
            SecretSource::Command(command) => {
                let printed = self.programs.run(credential, command)?;
                let source = format!("the command {}", command.argv.first().map_or("", String::as_str));
                let again = command.every.map(|every| now + every);
                (Raw::bytes(&printed), Got { again, ..Got::from_source(source) })
            }
            SecretSource::Vault(vault) => self.vault(credential, vault, now)?,
        };
        self.made_of(credential, raw, got)
    }

    /// Makes of a secret that is not in the store yet what would be sent. A server that gives another secret for it has
    /// that kept at once, for the one that was tried is then worth nothing any more.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn try_secret(&self, credential: &Credential, secret: &Secret) -> Result<Got, FetchError> {
        self.made_of(credential, Raw::bytes(secret), Got::from_source(String::new()))
    }

    fn made_of(&self, credential: &Credential, raw: Raw, mut got: Got) -> Result<Got, FetchError> {
        let now = clock::unix();
        let exchanged = match &credential.particulars {
            Particulars::Plain | Particulars::Basic { .. } | Particulars::Aws { .. } => {
                got.material = raw.material(&credential.particulars)?;
                return Ok(got);
            }
            Particulars::GithubApp(app) => github::exchange(app, &raw.single()?, &self.web, now)?,
            Particulars::Oauth2(of) => oauth2::exchange(of, &raw.single()?, &self.web, now)?,
        };
        self.exchanged(credential, got, exchanged, now)
    }

    /// Makes the value last longer, where its source can; else gets another.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn refresh(&self, credential: &Credential, old: &mut Got) -> Result<Option<Got>, FetchError> {
        if let (SecretSource::Vault(vault), Some(lease)) = (&credential.source, &old.lease)
            && lease.renewable
            && let Ok(seconds) = vault::renew(vault, lease, &self.web_of(vault)?)
            // A lease near its greatest age is renewed for less and less.
            && seconds > lease.seconds / 2
        {
            let now = clock::unix();
            old.expires = Some(now + seconds);
            old.again = Some(now + seconds * 2 / 3);
            return Ok(None);
        }
        self.get(credential).map(Some)
    }

    fn held(&self, credential: &Credential) -> Result<(Secret, Got), FetchError> {
        let identity = self.identity.as_ref().map_err(|why| FetchError::Locked(why.clone()))?;
        let held = self.store.take(&credential.name, identity)?;
        let got = Got {
            set_at: Some(held.label.set_at),
            stored: Some(held.label.version),
            ..Got::from_source(String::new())
        };
        Ok((held.secret, got))
    }

    fn vault(&self, credential: &Credential, vault: &Vault, now: u64) -> Result<(Raw, Got), FetchError> {
        let (proof, proved) = self.held(credential)?;
        let Raw::Bytes(proof) = Raw::bytes(&proof) else {
            return Err(FetchError::Shape("what proves us to the vault is no single value".to_owned()));
        };
        let reading = vault::read(vault, &proof, &self.web_of(vault)?)?;
        let seconds = reading.lease.as_ref().map(|lease| lease.seconds);
        let again = seconds.map_or(VAULT_AGAIN, |seconds| seconds * 2 / 3);
        let got = Got {
            expires: seconds.map(|seconds| now + seconds),
            again: Some(now + again.max(1)),
            lease: reading.lease,
            source: format!("{} at {}", vault.path, vault.address),
            ..proved
        };
        Ok((reading.raw, got))
    }

    /// Completes a value that was exchanged; a secret that the server wants to see the next time is kept first.
    fn exchanged(
        &self,
        credential: &Credential,
        mut got: Got,
        token: Token,
        now: u64,
    ) -> Result<Got, FetchError> {
        let Token { token, expires, next, halves } = token;
        if let (Some(next), SecretSource::Store, Ok(identity)) = (next, &credential.source, &self.identity) {
            let (name, to) = (&credential.name, identity.to_public());
            let label = match got.stored {
                // What the operator revoked or set meanwhile stays so: whoever looks at the store sees that it is another.
                Some(before) => self.store.follow(name, &next, &to, (before, now))?,
                None => Some(self.store.put(name, &next, &to, now)?),
            };
            if let Some(label) = label {
                got.stored = Some(label.version);
                got.set_at = Some(label.set_at);
            }
        }
        got.halves = halves;
        got.expires = expires;
        got.again = expires.map(|end| end.saturating_sub(EARLY.min(end.saturating_sub(now) / 5)));
        token.sendable()?;
        got.material = Material::Plain(token);
        got.source = match &credential.particulars {
            Particulars::GithubApp(app) => app.api.clone(),
            Particulars::Oauth2(of) => of.token_url.clone(),
            Particulars::Plain | Particulars::Basic { .. } | Particulars::Aws { .. } => got.source,
        };
        Ok(got)
    }

    pub(crate) fn web_of(&self, vault: &Vault) -> Result<Web, FetchError> {
        match &vault.ca {
            Some(file) => Ok(Web::with_authorities_of(file)?),
            None => Ok(self.web.clone()),
        }
    }
}

impl Got {
    /// Without a value yet.
    pub(crate) fn from_source(source: String) -> Self {
        let material = Material::Plain(Secret::new(Vec::new()));
        Self {
            material,
            set_at: None,
            stored: None,
            expires: None,
            again: None,
            source,
            lease: None,
            halves: None,
        }
    }

    /// Whether it must be given back at the end.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        self.lease.is_some()
    }
}

#[cfg(test)]
mod real;
#[cfg(test)]
mod tests;
