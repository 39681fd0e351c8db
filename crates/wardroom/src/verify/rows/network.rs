//! N1 to N6: programs that reach out by themselves, past the resolver. The public addresses are those set aside for
//! documentation (RFC 5737, RFC 3849), so that nobody is bothered where a containment fails.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use rustix::net::{AddressFamily, SendFlags, SocketType};
use wardroom_kernel::probe::process;
use wardroom_model::Event;
use wardroom_model::event::SocketTarget;

use crate::verify::attempt::{PATIENCE, connect, connect_and_hear, socket};
use crate::verify::outcome::Outcome;
use crate::verify::probe::Attempt::{Call, Connect, Run, Send};
use crate::verify::probe::Control::{Bare, Outside};
use crate::verify::probe::Expect::{Destination, Privilege, Records};
use crate::verify::probe::{Aim, Probe, probe};
use crate::verify::scene::{GREETING, Place, Scene};
use crate::verify::trace::Trace;

const SOCKET: crate::verify::probe::Expect = Privilege("socket");

#[rustfmt::skip]
pub(super) const PROBES: &[Probe] = &[
    probe("N1.no-proxy", "a program that ignores every proxy variable", Run(no_proxy), Bare(&[]), Records(no_proxy_seen)),
    probe("N2.literal-v4", "TCP to a public IPv4 address, port 443", Connect("203.0.113.1:443"), Bare(&[]), Destination),
    probe("N2.literal-v4-ssh", "TCP to a public IPv4 address, port 22", Connect("203.0.113.2:22"), Bare(&[]), Destination),
    probe("N2.literal-v4-high", "TCP to a public IPv4 address, a high port", Connect("203.0.113.3:50123"), Bare(&[]), Destination),
    probe("N2.private-10", "TCP to a private address, 10.0.0.0/8", Connect("10.77.0.1:5432"), Bare(&[]), Destination),
    probe("N2.private-192", "TCP to a private address, 192.168.0.0/16", Connect("192.168.77.1:80"), Bare(&[]), Destination),
    probe("N2.literal-v6", "TCP to a public IPv6 address", Connect("[2001:db8:77::1]:443"), Bare(&[]), Destination),
    probe("N2.private-v6", "TCP to a unique local IPv6 address", Connect("[fd77::1]:443"), Bare(&[]), Destination),
    probe("N2.host-address", "TCP to an address of the host itself", Run(host_address), Outside, Records(host_address_seen)),
    probe("N3.v4-mapped", "an IPv4 address inside IPv6 (::ffff:10.0.0.1)", Connect("[::ffff:10.0.0.1]:443"), Bare(&[]), Destination),
    probe("N3.v4-compatible", "an IPv4 address inside IPv6 (::10.0.0.1)", Connect("[::10.0.0.1]:443"), Bare(&[]), Destination),
    probe("N3.6to4", "an IPv4 address inside 6to4 (2002:a00:1::)", Connect("[2002:a00:1::1]:443"), Bare(&[]), Destination),
    probe("N3.nat64", "an IPv4 address behind NAT64 (64:ff9b::)", Connect("[64:ff9b::a00:1]:443"), Bare(&[]), Destination),
    probe("N3.teredo", "an IPv4 address inside Teredo (2001:0::)", Connect("[2001:0:cb00:7101::1]:443"), Bare(&[]), Destination),
    probe("N3.scoped-name", "an address whose scope ends in a host name", Run(scoped_name), Bare(&[]), Records(scoped_name_seen)),
    probe("N4.quic", "UDP to port 443 (QUIC)", Send("203.0.113.4:443"), Bare(&[]), Destination),
    probe("N4.other-resolver", "UDP to port 53 of another resolver", Send("203.0.113.5:53"), Bare(&[]), Destination),
    probe("N4.ntp", "UDP to port 123 (NTP)", Send("203.0.113.6:123"), Bare(&[]), Destination),
    probe("N4.dns-over-quic", "UDP to port 784 (DNS over QUIC)", Send("203.0.113.7:784"), Bare(&[]), Destination),
    probe("N4.udp-v6", "UDP to an IPv6 address", Send("[2001:db8:77::4]:443"), Bare(&[]), Destination),
    probe("N4.multicast", "UDP to a multicast group", Send("239.255.77.1:1900"), Bare(&[]), Destination),
    probe("N4.broadcast", "UDP to the broadcast address", Send("255.255.255.255:67"), Bare(&[]), Destination),
    probe("N5.icmp", "a raw ICMP socket", Call("socket.icmp-raw"), Bare(&[]), SOCKET),
    probe("N5.icmp6", "a raw ICMPv6 socket", Call("socket.icmp6-raw"), Bare(&[]), SOCKET),
    probe("N5.ping", "a ping socket", Call("socket.ping"), Outside, SOCKET),
    probe("N5.raw", "a raw IP socket", Call("socket.raw"), Bare(&[]), SOCKET),
    probe("N5.packet", "a packet socket", Call("socket.packet"), Bare(&[]), SOCKET),
    probe("N5.sctp", "an SCTP socket", Call("socket.sctp"), Outside, SOCKET),
    probe("N5.dccp", "a DCCP socket", Call("socket.dccp"), Outside, SOCKET),
    probe("N5.mptcp", "a multipath TCP socket", Call("socket.mptcp"), Outside, SOCKET),
    probe("N5.vsock", "a socket to the hypervisor (vsock)", Call("socket.vsock"), Outside, SOCKET),
    probe("N5.alg", "a socket of the kernel's crypto (AF_ALG)", Call("socket.alg"), Outside, SOCKET),
    probe("N5.netlink", "a netlink socket other than route", Call("socket.netlink-generic"), Outside, SOCKET),
    probe("N5.bluetooth", "a Bluetooth socket", Call("socket.bluetooth"), Outside, SOCKET),
    probe("N5.rxrpc", "an RxRPC socket", Call("socket.rxrpc"), Outside, SOCKET),
    probe("N5.xdp", "an XDP socket", Call("socket.xdp"), Bare(&[]), SOCKET),
    probe("N5.tipc", "a TIPC socket", Call("socket.tipc"), Outside, SOCKET),
    probe("N6.fastopen-send", "data in the SYN, by sendto with MSG_FASTOPEN", Run(fastopen_send), Bare(&[]), Records(fastopen_send_seen)),
    probe("N6.fastopen-connect", "data in the SYN, by TCP_FASTOPEN_CONNECT", Run(fastopen_connect), Bare(&[]), Records(fastopen_connect_seen)),
    probe("N9.dns-over-tls", "TCP to port 853 (DNS over TLS)", Connect("203.0.113.8:853"), Bare(&[]), Destination),
    probe("N9.dns-over-https", "TCP to a known DNS over HTTPS server", Connect("1.1.1.1:443"), Bare(&[]), Destination),
    probe("N15.metadata", "TCP to the cloud's metadata service", Connect("169.254.169.254:80"), Bare(&[]), Destination),
    probe("N15.carrier-nat", "TCP to a carrier's shared address", Connect("100.64.77.1:80"), Bare(&[]), Destination),
    probe("N18.storm", "1,000 connections as fast as they go", Run(storm), Bare(&[]), Records(storm_seen)).aims(Aim::RefusedInTime).within(30),
];

