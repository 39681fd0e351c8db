//! Whom the gate trusts to vouch for servers: the host's authorities, or the ones that the rule names in their place.
//!
//! No environment variable adds one. Without any, no server is trusted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::load_certs_from_paths;
use wardroom_model::Reason;

use super::accept::{H2, HTTP11, provider};

/// Where distributions keep the bundle of authorities: Debian, Fedora, openSUSE, Alpine and Arch.
pub(crate) const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What is spoken to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Speech {
    /// Whatever the server prefers.
    Any,
    /// HTTP/1.1, because an upgrade is asked for.
    One,
}

/// The configurations towards servers, made when first needed: reading the host's authorities takes some milliseconds.
#[derive(Debug)]
pub(crate) struct Roots {
    provider: Arc<CryptoProvider>,
    made: RefCell<BTreeMap<Whom, Arc<ClientConfig>>>,
}

/// Authorities (PEM), and what is spoken.
type Whom = (Option<String>, Speech);

impl Roots {
    pub(crate) fn new() -> Self {
        Self { provider: provider(), made: RefCell::default() }
    }

    /// The configuration for servers that these authorities vouch for (PEM); the host's where there are none.
    pub(super) fn config(
        &self,
        authorities: Option<&str>,
        speech: Speech,
    ) -> Result<Arc<ClientConfig>, Reason> {
        let key = (authorities.map(ToOwned::to_owned), speech);
        if let Some(made) = self.made.borrow().get(&key) {
            return Ok(Arc::clone(made));
        }
        let failed = |why: String| Reason::FailedClosed(format!("cannot trust any server: {why}"));
        let store = match authorities {
            Some(pem) => given(pem),
            None => hosts(),
        };
        let store = store.map_err(failed)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|e| failed(e.to_string()))?;
        let mut config = builder.with_root_certificates(store).with_no_client_auth();
        config.alpn_protocols = match speech {
            Speech::Any => vec![H2.to_vec(), HTTP11.to_vec()],
            Speech::One => vec![HTTP11.to_vec()],
        };
        let config = Arc::new(config);
        let mut made = self.made.borrow_mut();
        // A policy has few authorities of its own; what earlier policies had is not kept for ever.
        if made.len() > KEPT {
            made.clear();
        }
        made.insert(key, Arc::clone(&config));
        Ok(config)
    }
}

const KEPT: usize = 64;

fn hosts() -> Result<RootCertStore, String> {
    let bundle = BUNDLES.iter().map(Path::new).find(|bundle| std::fs::metadata(bundle).is_ok());
    let bundle = bundle.ok_or("the host has no bundle of certificate authorities")?;
    let read = load_certs_from_paths(Some(bundle), None);
    if read.certs.is_empty() {
        return Err(read.errors.first().map_or_else(|| "an empty bundle".to_owned(), ToString::to_string));
    }
    let mut store = RootCertStore::empty();
    // A bundle of a hundred may hold one that is malformed; it vouches for nobody.
    let (_added, _ignored) = store.add_parsable_certificates(read.certs);
    Ok(store)
}

fn given(pem: &str) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|e| e.to_string())?;
        store.add(certificate).map_err(|e| e.to_string())?;
    }
    if store.is_empty() { Err("the rule's `ca` holds no certificate".to_owned()) } else { Ok(store) }
}

/// Why a handshake with a server failed.
pub(super) fn unverified(error: &io::Error) -> Reason {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => Reason::ServerCertificate(format!("{why}")),
        Some(other) => Reason::UpstreamProtocol(format!("TLS handshake: {other}")),
        None => Reason::Unreachable(format!("TLS handshake: {error}")),
    }
}
