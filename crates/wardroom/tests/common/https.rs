//! A web server of the tests' own: TLS on loopback, with a certificate authority made for one run.
//!
//! It serves a directory, echoes what comes over a WebSocket, tells event by event, and reflects the head of a request in every
//! part of its answer. It keeps what it was asked.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking"
)]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The certificate authority that vouches for it, as PEM.
    pub(crate) authority: String,
    /// The head and body of every request, as text.
    pub(crate) seen: Seen,
}

/// What a server was asked.
pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

/// Starts a server under a name, in threads that end with the process. Files come from `root`.
pub(crate) fn start(name: &str, root: PathBuf) -> Server {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, root, seen) = (Arc::clone(&config), root.clone(), Arc::clone(&kept));
            std::thread::spawn(move || serve(stream, config, &root, &seen));
        }
    });
    Server { address, authority: authority.pem(), seen }
}

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Answers requests until the client has no more. A client that misbehaves only ends its own thread.
fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    root: &std::path::Path,
    seen: &Seen,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_nodelay(true)?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut tls = BufReader::new(StreamOwned::new(connection, stream));
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if tls.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
        let path = path.split('?').next().unwrap_or_default();
        let body = body(&mut tls, &head)?;
        seen.lock().unwrap().push(format!("{}\n\n{body}", head.join("\n")));
        match path {
            "/ws" => return echo(&mut tls, &head),
            "/events" => events(tls.get_mut(), 3)?,
            "/endless" => events(tls.get_mut(), u32::MAX)?,
            "/reflect" => reflect(tls.get_mut(), &head)?,
            "/v1/messages" => message(tls.get_mut())?,
            "/compressed" => compressed(tls.get_mut())?,
            "/key" => key(tls.get_mut(), &head, root)?,
            path => file(tls.get_mut(), &root.join(path.trim_start_matches('/')))?,
        }
    }
}

fn file(tls: &mut Tls, path: &std::path::Path) -> io::Result<()> {
    let (status, body) = match fs::read(path) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", b"no such file\n".to_vec()),
    };
    let length = body.len();
    write!(tls, "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n")?;
    tls.write_all(&body)?;
    tls.flush()
}

/// The body of a request that says its length.
fn body(tls: &mut BufReader<Tls>, head: &[String]) -> io::Result<String> {
    let length = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    tls.read_exact(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The head of the request: in a header, in a body whose parts are short, in a trailer.
fn reflect(tls: &mut Tls, head: &[String]) -> io::Result<()> {
    let flat = head.join(" | ");
    write!(
        tls,
        "HTTP/1.1 200 {flat}\r\ncontent-type: text/plain\r\nx-reflected: {flat}\r\n\
         set-cookie: session={flat}\r\ntransfer-encoding: chunked\r\ntrailer: x-trailer\r\n\r\n"
    )?;
    for part in flat.as_bytes().chunks(7) {
        write!(tls, "{:x}\r\n", part.len())?;
        tls.write_all(part)?;
        write!(tls, "\r\n")?;
        tls.flush()?;
    }
    write!(tls, "0\r\nx-trailer: {flat}\r\n\r\n")?;
    tls.flush()
}

/// An answer of a model's API.
fn message(tls: &mut Tls) -> io::Result<()> {
    let body =
        r#"{"model":"claude-sonnet-4-5","content":[],"usage":{"input_tokens":100,"output_tokens":300}}"#;
    let length = body.len();
    write!(
        tls,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    tls.flush()
}

/// An answer that says that it is compressed.
fn compressed(tls: &mut Tls) -> io::Result<()> {
    write!(tls, "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\ngzip")?;
    tls.flush()
}

/// Takes the keys that stand in the file `keys`, one a line, and remembers in `seen` which came last.
fn key(tls: &mut Tls, head: &[String], root: &std::path::Path) -> io::Result<()> {
    let value = |line: &String| line.split_once(": ").map(|(_, value)| value.to_owned());
    let carries = |line: &&String| {
        ["x-api-key:", "authorization:"].iter().any(|name| line.to_lowercase().starts_with(name))
    };
    let sent = head.iter().find(carries).and_then(value);
    let sent = sent.unwrap_or_default();
    let known = fs::read_to_string(root.join("keys"))?.lines().any(|key| key == sent);
    let own = root.join(format!("seen.{:?}", std::thread::current().id()));
    fs::write(&own, &sent)?;
    fs::rename(own, root.join("seen"))?;
    let status = if known { "200 OK" } else { "401 Unauthorized" };
    write!(tls, "HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\ndone\n")?;
    tls.flush()
}

/// Server-sent events, a tenth of a second apart.
fn events(tls: &mut Tls, count: u32) -> io::Result<()> {
    write!(tls, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
    tls.flush()?;
    for number in 0..count {
        let event = format!("data: {number}\n\n");
        write!(tls, "{:x}\r\n{event}\r\n", event.len())?;
        tls.flush()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    write!(tls, "0\r\n\r\n")?;
    tls.flush()
}

/// A WebSocket (RFC 6455) that sends every short text message back.
fn echo(tls: &mut BufReader<Tls>, head: &[String]) -> io::Result<()> {
    use sha1::{Digest, Sha1};
    let key = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    });
    let accept = Sha1::digest(format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.unwrap_or_default()));
    write!(
        tls.get_mut(),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {}\r\n\r\n",
        base64(&accept)
    )?;
    tls.get_mut().flush()?;
    loop {
        let mut start = [0; 6];
        tls.read_exact(&mut start)?;
        let length = usize::from(start[1] & 0x7f);
        let mut payload = vec![0; length];
        tls.read_exact(&mut payload)?;
        for (byte, mask) in payload.iter_mut().zip(start[2..].iter().cycle()) {
            *byte ^= mask;
        }
        if start[0] & 0x0f == 8 {
            return Ok(());
        }
        let frame = [&[start[0], u8::try_from(length).unwrap_or(0)], payload.as_slice()].concat();
        tls.get_mut().write_all(&frame)?;
        tls.get_mut().flush()?;
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