const NO_PROXY: ([u8; 4], u16) = ([203, 0, 113, 9], 8080);
const FASTOPEN_SEND: ([u8; 4], u16) = ([203, 0, 113, 10], 443);
const FASTOPEN_CONNECT: ([u8; 4], u16) = ([203, 0, 113, 11], 443);
const STORM: ([u8; 4], u16) = ([203, 0, 113, 12], 443);
/// Enough that a limit or a lost record would show, few enough to harm no machine.
const STORM_SIZE: usize = 1000;

/// We are such a program: the standard library knows no proxies.
fn no_proxy(scene: &Scene) -> Outcome {
    connect(scene, SocketAddr::from(NO_PROXY))
}

fn no_proxy_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    trace.turned_away(SocketAddr::from(NO_PROXY))
}

fn host_address(scene: &Scene) -> Outcome {
    match scene.fixtures.outer {
        Some(outer) => connect_and_hear(outer),
        None => Outcome::Impossible("this machine has no address but loopback".to_owned()),
    }
}

fn host_address_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    trace.turned_away(scene.fixtures.outer.ok_or("no such address")?)
}

/// The resolver library of the system parses the text; a name after `%` must not make an address permitted.
fn scoped_name(scene: &Scene) -> Outcome {
    use std::net::ToSocketAddrs;
    let text = match scene.place {
        // In bare namespaces the scope is the one interface that there is.
        Place::Bare => "fe80::77%lo",
        Place::Cell | Place::Outside => "fe80::77%api.example.com",
    };
    match (text, 443).to_socket_addrs().map(|mut all| all.next()) {
        Ok(Some(address)) => connect(scene, address),
        Ok(None) => Outcome::Blocked("no address".to_owned()),
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

/// The text is refused by the parser, asked of the resolver as a name, or dialled: each leaves the program's record.
fn scoped_name_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    let dialled = trace.first("", |event| matches!(event, Event::Socket(_)));
    dialled.or_else(|_none| trace.first("nothing on the ledger", |_| true))
}

fn fastopen_send(scene: &Scene) -> Outcome {
    /// `MSG_FASTOPEN`, which rustix does not name.
    const FASTOPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);
    with_world(scene, FASTOPEN_SEND, |to| {
        let socket = socket(AddressFamily::INET, SocketType::STREAM)?;
        rustix::net::sendto(&socket, GREETING.as_bytes(), FASTOPEN, &to)?;
        Ok(())
    })
}

