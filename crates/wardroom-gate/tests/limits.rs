//! Floods: limits hold, what goes beyond them is refused and counted, and the gate serves on.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of record")]
#![expect(clippy::indexing_slicing, reason = "a test's helpers fail by panicking")]
#![expect(unreachable_pub, reason = "the bench is shared between test files")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Type};
use support::{Bench, Setup, echo, verdict};
use wardroom_model::event::ConnectionPhase;
use wardroom_model::{Event, Outcome, Reason};

#[test]
#[ignore = "the inside of the other tests"]
fn cell() {
    support::be_the_cell();
}

fn rules(limit: u32, server: SocketAddr) -> String {
    format!(
        "[network]\nconnections = {limit}\n\n[[network.allow]]\nhost = \"api.example.com\"\nprotocol = \"tcp\"\n\
         ports = [80]\naddress = \"{server}\"\n\n[[network.allow]]\nhost = \"tls.example.com\"\naddress = \"{server}\"\n"
    )
}

/// Connections of a storm; `WARDROOM_STORM=20000` is the whole of N18.
fn storm() -> u64 {
    std::env::var("WARDROOM_STORM").ok().and_then(|n| n.parse().ok()).unwrap_or(600)
}

#[test]
fn n18_a_storm_of_connections_is_limited_counted_and_survived() {
    let rules = rules(40, echo());
    let Some(mut bench) = Bench::start("n18", &Setup { policy: &rules, ..Setup::default() }) else { return };
    let to = SocketAddr::from((bench.address("api.example.com"), 80));
    let total = storm();
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..total {
        held.extend(bench.connect(to));
        if held.len() > 500 {
            held.truncate(40);
        }
    }
    drop(held);
    std::thread::sleep(Duration::from_millis(200));
    let mut stream = bench.connect(to).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    drop(stream);
    std::thread::sleep(Duration::from_millis(100));
    let (mut admitted, mut beyond) = (0, 0);
    for event in bench.end() {
        match event {
            Event::Connection(c) if matches!(c.phase, ConnectionPhase::Decided(_)) => admitted += 1,
            Event::Packet(p) if matches!(p.verdict.reason, Reason::LimitReached(_)) => beyond += p.count,
            _ => {}
        }
    }
    assert!(beyond > 0, "the limit was reached");
    assert_eq!(admitted + beyond, total + 1, "every attempt is counted exactly");
}

#[test]
fn n18_connections_that_never_speak_leave_room_and_go() {
    let rules = rules(400, echo());
    let Some(mut bench) = Bench::start("n18", &Setup { policy: &rules, ..Setup::default() }) else { return };
    let tls = SocketAddr::from((bench.address("tls.example.com"), 443));
    let silent: Vec<TcpStream> = (0..300).map(|_| bench.connect(tls).unwrap()).collect();
    let mut stream = bench.connect_to("api.example.com", 80).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    bench.seen("the limit", |e| match e {
        Event::Connection(c) => matches!(verdict(c).reason, Reason::LimitReached(_)),
        _ => false,
    });
    drop(silent);
}

#[test]
fn n18_slow_readers_and_resets_do_no_harm() {
    let rules = rules(100, echo());
    let Some(mut bench) = Bench::start("n18", &Setup { policy: &rules, ..Setup::default() }) else { return };
    let to = SocketAddr::from((bench.address("api.example.com"), 80));
    for n in 0..30 {
        let mut stream = bench.connect(to).unwrap();
        stream.set_nonblocking(true).unwrap();
        // More than all buffers together, never read back.
        while stream.write(&[0; 65_536]).is_ok() {}
        if n % 2 == 0 {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    let mut stream = bench.connect(to).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    drop(stream);
    bench.seen("a reset", |e| match e {
        Event::Connection(c) => {
            matches!(c.phase, ConnectionPhase::Ended(_)) && verdict(c).outcome == Outcome::Failed
        }
        _ => false,
    });
}

#[test]
fn a_flood_of_refused_packets_is_counted_exactly_with_what_was_lost() {
    let Some(mut bench) = Bench::start("flood", &Setup::default()) else { return };
    let socket: UdpSocket = bench.socket(Domain::IPV4, Type::DGRAM).into();
    let total = 20_000;
    for _ in 0..total {
        drop(socket.send_to(b"x", "8.8.8.8:443"));
    }
    let (mut counted, mut lost) = (0, 0);
    for event in bench.end() {
        match event {
            Event::Packet(p) => counted += p.count,
            Event::Supervision(s) => {
                let digits: String = s.what.chars().filter(char::is_ascii_digit).collect();
                lost += digits.parse::<u64>().unwrap();
            }
            _ => {}
        }
    }
    assert_eq!(counted + lost, total, "{counted} counted, {lost} lost");
}
