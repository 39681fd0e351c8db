//! Making an attempt: the common forms. Each runs in a process of its own, so that being killed is a result as well.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use wardroom_kernel::probe::calls::{Answer, Call};

use super::dns;
use super::outcome::Outcome;
use super::probe::Attempt;
use super::scene::{GREETING, Place, Scene};

/// How long an answer may take that is meant to come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Something whose failure changes nothing about an outcome: tidying up, or telling one who has left already.
pub(crate) fn in_passing<T, E>(done: Result<T, E>) {
    drop(done);
}

/// Makes the attempt.
pub(crate) fn make(attempt: Attempt, scene: &Scene) -> Outcome {
    match attempt {
        Attempt::Call(name) => call(name),
        Attempt::Connect(address) => literal(scene, address, |to| connect(scene, to)),
        Attempt::Send(address) => literal(scene, address, |to| send(scene, to)),
        Attempt::Ask(rtype) => dns::ask(scene, &scene.unknown_name(), rtype),
        Attempt::OpenToWrite(path) => {
            provide(scene, Path::new(path));
            Outcome::of(OpenOptions::new().write(true).open(path), &format!("{path} is open for writing"))
        }
        Attempt::Create(path) => create(Path::new(path)),
        Attempt::Read(path) => {
            provide(scene, Path::new(path));
            read(Path::new(path))
        }
        Attempt::Run(run) => run(scene),
    }
}

fn call(name: &str) -> Outcome {
    match Call::named(name).map(Call::make) {
        None => Outcome::Impossible("this architecture has no such call".to_owned()),
        Some(Answer::Done) => Outcome::Succeeded(format!("{name} is done")),
        Some(Answer::Reached(errno)) => Outcome::Reached(format!("the kernel considered it: {errno}")),
        Some(Answer::Refused(errno)) => Outcome::Blocked(errno.to_string()),
    }
}

fn literal(scene: &Scene, text: &str, act: impl FnOnce(SocketAddr) -> Outcome) -> Outcome {
    match text.parse() {
        Ok(address) if scene.place == Place::Cell && scene.fixtures.policy.literals.contains(&address) => {
            Outcome::Impossible(format!("the policy permits {address}"))
        }
        Ok(address) => act(address),
        Err(_no_address) => Outcome::Impossible(format!("{text} is no address")),
    }
}

/// Connects. In bare namespaces every address is local, and a listener of the control's own stands for the world.
pub(crate) fn connect(scene: &Scene, to: SocketAddr) -> Outcome {
    let world = match scene.place {
        Place::Bare => match std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, to.port())) {
            Ok(listener) => Some(listener),
            Err(error) => return Outcome::Impossible(format!("no listener for the control: {error}")),
        },
        Place::Cell | Place::Outside => None,
    };
    let outcome = Outcome::of(TcpStream::connect_timeout(&to, PATIENCE), &format!("connected to {to}"));
    drop(world);
    outcome
}

/// Connects, and awaits the greeting: for fixtures, which greet.
pub(crate) fn connect_and_hear(to: SocketAddr) -> Outcome {
    match TcpStream::connect_timeout(&to, PATIENCE) {
        Ok(stream) => {
            if let Err(error) = stream.set_read_timeout(Some(PATIENCE)) {
                return Outcome::Impossible(error.to_string());
            }
            hear(stream)
        }
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

/// Whether the other side is a fixture.
pub(crate) fn hear(mut from: impl Read) -> Outcome {
    let mut heard = vec![0; GREETING.len()];
    match from.read_exact(&mut heard) {
        Ok(()) if heard == GREETING.as_bytes() => Outcome::Succeeded("greeted from outside".to_owned()),
        Ok(()) => Outcome::Blocked("something else answered".to_owned()),
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

/// Sends a datagram and awaits an answer. In bare namespaces a socket of the control's own stands for the world.
pub(crate) fn send(scene: &Scene, to: SocketAddr) -> Outcome {
    match try_send(scene.place, to) {
        Ok(true) => Outcome::Succeeded(format!("a datagram to {to} arrived")),
        Ok(false) => Outcome::Blocked("something else answered".to_owned()),
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

fn try_send(place: Place, to: SocketAddr) -> io::Result<bool> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_broadcast(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let world = match place {
        Place::Bare => Some(world_udp(to)?),
        Place::Cell | Place::Outside => None,
    };
    socket.send_to(GREETING.as_bytes(), to)?;
    let mut heard = [0; 64];
    // Where the world is ours, arrival is what counts; else only an answer shows that the datagram left. The error
    // of a refused datagram arrives at the sending socket, which is therefore the one to listen on.
    match &world {
        Some(world) => Ok(world.recv(&mut heard)? == GREETING.len()),
        None => Ok(socket.recv(&mut heard)? > 0),
    }
}

/// A socket that receives what is sent to an address, or to a group.
fn world_udp(to: SocketAddr) -> io::Result<UdpSocket> {
    let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
    let world = UdpSocket::bind((any, to.port()))?;
    if let SocketAddr::V4(v4) = to
        && v4.ip().is_multicast()
    {
        world.join_multicast_v4(v4.ip(), &std::net::Ipv4Addr::LOCALHOST)?;
    }
    world.set_read_timeout(Some(PATIENCE))?;
    Ok(world)
}

/// In bare namespaces the file is made first, if it is not there; if it cannot be, the attempt will say so.
fn provide(scene: &Scene, path: &Path) {
    if scene.place == Place::Bare
        && let Some(directory) = path.parent()
    {
        in_passing(fs::create_dir_all(directory).and_then(|()| fs::write(path, "x")));
    }
}

fn create(path: &Path) -> Outcome {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_file) => {
            let gone = fs::remove_file(path).is_ok();
            Outcome::Succeeded(format!(
                "{} was written{}",
                path.display(),
                if gone { "" } else { " and stays" }
            ))
        }
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

/// Reads the first bytes.
pub(crate) fn read(path: &Path) -> Outcome {
    let first = File::open(path).and_then(|mut file| {
        let mut byte = [0];
        file.read(&mut byte)
    });
    Outcome::of(first, &format!("{} was read", path.display()))
}

/// Says whether a descriptor of this family and kind can be had, for attempts that go on with it.
pub(crate) fn socket(family: AddressFamily, kind: SocketType) -> rustix::io::Result<std::os::fd::OwnedFd> {
    rustix::net::socket_with(family, kind, rustix::net::SocketFlags::CLOEXEC, None)
}