fn fastopen_send_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    trace.turned_away(SocketAddr::from(FASTOPEN_SEND))
}

fn fastopen_connect(scene: &Scene) -> Outcome {
    with_world(scene, FASTOPEN_CONNECT, |to| {
        let socket = socket(AddressFamily::INET, SocketType::STREAM)?;
        process::fastopen_connect(socket.as_fd())?;
        rustix::net::connect(&socket, &to)?;
        TcpStream::from(socket).write_all(GREETING.as_bytes())
    })
}

fn fastopen_connect_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    trace.turned_away(SocketAddr::from(FASTOPEN_CONNECT))
}

/// Runs an attempt with a listener of the control's own where the control stands for the world.
fn with_world(
    scene: &Scene,
    to: ([u8; 4], u16),
    act: impl FnOnce(SocketAddr) -> std::io::Result<()>,
) -> Outcome {
    let world = (scene.place == Place::Bare).then(|| std::net::TcpListener::bind(("0.0.0.0", to.1)));
    let outcome = Outcome::of(act(SocketAddr::from(to)), "the data left");
    drop(world);
    outcome
}

fn storm(scene: &Scene) -> Outcome {
    let to = SocketAddr::from(STORM);
    if scene.place == Place::Bare
        && let Ok(world) = std::net::TcpListener::bind(("0.0.0.0", STORM.1))
    {
        std::thread::spawn(move || world.incoming().flatten().for_each(drop));
    }
    let through = (0..STORM_SIZE).filter(|_| TcpStream::connect_timeout(&to, PATIENCE).is_ok()).count();
    if through > 0 {
        return Outcome::Succeeded(format!("{through} of {STORM_SIZE} connections"));
    }
    Outcome::Blocked(format!("all {STORM_SIZE} connections"))
}

/// Every single one must be on record.
fn storm_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    let to = SocketAddr::from(STORM);
    let seen = trace
        .own()
        .filter(|seen| matches!(&seen.event, Event::Socket(act) if act.address == SocketTarget::Inet(to)))
        .count();
    if seen == STORM_SIZE {
        return Ok(format!("{seen} records, the last of them of the last connection"));
    }
    Err(format!("{seen} records of {STORM_SIZE} connections"))
}
