//! Ending values at their sources before their time. What was made for one use alone ends with that use; the right that it
//! was made from ends when the operator revokes it, and at no other time.
//!
//! Nothing waits for this: what is revoked is out of use here before its source is told.

use wardroom_model::{Material, Secret};
use wardroom_policy::{Credential, Grant, Oauth2, Particulars, SecretSource};

use crate::clock;
use crate::exchange::oauth2::{Halves, Hint};
use crate::exchange::{github, oauth2};
use crate::fetch::{FetchError, Got, Sources};
use crate::store::Sealed;
use crate::vault;

/// How much ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What was made for this use: a lease, an App's token, a token of the client's own. A user's access token stays, because
    /// a server may end the refresh token with it (RFC 7009, 2.1), which is needed again.
    Use,
    /// The right as well: the refresh token, and what was had with it.
    Right,
}

/// What a source says to it.
#[derive(Debug)]
pub struct GivenBack {
    /// Which: a server's address.
    pub at: String,
    /// Whether the value has ended there.
    pub outcome: Result<(), FetchError>,
}

impl Sources {
    /// Ends a value where it came from. Empty where nothing of it can be ended, or has to be.
    #[must_use]
    pub fn end(&self, credential: &Credential, got: &Got, extent: Extent) -> Vec<GivenBack> {
        let mut said = match (&credential.particulars, &got.material) {
            (Particulars::GithubApp(app), Material::Plain(token)) if is_alive(got) => {
                let outcome = github::revoke(app, token, &self.web);
                vec![GivenBack { at: app.api.clone(), outcome }]
            }
            (Particulars::Oauth2(of), Material::Plain(token)) => self.end_oauth2(of, token, got, extent),
            (
                Particulars::Plain
                | Particulars::Basic { .. }
                | Particulars::Aws { .. }
                | Particulars::GithubApp(_),
                _,
            )
            | (Particulars::Oauth2(_), Material::Basic { .. } | Material::Aws { .. }) => Vec::new(),
        };
        if let (SecretSource::Vault(vault), Some(lease)) = (&credential.source, &got.lease) {
            let outcome = self.web_of(vault).and_then(|web| Ok(vault::give_back(vault, lease, &web)?));
            said.push(GivenBack { at: vault.address.clone(), outcome });
        }
        said
    }

    /// Ends the right that the store held, at [`stored_ends_at`], once it has been revoked there.
    ///
    /// # Errors
    /// When it has not ended.
    pub fn end_stored(&self, credential: &Credential, sealed: &Sealed) -> Result<(), FetchError> {
        let Some((of, at)) = refreshed(credential) else { return Ok(()) };
        let identity = self.identity.as_ref().map_err(|why| FetchError::Locked(why.clone()))?;
        let held = self.store.open(&credential.name, sealed, identity)?;
        self.end_refresh(of, at, &oauth2::halves(of.grant, &held.secret)?)
    }

    fn end_oauth2(&self, of: &Oauth2, token: &Secret, got: &Got, extent: Extent) -> Vec<GivenBack> {
        let (Some(at), Some(halves)) = (&of.revoke_url, &got.halves) else { return Vec::new() };
        let access = || oauth2::revoke(of, (at, token, Hint::Access), halves, &self.web);
        let outcome = match (of.grant, extent) {
            (Grant::Refresh, Extent::Use) => return Vec::new(),
            (Grant::ClientCredentials, Extent::Use | Extent::Right) if !is_alive(got) => return Vec::new(),
            (Grant::ClientCredentials, Extent::Use | Extent::Right) => access(),
            // The access token should end with it, and need not (RFC 7009, 2.1): both are told, whatever comes of one.
            (Grant::Refresh, Extent::Right) => {
                let (refresh, access) = (self.end_refresh(of, at, halves), access());
                refresh.and(access)
            }
        };
        vec![GivenBack { at: at.clone(), outcome }]
    }

    fn end_refresh(&self, of: &Oauth2, at: &str, halves: &Halves) -> Result<(), FetchError> {
        let missing = || FetchError::Shape("there is no refresh token".to_owned());
        let token = Secret::new(halves.refresh.as_ref().ok_or_else(missing)?.as_bytes().to_vec());
        oauth2::revoke(of, (at, &token, Hint::Refresh), halves, &self.web)
    }
}

impl GivenBack {
    /// Whether it may go better another time.
    #[must_use]
    pub fn is_worth_another_try(&self) -> bool {
        matches!(&self.outcome, Err(FetchError::Web(error)) if error.may_pass())
    }
}

/// The server at which what the store holds can be ended; none where it is no right that a server ends.
#[must_use]
pub fn stored_ends_at(credential: &Credential) -> Option<&str> {
    refreshed(credential).map(|(_, at)| at)
}

fn refreshed(credential: &Credential) -> Option<(&Oauth2, &str)> {
    match (&credential.source, &credential.particulars) {
        (SecretSource::Store, Particulars::Oauth2(of)) if of.grant == Grant::Refresh => {
            Some((of, of.revoke_url.as_deref()?))
        }
        (SecretSource::Store | SecretSource::Vault(_) | SecretSource::Command(_), _) => None,
    }
}

/// What has ended by itself need not be ended.
fn is_alive(got: &Got) -> bool {
    got.expires.is_none_or(|end| clock::unix() < end)
}
