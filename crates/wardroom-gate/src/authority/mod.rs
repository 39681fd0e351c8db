//! An agent's certificate authority: it stands in for the hosts that the policy has inspected, for this agent alone.
//!
//! Its key never enters a cell: the keeper stores it, and only the gate uses it. Its certificate is made for one start of
//! the agent and permits exactly the names that the policy has inspected then, so that the key, were it lost, vouches for nothing
//! else. It never signs for an address, and never for a name outside its constraints.

mod certify;
mod leaves;

use std::cell::RefCell;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use minicbor::{Decode, Encode};
use rcgen::{Issuer, KeyPair};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::PrivateKeyDer;
use thiserror::Error;
use wardroom_model::{HostName, HostPattern};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::clock::unix_now;
use leaves::Leaf;

pub use certify::{Issued, certify, new_key};

/// What the keeper gives a gate of an authority.
#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
pub struct AuthorityParts {
    /// The private key, PKCS #8 as PEM.
    #[n(0)]
    key: String,
    /// The common name of its certificate.
    #[n(1)]
    subject: String,
    /// The host that it belongs to.
    #[n(2)]
    host: String,
    /// The names that its certificate permits, as a policy writes them.
    #[n(3)]
    names: Vec<String>,
}

impl fmt::Debug for AuthorityParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorityParts")
            .field("subject", &self.subject)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Why there is no certificate. The connection that needed it is refused.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// The name is inspected by a policy that came after the agent was started.
    #[error(
        "{0} was not among the inspected hosts when the agent was started; inspecting it takes effect at the next start"
    )]
    OutsideConstraints(HostName),
    /// The key is none.
    #[error("the key of the certificate authority is damaged: {0}")]
    Key(String),
    /// The kernel gave no random number.
    #[error("no random number for a certificate")]
    Random,
    /// Making or signing a certificate failed.
    #[error("no certificate could be made: {0}")]
    Certificate(String),
}

/// The authority as a gate holds it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    names: Vec<HostPattern>,
    /// One key for all leaves of this start of the gate: they are all the gate's, live as long as it does, and making one
    /// for each would double the work of a new name without keeping anything from anybody.
    leaf_key: KeyPair,
    signing: Arc<dyn SigningKey>,
    leaves: RefCell<LruCache<HostName, Leaf>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Leaves that are kept. One takes some 1.5 KiB; a working day of a coding agent meets some hundred names.
const KEPT: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

impl Authority {
    /// Takes charge of an authority.
    ///
    /// # Errors
    /// The parts are none of [`certify()`]'s.
    pub(crate) fn open(parts: &AuthorityParts) -> Result<Self, AuthorityError> {
        let damaged = |what: String| AuthorityError::Key(what);
        let names = parts.names.iter().map(|name| HostPattern::parse(name));
        let names = names.collect::<Result<_, _>>().map_err(|e| damaged(e.to_string()))?;
        let key = certify::key(&parts.key)?;
        let leaf_key = certify::fresh_key()?;
        let private = PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into());
        let provider = rustls::crypto::ring::default_provider();
        let signing = provider.key_provider.load_private_key(private).map_err(|e| damaged(e.to_string()))?;
        let issuer = Issuer::new(certify::identity(&parts.subject, &parts.host), key);
        Ok(Self { issuer, names, leaf_key, signing, leaves: RefCell::new(LruCache::new(KEPT)) })
    }

    /// A certificate for a host, and the key to it: from memory, or made now.
    ///
    /// # Errors
    /// The authority may not vouch for this name, or the certificate cannot be made.
    pub(crate) fn certified_key(&self, host: &HostName) -> Result<Arc<CertifiedKey>, AuthorityError> {
        self.at(host, unix_now())
    }

    fn at(&self, host: &HostName, now: u64) -> Result<Arc<CertifiedKey>, AuthorityError> {
        // Clients compare with the constraints as well; said here, the operator hears the reason.
        if !self.names.iter().any(|name| name.matches(host)) {
            return Err(AuthorityError::OutsideConstraints(host.clone()));
        }
        let mut leaves = self.leaves.borrow_mut();
        if let Some(leaf) = leaves.get(host).filter(|leaf| leaf.serves_at(now)) {
            return Ok(leaf.certified());
        }
        let leaf = Leaf::make(host, now, &self.leaf_key, &self.issuer, &self.signing)?;
        let certified = leaf.certified();
        leaves.put(host.clone(), leaf);
        Ok(certified)
    }
}

#[cfg(test)]
mod tests;
