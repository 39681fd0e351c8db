//! The server: HTTP by hyper, fixed bytes behind TLS, and a flood of plain ones, each at a port of its own.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;

use crate::{say, until_told};

/// Serves all three until the standard input ends.
pub(crate) async fn serve(ca: &str, names: &[&str]) {
    let acceptor = acceptor(ca, names);
    let web = listen(acceptor.clone(), answer).await;
    let bare = listen(acceptor.clone(), answer_barely).await;
    let plain = listen(acceptor, |_, stream| flood(stream)).await;
    say(&format!("{web} {bare} {plain}"));
    until_told().await;
}

/// A certificate for the names, and its authority in the file.
fn acceptor(ca: &str, names: &[&str]) -> TlsAcceptor {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    // Another name than the leaf's: OpenSSL takes equal ones for a certificate that signed itself.
    params.distinguished_name.push(DnType::CommonName, "authority of a measurement");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(ca, authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], private).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Does this with every connection to the port that is returned.
async fn listen<F>(acceptor: TlsAcceptor, each: impl Fn(TlsAcceptor, TcpStream) -> F + 'static) -> u16
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(each(acceptor.clone(), stream));
        }
    });
    port
}

/// A web server of hyper's; `/event` begins a stream of events, and ends it a little later.
async fn answer(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let tls = acceptor.accept(stream).await?;
    let service = service_fn(|request: Request<Incoming>| async move {
        let (kind, body) = if request.uri().path() == "/event" {
            ("text/event-stream", Either::Left(Events::default()))
        } else {
            ("text/plain", Either::Right(Full::new(Bytes::from_static(b"ok"))))
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok::<_, Infallible>(response)
    });
    http1::Builder::new().serve_connection(TokioIo::new(tls), service).await.map_err(io::Error::other)
}

/// How long a stream of events stays open behind its first one.
const OPEN: Duration = Duration::from_millis(5);

/// One event, a pause, the end.
#[derive(Default)]
struct Events(Option<Pin<Box<Sleep>>>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pause) = &mut self.0 {
            ready!(pause.as_mut().poll(cx));
            return Poll::Ready(None);
        }
        self.0 = Some(Box::pin(sleep(OPEN)));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data: 1\n\n")))))
    }
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";

/// Answers everything that ends as a head does with the same bytes.
async fn answer_barely(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut tls = acceptor.accept(stream).await?;
    let mut head = Vec::with_capacity(1024);
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            if tls.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        tls.write_all(ANSWER).await?;
        tls.flush().await?;
    }
}

/// Reads a number of bytes to send, and sends them.
async fn flood(mut stream: TcpStream) -> io::Result<()> {
    let mut left = stream.read_u64().await?;
    let block = vec![7; 1 << 18];
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        stream.write_all(&block[..part]).await?;
        left -= u64::try_from(part).unwrap();
    }
    Ok(())
}
