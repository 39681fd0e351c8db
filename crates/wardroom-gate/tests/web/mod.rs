//! A web server of the test's own behind an inspected host, and raw TLS clients before it.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use wardroom_model::Event;
use wardroom_model::request::{Request, RequestDecision, RequestEnd, RequestPhase};

use crate::support::{Bench, Setup, serve_each};

pub const HOST: &str = "api.example.com";

/// A server's side of TLS.
pub type ServerTls = StreamOwned<ServerConnection, TcpStream>;
/// A client's side of TLS.
pub type ClientTls = StreamOwned<ClientConnection, TcpStream>;

/// A server behind the host, and what vouches for it.
pub struct Web {
    pub address: SocketAddr,
    pub authority: String,
    /// The heads of the requests that reached it.
    pub heads: Receiver<String>,
}

impl Web {
    /// Serves each TLS connection with this.
    pub fn each(alpn: &[&[u8]], serve: impl Fn(ServerTls, &Sender<String>) + Clone + Send + 'static) -> Self {
        let (config, authority) = server_config(alpn);
        let (say, heads) = channel();
        let address = serve_each("127.0.0.1".parse().unwrap(), move |stream| {
            stream.set_nodelay(true).unwrap();
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(StreamOwned::new(session, stream), &say);
        });
        Self { address, authority, heads }
    }

    /// A server with this certificate that answers nothing, and trusts itself.
    pub fn with_certificate(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> Self {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = Arc::new(configured(&[b"http/1.1"], certificate.der().clone(), key));
        let address = serve_each("127.0.0.1".parse().unwrap(), move |stream| {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = StreamOwned::new(session, stream);
            assert!(read_head(&mut tls).is_none(), "a request for a server that is not the one");
        });
        Self { address, authority: certificate.pem(), heads: channel().1 }
    }

    /// Serves each TLS connection with this, on an event loop of its own.
    pub fn on_tokio<F: Future<Output = ()>>(
        alpn: &[&[u8]],
        serve: impl Fn(tokio_rustls::server::TlsStream<tokio::net::TcpStream>) -> F + Clone + Send + 'static,
    ) -> Self {
        let (config, authority) = server_config(alpn);
        let address = serve_each("127.0.0.1".parse().unwrap(), move |stream| {
            stream.set_nonblocking(true).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&config));
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let stream = tokio::net::TcpStream::from_std(stream).unwrap();
                if let Ok(tls) = acceptor.accept(stream).await {
                    serve(tls).await;
                }
            });
        });
        Self { address, authority, heads: channel().1 }
    }

    /// Answers every request over HTTP/1.1 by this function of its head.
    pub fn answering(answer: impl Fn(&str) -> Vec<u8> + Clone + Send + 'static) -> Self {
        Self::each(&[b"http/1.1"], move |mut tls, say| {
            while let Some(head) = read_head(&mut tls) {
                let length = header(&head, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
                let mut body = vec![0; length];
                if tls.read_exact(&mut body).is_err() {
                    return;
                }
                let bytes = answer(&head);
                drop(say.send(head));
                if tls.write_all(&bytes).and_then(|()| tls.flush()).is_err() {
                    return;
                }
            }
        })
    }

    /// A server that says hello to everything.
    pub fn hello() -> Self {
        Self::answering(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec())
    }

    /// A policy with this more in the rule for the host.
    pub fn policy(&self, more: &str) -> String {
        let Self { address, authority, .. } = self;
        let ca = if authority.is_empty() { String::new() } else { format!("ca = \"\"\"\n{authority}\"\"\"") };
        format!("[[network.allow]]\nhost = \"{HOST}\"\naddress = \"{address}\"\n{ca}\n{more}\n")
    }

    /// A bench whose gate inspects the host by this rule.
    pub fn bench(&self, test: &str, more: &str) -> Option<Bench> {
        let policy = self.policy(more);
        Bench::start(test, &Setup { policy: &policy, inspected: &[HOST], ..Setup::default() })
    }
}

/// A server's configuration for the host, and what vouches for it.
fn server_config(alpn: &[&[u8]]) -> (Arc<ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = configured(alpn, made.cert.der().clone(), key);
    (Arc::new(config), made.cert.pem())
}

fn configured(
    alpn: &[&[u8]],
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// Reads up to the empty line.
pub fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// A header's value in a head.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then(|| value.trim()))
}

/// What a program inside is configured with that trusts the agent's authority.
pub fn client_config(bench: &Bench, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(bench.authority.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Opens TLS to the host as a program inside would that trusts the agent's authority.
pub fn open(bench: &Bench, alpn: &[&[u8]]) -> ClientTls {
    let config = client_config(bench, alpn);
    let name = ServerName::try_from(HOST).unwrap();
    let session = ClientConnection::new(config, name).unwrap();
    StreamOwned::new(session, bench.connect_to(HOST, 443).unwrap())
}

/// Sends these bytes, and returns one answer: head and body.
pub fn exchange(tls: &mut ClientTls, request: &str) -> (String, String) {
    tls.write_all(request.as_bytes()).unwrap();
    tls.flush().unwrap();
    read_answer(tls).expect("an answer")
}

/// One answer with a length, head and body; none where the connection ends.
pub fn read_answer(tls: &mut ClientTls) -> Option<(String, String)> {
    let head = read_head(tls)?;
    let length = header(&head, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    tls.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8_lossy(&body).into_owned()))
}

/// Sends these bytes on a connection of their own, and returns all that is answered before it ends or is silent.
pub fn all(bench: &Bench, bytes: &[u8]) -> String {
    let mut tls = open(bench, &[b"http/1.1"]);
    // A refusal may come, and the connection end, before everything has been said.
    drop(tls.write_all(bytes).and_then(|()| tls.flush()));
    tls.sock.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut answer = Vec::new();
    drop(tls.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// A GET of this path as curl would write it.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// The decision about a request to this path.
pub fn decided(bench: &mut Bench, path: &str) -> (Request, RequestDecision) {
    let event = bench.seen(&format!("decision about {path}"), |event| match event {
        Event::Request(r) => r.path.shown() == path.as_bytes() && matches!(r.phase, RequestPhase::Decided(_)),
        _ => false,
    });
    match event {
        Event::Request(r) => match r.phase.clone() {
            RequestPhase::Decided(decision) => (r, decision),
            RequestPhase::Ended(_) => unreachable!(),
        },
        other => panic!("{other:?}"),
    }
}

/// The end of the request to this path.
pub fn ended(bench: &mut Bench, path: &str) -> RequestEnd {
    let event = bench.seen(&format!("end of {path}"), |event| match event {
        Event::Request(r) => r.path.shown() == path.as_bytes() && matches!(r.phase, RequestPhase::Ended(_)),
        _ => false,
    });
    match event {
        Event::Request(Request { phase: RequestPhase::Ended(end), .. }) => end,
        other => panic!("{other:?}"),
    }
}
