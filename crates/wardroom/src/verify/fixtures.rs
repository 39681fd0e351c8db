//! What the attempts try to reach: listeners that greet, a resolver that knows every name, a secret, and a process
//! that holds it. They live in a process of their own outside the cell (a keeper has no threads when it makes a cell),
//! and end when their standard input does.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;

use wardroom_kernel::probe::process;
use wardroom_model::exit::Exit;

use super::dns;
use super::role::again;
use super::scene::{Fixtures, GREETING, PolicyFacts};
use crate::failure::{Done, OrExit};
use crate::screen;

/// The fixtures' process, as `verify` holds it: ended, and its directory removed, when this goes.
#[derive(Debug)]
pub(crate) struct Outside {
    process: Child,
    /// What it offers.
    pub(crate) fixtures: Fixtures,
}

impl Outside {
    /// Sets everything up.
    pub(crate) fn start(nonce: &str) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("wardroom-verify-{nonce}"));
        let path = directory.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        let mut process =
            again(["probe", "fixtures", path])?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self { process, fixtures: serde_json::from_str(&line)? })
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It ends by itself now; if it is gone already, so much the better.
        if self.process.wait().is_err() {}
        if fs::remove_dir_all(&self.fixtures.directory).is_err() {}
    }
}

/// Serves until standard input ends.
pub(crate) fn serve(directory: &Path) -> Done {
    let fixtures = set_up(directory).or_exit(Exit::Internal)?;
    // Without Yama there is nothing to permit.
    if process::permit_tracing().is_err() {}
    screen::data(&serde_json::to_string(&fixtures).or_exit(Exit::Internal)?);
    let mut rest = Vec::new();
    io::stdin().read_to_end(&mut rest).or_exit(Exit::Internal)?;
    Ok(0)
}

fn set_up(directory: &Path) -> io::Result<Fixtures> {
    let nonce = nonce(directory);
    let secret = secret(directory)?;
    let file_socket = directory.join("docker.sock");
    greet_unix(UnixListener::bind(&file_socket)?);
    let abstract_socket = format!("wardroom-verify-{nonce}");
    greet_unix(UnixListener::bind_addr(&UnixAddr::from_abstract_name(abstract_socket.as_bytes())?)?);
    let outer = own_address().and_then(|ip| greet(SocketAddr::new(ip, 0)).ok());
    Ok(Fixtures {
        loopback: greet(SocketAddr::from(([127, 0, 0, 1], 0)))?,
        loopback6: greet(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0))).ok(),
        outer,
        echo: echo()?,
        resolver: resolver()?,
        abstract_socket,
        file_socket,
        directory: directory.to_owned(),
        secret,
        victim: rustix::process::getpid().as_raw_nonzero().get(),
        nonce,
        policy: PolicyFacts::default(),
        services: Vec::new(),
    })
}

/// The directory's name ends in the run's nonce.
fn nonce(directory: &Path) -> String {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.rsplit('-').next().unwrap_or_default().to_owned()
}

/// A private directory with something in it that looks like an operator's key.
fn secret(directory: &Path) -> io::Result<PathBuf> {
    fs::DirBuilder::new().mode(0o700).create(directory)?;
    let keys = directory.join(".ssh");
    fs::DirBuilder::new().mode(0o700).create(&keys)?;
    let secret = keys.join("id_ed25519");
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&secret)?;
    file.write_all(b"wardroom-verify: not a real key\n")?;
    Ok(secret)
}

/// Accepts for ever, greets, and closes.
fn greet(at: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(at)?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A visitor that left early has what it deserves.
            if stream.write_all(GREETING.as_bytes()).is_err() {}
        }
    });
    Ok(address)
}

fn greet_unix(listener: UnixListener) {
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if stream.write_all(GREETING.as_bytes()).is_err() {}
        }
    });
}

/// The address from which this machine would speak to the world. Connecting a UDP socket sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("203.0.113.1:9").ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

fn echo() -> io::Result<SocketAddr> {
    serve_datagrams(<[u8]>::to_vec)
}

/// The DNS server that knows every name, over UDP and, at the same address, over TCP.
fn resolver() -> io::Result<SocketAddr> {
    let address = serve_datagrams(dns::answer)?;
    let listener = TcpListener::bind(address)?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if answer_stream(&mut stream).is_err() {}
        }
    });
    Ok(address)
}

fn answer_stream(stream: &mut std::net::TcpStream) -> io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut question = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut question)?;
    let answer = dns::answer(&question);
    stream.write_all(&u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes())?;
    stream.write_all(&answer)
}

fn serve_datagrams(reply: fn(&[u8]) -> Vec<u8>) -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let answer = buffer.get(..length).map(reply).unwrap_or_default();
            if socket.send_to(&answer, from).is_err() {}
        }
    });
    Ok(address)
}
