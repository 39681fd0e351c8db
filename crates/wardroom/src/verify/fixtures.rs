//! What the attempts try to reach: listeners that greet, a resolver that knows every name, a secret, and a process
//! that holds it. They live in a process of their own outside the cell (a keeper has no threads when it makes a cell),
//! and end when their standard input does.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;

use wardroom_kernel::probe::process;
use wardroom_model::HostName;
use wardroom_model::exit::Exit;

use super::attempt::in_passing;
use super::dns;
use super::role::again;
use super::scene::{Fixtures, GREETING, PolicyFacts, SHARED_SOCKET};
use super::trace::contains;
use crate::failure::{Done, OrExit};
use crate::screen;

/// The second cell's policy, in the fixtures' directory, and what it is replaced by.
pub(crate) const POLICY: &str = "policy.toml";
pub(crate) const NARROWED: &str = "narrowed.toml";

/// The fixtures' process, as `verify` holds it: ended, and its directory removed, when this goes.
#[derive(Debug)]
pub(crate) struct Outside {
    process: Child,
    /// What it offers.
    pub(crate) fixtures: Fixtures,
}

/// How often setting up is tried.
const TRIES: u32 = 3;

impl Outside {
    /// Sets everything up. A machine under load may refuse a process or a port, so it is tried again.
    pub(crate) fn start(nonce: &str) -> io::Result<Self> {
        let first = Self::try_start(nonce);
        (1..TRIES).fold(first, |found, number| {
            found.or_else(|_error| Self::try_start(&format!("{nonce}{number:x}")))
        })
    }

    fn try_start(nonce: &str) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("wardroom-verify-{nonce}"));
        let path = directory.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = again(["probe", "fixtures", path])?;
        // Out of reach of a Ctrl-C, after which it is left to remove the directory.
        command.process_group(0);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        match serde_json::from_str(&line) {
            Ok(fixtures) => Ok(Self { process, fixtures }),
            Err(_incomplete) => {
                Err(io::Error::other(format!("the fixtures' process ended: {}", process.wait()?)))
            }
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It ends by itself now; if it is gone already, so much the better.
        in_passing(self.process.wait());
        in_passing(fs::remove_dir_all(&self.fixtures.directory));
    }
}

/// Serves until standard input ends.
pub(crate) fn serve(directory: &Path) -> Done {
    let fixtures = set_up(directory).or_exit(Exit::Internal)?;
    // Without Yama there is nothing to permit.
    in_passing(process::permit_tracing());
    screen::data(&serde_json::to_string(&fixtures).or_exit(Exit::Internal)?);
    let mut rest = Vec::new();
    io::stdin().read_to_end(&mut rest).or_exit(Exit::Internal)?;
    // Here as well as where we were started from, which may have been killed.
    in_passing(fs::remove_dir_all(directory));
    Ok(0)
}

fn set_up(directory: &Path) -> io::Result<Fixtures> {
    let nonce = nonce(directory);
    let secret = secret(directory)?;
    let file_socket = directory.join("docker.sock");
    greet_unix(UnixListener::bind(&file_socket)?);
    share_socket(&directory.join("shared"))?;
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
        inwards: inwards(),
        steward: steward(directory)?,
        directory: directory.to_owned(),
        secret,
        victim: rustix::process::getpid().as_raw_nonzero().get(),
        nonce,
        policy: PolicyFacts::default(),
        services: Vec::new(),
    })
}

/// Nothing but the cell keeps anybody who sees it from connecting.
fn share_socket(directory: &Path) -> io::Result<()> {
    let socket = directory.join(SHARED_SOCKET);
    fs::create_dir(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    greet_unix(UnixListener::bind(&socket)?);
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777))
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
            in_passing(stream.write_all(GREETING.as_bytes()));
        }
    });
    Ok(address)
}

/// What an attempt in the cell can have done outside, through a service that the second cell's policy permits: nothing
/// that its operator could not do, and nothing beyond this run.
fn steward(directory: &Path) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let directory = directory.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let directory = directory.clone();
            thread::spawn(move || in_passing(attend(stream, &directory)));
        }
    });
    Ok(address)
}

/// More than any word that the steward knows.
const LINE: u64 = 4096;

/// Greets, does what is asked, and keeps the connection until the other side leaves.
fn attend(mut stream: std::net::TcpStream, directory: &Path) -> io::Result<()> {
    stream.write_all(GREETING.as_bytes())?;
    let mut lines = BufReader::new(stream);
    // Not every visitor speaks text, nor in lines that end.
    let mut line = Vec::new();
    while lines.by_ref().take(LINE).read_until(b'\n', &mut line)? > 0 {
        let done = match line.as_slice() {
            b"narrow\n" => fs::rename(directory.join(NARROWED), directory.join(POLICY)),
            b"kill gate\n" => kill_role("gate"),
            b"kill scribe\n" => kill_role("scribe"),
            _ => Ok(()),
        };
        // For a control there is neither a policy to replace nor a keeper; the attempt notices what was not done.
        in_passing(done);
        line.clear();
    }
    Ok(())
}

/// Kills the keeper's process of this role: the keeper is our parent, and its roles are our siblings.
fn kill_role(role: &str) -> io::Result<()> {
    let keeper = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let wanted = [b"__role\0", role.as_bytes(), b"\0"].concat();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let status = fs::read_to_string(path.join("status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim);
        let arguments = fs::read(path.join("cmdline")).unwrap_or_default();
        let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        if parent == Some(keeper.to_string().as_str())
            && contains(&arguments, &wanted)
            && let Some(pid) = number.and_then(rustix::process::Pid::from_raw)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        }
    }
    Ok(())
}

fn greet_unix(listener: UnixListener) {
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            in_passing(stream.write_all(GREETING.as_bytes()));
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

/// This machine's own name, where it leads to an address that no policy permits by itself.
fn inwards() -> Option<(String, SocketAddr)> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    let name = HostName::parse(&name).ok().filter(|name| name.as_str() != "localhost")?;
    let address = (name.as_str(), 0).to_socket_addrs().ok()?.next()?;
    Some((name.as_str().to_owned(), greet(address).ok()?))
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
            in_passing(answer_stream(&mut stream));
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
            in_passing(socket.send_to(&answer, from));
        }
    });
    Ok(address)
}
