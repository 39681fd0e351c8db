//! N15 to N17 and N21: what is on this machine itself. The host's loopback, its sockets, Wardroom's own control
//! points, and the rules of the cell's network.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketType};
use wardroom_kernel::cellnet::GATE_PORT;
use wardroom_kernel::probe::process;
use wardroom_model::event::SocketTarget;
use wardroom_model::{Event, Reason};

use crate::verify::attempt::{PATIENCE, connect_and_hear, hear, socket};
use crate::verify::outcome::Outcome;
use crate::verify::probe::Attempt::{Call, Run};
use crate::verify::probe::Control::{Bare, Outside};
use crate::verify::probe::Expect::{Privilege, Program, Records};
use crate::verify::probe::{Probe, probe};
use crate::verify::scene::{GREETING, Place, SHARED_SOCKET, Scene};
use crate::verify::session::SHARED;
use crate::verify::trace::{Trace, contains};

#[rustfmt::skip]
pub(super) const PROBES: &[Probe] = &[
    probe("N15.hexadecimal", "loopback written as 0x7f000001", Run(hexadecimal), Outside, Records(loopback_seen)),
    probe("N15.octal", "loopback written as 0177.0.0.1", Run(octal), Outside, Records(loopback_seen)),
    probe("N15.decimal", "loopback written as 2130706433", Run(decimal), Outside, Records(loopback_seen)),
    probe("N15.unspecified", "loopback reached as 0.0.0.0", Run(unspecified), Outside, Records(unspecified_seen)),
    probe("N16.loopback", "a TCP service on the host's loopback", Run(loopback), Outside, Records(loopback_seen)),
    probe("N16.loopback-v6", "a TCP service on the host's IPv6 loopback", Run(loopback6), Outside, Records(loopback6_seen)),
    probe("N16.loopback-udp", "a UDP service on the host's loopback", Run(loopback_udp), Outside, Records(loopback_udp_seen)),
    probe("N16.abstract-socket", "an abstract Unix socket of the host", Run(abstract_socket), Outside, Records(abstract_socket_seen)),
    probe("N16.file-socket", "a Unix socket file of the host, as docker's", Run(file_socket), Outside, Records(file_socket_seen)),
    probe("N16.shared-socket", "a service's Unix socket in a directory that the cell shares", Run(shared_socket), Outside, Records(shared_socket_seen)),
    probe("N17.gate-port", "the gate's own port, addressed directly", Run(gate_port), Bare(&[]), Records(gate_port_seen)),
    probe("N17.control-sockets", "any control socket within sight", Run(control_sockets), Outside, Program("looking at names is no act; there is nothing to see")),
    probe("N21.routes", "changing the routes", Run(routes), Bare(&[]), Records(routes_seen)),
    probe("N21.firewall", "flushing the firewall's rules", Call("socket.netlink-netfilter"), Bare(&[]), Privilege("socket")),
    probe("N21.setns", "entering a network namespace", Run(set_namespace), Bare(&[]), Privilege("setns")),
    probe("N21.new-network", "a network namespace of its own", Call("unshare.net"), Bare(&[]), Privilege("unshare")),
];

fn hexadecimal(scene: &Scene) -> Outcome {
    by_text("0x7f000001", scene)
}

fn octal(scene: &Scene) -> Outcome {
    by_text("0177.0.0.1", scene)
}

fn decimal(scene: &Scene) -> Outcome {
    by_text("2130706433", scene)
}

/// As the C library, and with it most programs, reads a host.
fn by_text(host: &str, scene: &Scene) -> Outcome {
    let port = scene.fixtures.loopback.port();
    match (host, port).to_socket_addrs().map(|mut all| all.next()) {
        Ok(Some(address)) => connect_and_hear(address),
        Ok(None) => Outcome::Blocked("no address".to_owned()),
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

fn unspecified(scene: &Scene) -> Outcome {
    connect_and_hear(unspecified_address(scene))
}

fn unspecified_address(scene: &Scene) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), scene.fixtures.loopback.port())
}

fn unspecified_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    trace.reached_for(unspecified_address(scene))
}

fn loopback(scene: &Scene) -> Outcome {
    connect_and_hear(scene.fixtures.loopback)
}

fn loopback_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    trace.reached_for(scene.fixtures.loopback)
}

fn loopback6(scene: &Scene) -> Outcome {
    match scene.fixtures.loopback6 {
        Some(address) => connect_and_hear(address),
        None => Outcome::Impossible("this machine has no IPv6".to_owned()),
    }
}

fn loopback6_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    trace.reached_for(scene.fixtures.loopback6.ok_or("this machine has no IPv6")?)
}

/// On a connected socket, because only there a program hears that nobody listens.
fn loopback_udp(scene: &Scene) -> Outcome {
    match ask_echo(scene.fixtures.echo) {
        Ok(_) => Outcome::Succeeded("it answered".to_owned()),
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

fn ask_echo(at: SocketAddr) -> std::io::Result<usize> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(at)?;
    socket.send(GREETING.as_bytes())?;
    socket.recv(&mut [0; 64])
}

fn loopback_udp_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    trace.reached_for(scene.fixtures.echo)
}

