//! A cell's network, raised in a namespace of the test's own, with real sockets against it.

#![expect(
    clippy::disallowed_methods,
    reason = "the test starts itself again in a namespace, and measures time"
)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use wardroom_kernel::cellnet::{self, CellSockets};
use wardroom_kernel::{nflog, sockdiag};

const INSIDE: &str = "WARDROOM_TEST_INSIDE";

/// Runs the named ignored test again within new user and network namespaces.
fn inside(test: &str) {
    let output = Command::new("unshare")
        .args(["-U", "-r", "-n"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(INSIDE, "1")
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if said.starts_with("unshare:") {
                eprintln!("SKIPPED: {test}: no user namespaces here: {said}");
                return;
            }
            panic!("{said}\n{}", String::from_utf8_lossy(&output.stdout));
        }
        Err(error) => eprintln!("SKIPPED: {test}: no unshare program: {error}"),
    }
}

/// Raises the network, or tells that this process is not inside a namespace.
fn raised(literals: &[&str]) -> Option<CellSockets> {
    std::env::var_os(INSIDE)?;
    let literals: Vec<SocketAddr> = literals.iter().map(|l| l.parse().unwrap()).collect();
    let begun = Instant::now();
    let sockets = cellnet::raise(&literals).unwrap();
    eprintln!("raised in {:?}", begun.elapsed());
    Some(sockets)
}

fn connect(to: &str) -> (Result<TcpStream, ErrorKind>, Duration) {
    let begun = Instant::now();
    let result = TcpStream::connect_timeout(&to.parse().unwrap(), Duration::from_secs(2));
    (result.map_err(|e| e.kind()), begun.elapsed())
}

fn reports(sockets: &CellSockets) -> Vec<nflog::Target> {
    std::thread::sleep(Duration::from_millis(120));
    let mut buffer = vec![0; 65536];
    let mut all = Vec::new();
    while let Ok(some) = nflog::read(sockets.nflog.as_fd(), &mut buffer) {
        all.extend(some.into_iter().filter_map(|report| report.packet));
    }
    all
}

#[test]
fn addresses_without_a_name_are_refused_at_once_and_reported() {
    inside("refused_at_once");
}

#[test]
#[ignore = "runs inside a namespace"]
fn refused_at_once() {
    let Some(sockets) = raised(&[]) else { return };
    let targets =
        ["8.8.8.8:443", "10.0.0.1:22", "[2001:db8::1]:443", "[::ffff:10.0.0.1]:80", "[64:ff9b::a00:1]:80"];
    for to in targets {
        let (result, took) = connect(to);
        assert_eq!(result.unwrap_err(), ErrorKind::ConnectionRefused, "{to}");
        assert!(took < Duration::from_millis(50), "{to}: {took:?}");
    }
    for (from, to) in
        [("0.0.0.0:0", "8.8.8.8:443"), ("[::]:0", "[2001:db8::1]:53"), ("0.0.0.0:0", "198.18.0.1:443")]
    {
        let udp = UdpSocket::bind(from).unwrap();
        udp.connect(to).unwrap();
        udp.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let sent = udp.send(b"hello");
        let received = udp.recv(&mut [0; 8]);
        assert!(
            sent.is_err() || received.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused),
            "{to}"
        );
    }
    let seen = reports(&sockets);
    let tcp = |to: &str| nflog::Target { protocol: 6, destination: to.parse().unwrap() };
    for to in ["8.8.8.8:443", "10.0.0.1:22", "[2001:db8::1]:443", "10.0.0.1:80", "[64:ff9b::a00:1]:80"] {
        assert!(seen.contains(&tcp(to)), "{to} in {seen:?}");
    }
    let udp = |to: &str| nflog::Target { protocol: 17, destination: to.parse().unwrap() };
    for to in ["8.8.8.8:443", "[2001:db8::1]:53", "198.18.0.1:443"] {
        assert!(seen.contains(&udp(to)), "{to} in {seen:?}");
    }
    assert_eq!(seen.len(), 8, "nothing else was reported: {seen:?}");
}

#[test]
fn synthetic_addresses_and_permitted_literals_arrive_with_their_destination() {
    inside("diverted");
}

#[test]
#[ignore = "runs inside a namespace"]
fn diverted() {
    let Some(sockets) = raised(&["192.0.2.7:5432", "[2001:db8::7]:5432"]) else { return };
    let client = connect("198.18.3.4:443").0.unwrap();
    let (accepted, peer) = accept(&sockets.tcp4);
    let to = sockopt::ip_original_dst(&accepted).unwrap();
    assert_eq!(to, "198.18.3.4:443".parse().unwrap());
    let inode = sockdiag::tcp_inode(&sockets.diag, peer, SocketAddr::V4(to)).unwrap().unwrap();
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd(&client))).unwrap();
    assert_eq!(link.to_str().unwrap(), format!("socket:[{inode}]"));

    let _literal4 = connect("192.0.2.7:5432").0.unwrap();
    assert_eq!(sockopt::ip_original_dst(accept(&sockets.tcp4).0).unwrap(), "192.0.2.7:5432".parse().unwrap());
    let literal6 = connect("[2001:db8::7]:5432").0.unwrap();
    let (accepted, peer) = accept(&sockets.tcp6);
    let to = SocketAddr::V6(sockopt::ipv6_original_dst(&accepted).unwrap());
    assert_eq!(to, "[2001:db8::7]:5432".parse().unwrap());
    let inode = sockdiag::tcp_inode(&sockets.diag, peer, to).unwrap().unwrap();
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd(&literal6))).unwrap();
    assert_eq!(link.to_str().unwrap(), format!("socket:[{inode}]"));

    for to in ["192.0.2.7:5433", "192.0.2.8:5432", "[2001:db8::8]:5432"] {
        assert_eq!(connect(to).0.unwrap_err(), ErrorKind::ConnectionRefused, "{to}");
    }
    cellnet::replace_literals(sockets.firewall.as_fd(), &["192.0.2.8:5432".parse().unwrap()]).unwrap();
    assert!(connect("192.0.2.8:5432").0.is_ok());
    assert_eq!(connect("192.0.2.7:5432").0.unwrap_err(), ErrorKind::ConnectionRefused);
    assert_eq!(connect("[2001:db8::7]:5432").0.unwrap_err(), ErrorKind::ConnectionRefused);
}

#[test]
fn loopback_is_the_agents_own_but_for_the_gates_port() {
    inside("loopback");
}

#[test]
#[ignore = "runs inside a namespace"]
fn loopback() {
    let Some(sockets) = raised(&[]) else { return };
    for own in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(own).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        assert_eq!((&client).read(&mut [0; 1]).unwrap(), 0);
    }
    for gate in ["127.0.0.1:911", "[::1]:911", "127.8.8.8:911"] {
        assert_eq!(connect(gate).0.unwrap_err(), ErrorKind::ConnectionRefused, "{gate}");
    }
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(b"question", "127.0.0.53:53").unwrap();
    assert_eq!(UdpSocket::from(sockets.dns_udp.try_clone().unwrap()).recv_from(&mut [0; 16]).unwrap().0, 8);
    assert!(connect("127.0.0.53:53").0.is_ok());
    assert_eq!(reports(&sockets).len(), 3);
}

fn accept(listener: &impl AsFd) -> (TcpStream, SocketAddr) {
    TcpListener::from(listener.as_fd().try_clone_to_owned().unwrap()).accept().unwrap()
}

fn fd(socket: &TcpStream) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(socket)
}
