//! A client's connection: HTTP by hyper, or a request at its barest.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type Tls = TlsStream<TcpStream>;

/// Whom the clients talk to.
pub(crate) struct Target {
    name: ServerName<'static>,
    host: String,
    pub(crate) address: SocketAddr,
    /// What the proxy at this address is asked for.
    behind: Option<String>,
    connector: TlsConnector,
}

impl Target {
    pub(crate) fn new(name: &str, address: &str, ca: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        // Every handshake is a whole one.
        config.resumption = Resumption::disabled();
        let (address, behind) = match address.split_once('/') {
            Some((proxy, behind)) => (proxy, Some(behind.to_owned())),
            None => (address, None),
        };
        Self {
            name: ServerName::try_from(name.to_owned()).unwrap(),
            // A proxy goes where the request says.
            host: behind.clone().unwrap_or_else(|| name.to_owned()),
            address: address.to_socket_addrs().unwrap().next().unwrap(),
            behind,
            connector: TlsConnector::from(Arc::new(config)),
        }
    }

    async fn connect(&self) -> Tls {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        if let Some(behind) = &self.behind {
            let ask = format!("CONNECT {behind} HTTP/1.1\r\nhost: {behind}\r\n\r\n");
            stream.write_all(ask.as_bytes()).await.unwrap();
            until(&mut stream, b"\r\n\r\n").await;
        }
        self.connector.connect(self.name.clone(), stream).await.unwrap()
    }

    /// A connection that has had its first answer.
    pub(crate) async fn open(&self, bare: bool) -> Client {
        let tls = self.connect().await;
        let mut client = if bare {
            Client::Bare(Box::new(tls), format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", self.host).into_bytes())
        } else {
            let (requests, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
            tokio::task::spawn_local(connection);
            Client::Http(requests, self.host.clone())
        };
        client.round_trip().await;
        client
    }
}

/// One open connection.
pub(crate) enum Client {
    /// For requests to this host.
    Http(http1::SendRequest<Empty<Bytes>>, String),
    /// For these bytes.
    Bare(Box<Tls>, Vec<u8>),
}

impl Client {
    /// A request, and the whole of its answer.
    pub(crate) async fn round_trip(&mut self) {
        match self {
            Self::Http(requests, host) => {
                let answer = get(requests, host, "/").await;
                assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
            }
            Self::Bare(tls, request) => {
                tls.write_all(request).await.unwrap();
                tls.flush().await.unwrap();
                until(tls, b"\r\n\r\nok").await;
            }
        }
    }

    /// A stream of events, up to its first one; the rest is for [`rest`].
    pub(crate) async fn event(&mut self) -> Incoming {
        let Self::Http(requests, host) = self else { panic!("events take HTTP") };
        let mut body = get(requests, host, "/event").await.into_body();
        let first = body.frame().await.unwrap().unwrap();
        assert!(first.data_ref().is_some_and(|data| data.starts_with(b"data: 1")));
        body
    }
}

async fn get(requests: &mut http1::SendRequest<Empty<Bytes>>, host: &str, path: &str) -> Response<Incoming> {
    let request = Request::get(path).header(HOST, host).header(USER_AGENT, "traffic/1").header(ACCEPT, "*/*");
    requests.ready().await.unwrap();
    let answer = requests.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer
}

/// What is left of a stream.
pub(crate) async fn rest(body: Incoming) {
    drop(body.collect().await.unwrap());
}

async fn until(stream: &mut (impl AsyncRead + Unpin), end: &[u8]) {
    let mut answer = Vec::with_capacity(512);
    while !answer.windows(end.len()).any(|part| part == end) {
        let read = stream.read_buf(&mut answer).await.unwrap();
        assert!(read > 0, "closed after {}", String::from_utf8_lossy(&answer));
    }
}
