//! The host's services that hostile programs try to reach. Each answers every message, so that an answer proves a way out.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType};

use crate::https;

/// What every service says.
const ANSWER: &[u8] = b"HELLO FROM OUTSIDE\n";

/// Threads that hold a silent connection need little.
const STACK: usize = 64 * 1024;

/// The services, which live as long as the test program.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) tcp4: SocketAddr,
    pub(crate) tcp6: Option<SocketAddr>,
    pub(crate) udp4: SocketAddr,
    pub(crate) dns: SocketAddr,
    pub(crate) unix_path: PathBuf,
    pub(crate) unix_abstract: String,
    /// TLS servers of a host with a credential, and of one without.
    pub(crate) bound: Server,
    pub(crate) unbound: Server,
}

/// A TLS server, and who vouches for it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The authority, as text and as a file.
    pub(crate) pem: String,
    pub(crate) authority: PathBuf,
}

impl Services {
    /// Starts them; `directory` is where the Unix socket goes.
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let tcp4 = tcp("127.0.0.1:0", answer).context("a TCP service")?;
        let udp4 = udp(|_question| ANSWER.to_vec())?;
        let dns = resolver()?;
        let unix_path = directory.join("service.sock");
        unix(UnixListener::bind(&unix_path)?);
        let unix_abstract = format!("wardroom-hostile-{}", std::process::id());
        unix(UnixListener::bind_addr(&UnixAddr::from_abstract_name(unix_abstract.as_bytes())?)?);
        let tcp6 = tcp("[::1]:0", answer).ok();
        std::fs::write(directory.join("hello"), "hello\n")?;
        let secure = |host: &str| -> Result<Server> {
            let server = https::start(host, directory.to_owned());
            let authority = directory.join(format!("{host}.pem"));
            std::fs::write(&authority, &server.authority)?;
            Ok(Server { address: server.address, pem: server.authority, authority })
        };
        let (bound, unbound) = (secure("bound.example")?, secure("unbound.example")?);
        Ok(Self {
            tcp4,
            tcp6,
            udp4,
            dns,
            bound,
            unbound,
            unix_path,
            unix_abstract: format!("@{unix_abstract}"),
        })
    }
}

/// A resolver over UDP and TCP. The port that UDP gets may be taken in TCP, so it takes a few attempts.
fn resolver() -> Result<SocketAddr> {
    let mut last = None;
    for _ in 0..50 {
        let address = udp(resolve)?;
        match tcp(&address.to_string(), resolve_stream) {
            Ok(address) => return Ok(address),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt")?).context("a resolver over TCP")
}

fn tcp(address: &str, serve: fn(TcpStream) -> io::Result<()>) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    rustix::net::listen(&listener, 4096)?; // std's 128 would make a flood wait
    thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            // A connection that cannot be served is closed, which is an answer that proves nothing: safe.
            drop(thread::Builder::new().stack_size(STACK).spawn(move || serve(stream)));
        }
    });
    Ok(bound)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut heard = [0_u8; 4096];
    while stream.read(&mut heard)? > 0 {
        stream.write_all(ANSWER)?;
    }
    Ok(())
}

fn udp(reply: fn(&[u8]) -> Vec<u8>) -> Result<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let bound = socket.local_addr()?;
    thread::spawn(move || {
        let mut heard = [0_u8; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut heard) {
            let question = heard.get(..length).unwrap_or_default();
            drop(socket.send_to(&reply(question), from)); // the other side may be gone
        }
    });
    Ok(bound)
}

/// Says yes to every question: the header with one answer, the question, and 192.0.2.1.
fn resolve(question: &[u8]) -> Vec<u8> {
    let (Some(number), Some(rest)) = (question.get(..2), question.get(12..)) else {
        return Vec::new();
    };
    let mut reply = number.to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend(rest);
    reply.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    reply
}

fn resolve_stream(mut stream: TcpStream) -> io::Result<()> {
    let mut length = [0_u8; 2];
    stream.read_exact(&mut length)?;
    let mut question = vec![0_u8; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut question)?;
    let reply = resolve(&question);
    let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&reply)
}

fn unix(listener: UnixListener) {
    thread::spawn(move || {
        for mut stream in listener.incoming().filter_map(Result::ok) {
            drop(stream.write_all(ANSWER)); // the other side may be gone
        }
    });
}

/// Services with Unix sockets of every type in a directory, which anyone may connect to: `host.stream` and `host.packet` greet,
/// `host.datagram` takes what comes.
pub(crate) fn sockets(directory: &Path) -> Result<()> {
    let (stream, packet, datagram) = (SocketType::STREAM, SocketType::SEQPACKET, SocketType::DGRAM);
    for (name, kind) in [("stream", stream), ("packet", packet), ("datagram", datagram)] {
        let path = directory.join(format!("host.{name}"));
        let socket = rustix::net::socket(AddressFamily::UNIX, kind, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        if kind != datagram {
            rustix::net::listen(&socket, 4096)?;
        }
        thread::spawn(move || -> rustix::io::Result<()> {
            loop {
                if kind == datagram {
                    rustix::net::recv(&socket, &mut [0_u8; 64], RecvFlags::empty())?;
                } else {
                    let visitor = rustix::net::accept(&socket)?;
                    // The other side may be gone.
                    let _gone = rustix::net::send(&visitor, ANSWER, SendFlags::NOSIGNAL);
                }
            }
        });
    }
    Ok(())
}