fn abstract_socket(scene: &Scene) -> Outcome {
    let stream = UnixAddr::from_abstract_name(scene.fixtures.abstract_socket.as_bytes())
        .and_then(|address| UnixStream::connect_addr(&address));
    stream.map_or_else(|error| Outcome::Blocked(error.to_string()), hear)
}

fn abstract_socket_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    unix_seen(trace, scene.fixtures.abstract_socket.as_bytes())
}

fn file_socket(scene: &Scene) -> Outcome {
    let stream = UnixStream::connect(&scene.fixtures.file_socket);
    stream.map_or_else(|error| Outcome::Blocked(error.to_string()), hear)
}

fn file_socket_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    unix_seen(trace, scene.fixtures.file_socket.as_os_str().as_encoded_bytes())
}

/// The file is there: only that no program of the cell listens on it keeps it from being connected to.
fn shared_socket(scene: &Scene) -> Outcome {
    let directory = match scene.place {
        Place::Cell => PathBuf::from(SHARED),
        Place::Outside | Place::Bare => scene.fixtures.shared(),
    };
    let socket = directory.join(SHARED_SOCKET);
    match fs::metadata(&socket) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Outcome::Impossible(format!("{} is no socket", socket.display())),
        Err(error) => return Outcome::Impossible(format!("{}: {error}", socket.display())),
    }
    UnixStream::connect(&socket).map_or_else(|error| Outcome::Blocked(error.to_string()), hear)
}

fn shared_socket_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    trace.first(
        "no connect that is refused because the socket is not the cell's",
        |event| matches!(event, Event::Socket(act) if act.verdict.reason == Reason::ForeignSocket),
    )
}

fn unix_seen(trace: &Trace<'_>, name: &[u8]) -> Result<String, String> {
    trace.first("no socket call to it", |event| {
        matches!(event, Event::Socket(act)
            if matches!(&act.address, SocketTarget::Unix(path) if contains(path.shown(), name)))
    })
}

fn gate_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], GATE_PORT))
}

fn gate_port(scene: &Scene) -> Outcome {
    crate::verify::attempt::connect(scene, gate_address())
}

fn gate_port_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    trace.reached_for(gate_address())
}

/// Looks for socket files wherever services keep theirs; the fixture's directory is among the places, so that the
/// control finds one.
fn control_sockets(scene: &Scene) -> Outcome {
    let places = [Path::new("/run"), Path::new("/var/run"), Path::new("/tmp"), &scene.fixtures.directory];
    match places.iter().find_map(|place| socket_below(place, 4)) {
        Some(path) => Outcome::Succeeded(format!("{path} is within sight")),
        None => Outcome::Blocked("there is none".to_owned()),
    }
}

fn socket_below(directory: &Path, depth: usize) -> Option<String> {
    let entries = fs::read_dir(directory).ok()?;
    entries.flatten().find_map(|entry| {
        let kind = entry.file_type().ok()?;
        if kind.is_socket() {
            return Some(entry.path().display().to_string());
        }
        if kind.is_dir() && depth > 0 { socket_below(&entry.path(), depth - 1) } else { None }
    })
}

/// `RTM_DELROUTE` for the default route to `lo`: netlink header, `struct rtmsg`, and the device.
fn routes(scene: &Scene) -> Outcome {
    let message: [u8; 36] = [
        36, 0, 0, 0, 25, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, // 36 bytes, RTM_DELROUTE, REQUEST | ACK
        2, 0, 0, 0, 255, 0, 254, 2, 0, 0, 0, 0, // IPv4, table local, scope host, type local
        8, 0, 4, 0, 1, 0, 0, 0, // RTA_OIF: lo
    ];
    match delete_route(&message) {
        Ok(0) => Outcome::Succeeded(format!("the route is gone ({:?})", scene.place)),
        Ok(errno) => Outcome::Blocked(rustix::io::Errno::from_raw_os_error(errno).to_string()),
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

/// Sends the message, and gives the errno that the kernel acknowledges it with.
fn delete_route(message: &[u8]) -> rustix::io::Result<i32> {
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW)?;
    let kernel = rustix::net::netlink::SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, message, rustix::net::SendFlags::empty(), &kernel)?;
    let mut reply = [0_u8; 256];
    let (_, length) = rustix::net::recv(&socket, &mut reply, rustix::net::RecvFlags::empty())?;
    match reply.get(16..20).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()) {
        Some(bytes) if length >= 20 => Ok(-i32::from_ne_bytes(bytes)),
        Some(_) | None => Err(rustix::io::Errno::BADMSG),
    }
}

fn routes_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    trace.first("no netlink call", |event| {
        matches!(event, Event::Socket(act) if act.address == SocketTarget::Other(16))
            || matches!(event, Event::Privilege(p) if p.call == "socket" || p.call == "sendto")
    })
}

/// Its own namespace once more: harmless where it succeeds, and refused like any other.
fn set_namespace(scene: &Scene) -> Outcome {
    let file = match fs::File::open("/proc/self/ns/net") {
        Ok(file) => file,
        Err(error) if scene.place == Place::Cell => return Outcome::Blocked(error.to_string()),
        Err(error) => return Outcome::Impossible(error.to_string()),
    };
    Outcome::of(process::enter_namespace(file.as_fd()), "the namespace was entered")
}
