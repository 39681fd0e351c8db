//! A web server and its clients, for `cargo xtask bench gate`: the same program on both ends of what is measured, and so quick
//! itself that what lies between is what shows.
//!
//! `traffic serve CA-FILE NAME...` writes its certificate authority, says its TLS port and its plain port, and serves until its
//! standard input ends. `traffic load KIND COUNT PARALLEL NAME ADDRESS CA-FILE` says `ready`, waits for a line, works, and says
//! its number; it keeps its connections until its standard input ends. An ADDRESS of two parts, `PROXY/HOST:PORT`, is asked
//! of the proxy with `CONNECT`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement fails by panicking"
)]
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures time and tells it")]

use std::io::{self, BufRead, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Tls = TlsStream<TcpStream>;

fn main() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
    match words.as_slice() {
        ["serve", ca, names @ ..] => LocalSet::new().block_on(&runtime, serve(ca, names)),
        ["load", kind, count, parallel, name, address, ca] => {
            let target = Rc::new(Target::new(name, address, ca));
            let (count, parallel) = (count.parse().unwrap(), parallel.parse().unwrap());
            LocalSet::new().block_on(&runtime, load(kind, count, parallel, target));
        }
        _ => say("serve CA-FILE NAME... | load KIND COUNT PARALLEL NAME ADDRESS CA-FILE"),
    }
}

async fn serve(ca: &str, names: &[&str]) {
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
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let tls = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    say(&format!("{} {}", tls.local_addr().unwrap().port(), plain.local_addr().unwrap().port()));
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = plain.accept().await {
            tokio::task::spawn_local(flood(stream));
        }
    });
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = tls.accept().await {
            tokio::task::spawn_local(answer(acceptor.clone(), stream));
        }
    });
    until_told().await;
}

/// Waits for the next line, or the end, of the standard input.
async fn until_told() {
    // A thread of its own, because the loop must turn meanwhile.
    let (done, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        io::stdin().lock().read_line(&mut String::new()).unwrap();
        done.send(()).unwrap_or_default();
    });
    told.await.unwrap();
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";
const EVENT: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
const EVENTS_END: &[u8] = b"0\r\n\r\n";

/// Answers one request after the other; `/event` begins a stream of events, and ends it a little later.
async fn answer(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
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
        if head.starts_with(b"GET /event") {
            tls.write_all(EVENT).await?;
            tls.flush().await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
            tls.write_all(EVENTS_END).await?;
        } else {
            tls.write_all(ANSWER).await?;
        }
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

/// Whom the clients talk to.
struct Target {
    name: ServerName<'static>,
    host: String,
    address: SocketAddr,
    /// What the proxy at this address is asked for.
    behind: Option<String>,
    connector: TlsConnector,
}

impl Target {
    fn new(name: &str, address: &str, ca: &str) -> Self {
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
            stream
                .write_all(format!("CONNECT {behind} HTTP/1.1\r\nhost: {behind}\r\n\r\n").as_bytes())
                .await
                .unwrap();
            until(&mut stream, &mut Vec::with_capacity(512), b"\r\n\r\n").await;
        }
        self.connector.connect(self.name.clone(), stream).await.unwrap()
    }

    /// A connection that has had its first answer.
    async fn open(&self) -> Tls {
        let mut tls = self.connect().await;
        self.round_trip(&mut tls).await;
        tls
    }

    /// Asks, and waits until the answer holds `end`. Returns what came so far.
    async fn ask(&self, tls: &mut Tls, path: &str, end: &[u8]) -> Vec<u8> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.host);
        tls.write_all(request.as_bytes()).await.unwrap();
        tls.flush().await.unwrap();
        let mut answer = Vec::with_capacity(512);
        until(tls, &mut answer, end).await;
        answer
    }

    async fn round_trip(&self, tls: &mut Tls) {
        drop(self.ask(tls, "/", b"\r\n\r\nok").await);
    }
}

async fn until(stream: &mut (impl AsyncRead + Unpin), answer: &mut Vec<u8>, end: &[u8]) {
    while !answer.windows(end.len()).any(|part| part == end) {
        let read = stream.read_buf(answer).await.unwrap();
        assert!(read > 0, "closed after {}", String::from_utf8_lossy(answer));
    }
}

/// Says `ready`, waits for the word, does one kind of work, says its number, and keeps what is open.
async fn load(kind: &str, count: usize, parallel: usize, target: Rc<Target>) {
    let mut kept = Vec::new();
    if matches!(kind, "round-trips" | "requests" | "events") {
        for _ in 0..parallel {
            kept.push(target.open().await);
        }
    }
    say("ready");
    until_told().await;
    let number = match kind {
        "round-trips" => round_trips(&target, &mut kept[0], count).await,
        "events" => events(&target, &mut kept[0], count).await,
        "connections" => connections(&target, count).await,
        "requests" => requests(&target, std::mem::take(&mut kept), count).await,
        "handshakes" => handshakes(&target, count, parallel).await,
        "open" => open(&target, &mut kept, count).await,
        "flow" => flow(target.address, count).await,
        other => panic!("{other:?} is no kind of load"),
    };
    say(&number.to_string());
    until_told().await;
}

fn say(text: &str) {
    println!("{text}");
    io::stdout().flush().unwrap();
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// Microseconds of a request on an open connection.
async fn round_trips(target: &Target, tls: &mut Tls, count: usize) -> f64 {
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        target.round_trip(tls).await;
        times.push(begun.elapsed());
    }
    median(times)
}

/// Microseconds up to the first event of a stream.
async fn events(target: &Target, tls: &mut Tls, count: usize) -> f64 {
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        let mut answer = target.ask(tls, "/event", b"data: 1").await;
        times.push(begun.elapsed());
        until(tls, &mut answer, EVENTS_END).await;
    }
    median(times)
}

/// Microseconds from `connect` to the first answer.
async fn connections(target: &Target, count: usize) -> f64 {
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        let tls = target.open().await;
        times.push(begun.elapsed());
        drop(tls);
    }
    median(times)
}

/// Requests a second over connections that stay open.
async fn requests(target: &Rc<Target>, open: Vec<Tls>, count: usize) -> f64 {
    let each = count / open.len();
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for mut tls in open {
        let target = Rc::clone(target);
        clients.spawn_local(async move {
            for _ in 0..each {
                target.round_trip(&mut tls).await;
            }
        });
    }
    clients.join_all().await;
    rate(count, begun)
}

/// New connections a second, each with one request.
async fn handshakes(target: &Rc<Target>, count: usize, parallel: usize) -> f64 {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..parallel {
        let target = Rc::clone(target);
        clients.spawn_local(async move {
            for _ in 0..count / parallel {
                drop(target.open().await);
            }
        });
    }
    clients.join_all().await;
    rate(count, begun)
}

/// Opens connections, each with one request behind it, more slowly than the gate's limit of new ones a second.
async fn open(target: &Target, kept: &mut Vec<Tls>, count: usize) -> f64 {
    let begun = Instant::now();
    for number in 0..count {
        kept.push(target.open().await);
        let due = Duration::from_micros(1250) * u32::try_from(number).unwrap();
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
    }
    rate(count, begun)
}

/// Bytes a second of one plain connection.
async fn flow(address: SocketAddr, bytes: usize) -> f64 {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_u64(u64::try_from(bytes).unwrap()).await.unwrap();
    let (mut buffer, mut total) = (vec![0; 1 << 18], 0);
    while total < bytes {
        total += stream.read(&mut buffer).await.unwrap();
    }
    rate(bytes, begun)
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a count far below 2^53")]
fn rate(count: usize, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}
