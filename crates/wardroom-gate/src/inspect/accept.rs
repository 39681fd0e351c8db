//! The agent's side of TLS: the gate answers in the host's name, with a certificate of the agent's own authority.
//!
//! The server name has been compared with the host before ([`crate::hello`]). Nothing here looks at a request.

use std::cell::RefCell;
use std::io;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use lru::LruCache;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CipherSuite, ServerConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use wardroom_model::{HostName, Reason};

use super::limits::{HANDSHAKE_TIME, HOSTS, TLS_BUFFER};
use super::wire::Wire;
use crate::authority::Authority;
use crate::relay::Traffic;

/// HTTP/2 by its name in ALPN (RFC 9113, 3.1).
pub(super) const H2: &[u8] = b"h2";
/// HTTP/1.1 by its name in ALPN (RFC 7301, 6).
pub(super) const HTTP11: &[u8] = b"http/1.1";

/// An agent's end of a connection. In a box, because it is moved through every layer above it.
pub(super) type Agent = Box<TlsStream<Wire>>;

/// The configurations by host, made when first needed.
#[derive(Debug)]
pub(crate) struct Acceptors {
    provider: Arc<CryptoProvider>,
    /// Sessions resume within one gate: the key lives and dies with it.
    tickets: Option<Arc<dyn ProducesTickets>>,
    ready: RefCell<LruCache<HostName, Ready>>,
}

/// A configuration, and the certificate that it was made for.
type Ready = (Arc<CertifiedKey>, Arc<ServerConfig>);

/// The usual cryptography, AES-128 first: processors have instructions for it and for SHA-256, and many have none for the
/// SHA-384 that comes with AES-256, which costs a twelfth of a handshake.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    let first = [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
    provider.cipher_suites.sort_by_key(|suite| !first.contains(&suite.suite()));
    Arc::new(provider)
}

/// Always the same certificate: which host is meant was decided before.
#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl Acceptors {
    pub(crate) fn new() -> Self {
        Self {
            provider: provider(),
            // Without chance there is no resumption, and every connection takes a whole handshake.
            tickets: rustls::crypto::ring::Ticketer::new().ok(),
            ready: RefCell::new(LruCache::new(NonZeroUsize::new(HOSTS).unwrap_or(NonZeroUsize::MIN))),
        }
    }

    /// The configuration for a host, with the certificate that is in use now.
    fn config(&self, authority: &Authority, host: &HostName) -> Result<Arc<ServerConfig>, Reason> {
        let failed = |why: String| Reason::FailedClosed(format!("no certificate for {host}: {why}"));
        let key = authority.certified_key(host).map_err(|e| failed(e.to_string()))?;
        let mut ready = self.ready.borrow_mut();
        if let Some((_, config)) = ready.get(host).filter(|(made_for, _)| Arc::ptr_eq(made_for, &key)) {
            return Ok(Arc::clone(config));
        }
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|e| failed(e.to_string()))?;
        let resolver = Arc::new(Fixed(Arc::clone(&key)));
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![H2.to_vec(), HTTP11.to_vec()];
        config.send_tls13_tickets = 1;
        config.ignore_client_order = true;
        if let Some(tickets) = &self.tickets {
            config.ticketer = Arc::clone(tickets);
        }
        let config = Arc::new(config);
        ready.put(host.clone(), (key, Arc::clone(&config)));
        Ok(config)
    }

    /// Does the handshake with the agent, whose ClientHello was read before.
    pub(super) async fn accept(
        &self,
        authority: &Authority,
        host: &HostName,
        (agent, flight): (Rc<TcpStream>, Vec<u8>),
        traffic: Rc<Traffic>,
    ) -> Result<Agent, Reason> {
        let acceptor = TlsAcceptor::from(self.config(authority, host)?);
        let wire = Wire::new(agent, flight, traffic);
        let accepted = acceptor.accept_with(wire, |session| session.set_buffer_limit(Some(TLS_BUFFER)));
        match timeout(HANDSHAKE_TIME, accepted).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(declined(&error)),
            Err(_elapsed) => Err(Reason::TooSlow),
        }
    }
}

/// Why a handshake with the agent failed: most often a program that brings its own list of authorities.
fn declined(error: &io::Error) -> Reason {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(alert)) if about_certificates(*alert) => {
            Reason::ClientDeclined(format!("{alert:?}"))
        }
        Some(other) => Reason::Malformed(format!("TLS handshake: {other}")),
        None => Reason::ClientDeclined(format!("closed during the handshake: {error}")),
    }
}

fn about_certificates(alert: AlertDescription) -> bool {
    [
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::UnknownCA,
        AlertDescription::AccessDenied,
        AlertDescription::DecryptError,
    ]
    .contains(&alert)
}
