//! What an agent's network attempts come to (the N lines of the threat model), each with the record it leaves.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of record")]
#![expect(clippy::indexing_slicing, reason = "a test's helpers fail by panicking")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]
#![expect(clippy::disallowed_methods, reason = "a test measures time")]
#![expect(unreachable_pub, reason = "the bench is shared between test files")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use socket2::{Domain, Type};
use support::{Bench, Setup, echo, echo_at, name_server, policy, question, serve_each, verdict};
use wardroom_gate::control::{Answer, receive, send_policy};
use wardroom_kernel::hostnet;
use wardroom_model::event::{Actor, Connection, ConnectionPhase, Program};
use wardroom_model::{Captured, Event, Outcome, Reason};

#[test]
#[ignore = "the inside of the other tests"]
fn cell() {
    support::be_the_cell();
}

#[test]
#[ignore = "the gate of the other tests"]
fn gate() {
    support::be_the_gate();
}

/// A rule for a name that is dialled at a server of the test's own, without TLS.
fn pinned(host: &str, to: SocketAddr) -> String {
    format!("[[network.allow]]\nhost = \"{host}\"\nports = [443]\nprotocol = \"tcp\"\naddress = \"{to}\"\n")
}

#[test]
fn n2_n3_literal_addresses_are_refused_at_once_and_seen() {
    let Some(mut bench) = Bench::start("n2", &Setup::default()) else { return };
    for to in [
        "1.1.1.1:443",
        "10.0.0.1:80",
        "169.254.169.254:80",
        "[2606:4700::1111]:443",
        "[::ffff:10.0.0.1]:80",
        "[2002:a00:1::1]:80",
        "[64:ff9b::a00:1]:80",
        "[2001:0:1:2::3]:80",
        "[fe80::1%1]:80",
    ] {
        let to: SocketAddr = to.parse().unwrap();
        let begun = Instant::now();
        assert_eq!(bench.connect(to).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{to}");
        assert!(begun.elapsed() < Duration::from_millis(100), "{to}");
        let ip = to.ip().to_canonical();
        bench.seen(&to.to_string(), |event| match event {
            Event::Packet(p) => {
                p.destination == SocketAddr::new(ip, to.port()) && p.verdict.reason == Reason::LiteralAddress
            }
            _ => false,
        });
    }
}

#[test]
fn n4_datagrams_to_anything_but_the_resolver_are_refused_and_seen() {
    let Some(mut bench) = Bench::start("n4", &Setup::default()) else { return };
    for to in [
        "1.1.1.1:443",
        "8.8.8.8:53",
        "1.1.1.1:123",
        "224.0.0.251:5353",
        "255.255.255.255:67",
        "[2606:4700::1111]:53",
    ] {
        let to: SocketAddr = to.parse().unwrap();
        let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket: UdpSocket = bench.socket(domain, Type::DGRAM).into();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        socket.set_broadcast(true).unwrap();
        let sent =
            socket.connect(to).and_then(|()| socket.send(b"hello")).and_then(|_| socket.recv(&mut [0]));
        assert!(sent.is_err(), "{to}");
        let seen = |e: &Event| matches!(e, Event::Packet(p) if p.destination == to && p.protocol == 17);
        bench.seen(&to.to_string(), seen);
    }
}

#[test]
fn n7_names_outside_the_policy_do_not_exist_and_nobody_outside_is_asked() {
    let (resolvers, asked) = name_server(&["1.2.3.4"]);
    let rules = pinned("api.example.com", echo());
    let setup = Setup { policy: &rules, resolvers, ..Setup::default() };
    let Some(mut bench) = Bench::start("n7", &setup) else { return };
    let types = [
        RecordType::A,
        RecordType::AAAA,
        RecordType::TXT,
        RecordType::NULL,
        RecordType::SRV,
        RecordType::HTTPS,
        RecordType::ANY,
    ];
    for rtype in types {
        let answer = bench.ask("secret.evil.example", rtype);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{rtype}");
        assert!(answer.answers.is_empty());
        let seen = |e: &Event| match e {
            Event::Name(q) => q.name.shown() == b"secret.evil.example" && q.rtype == u16::from(rtype),
            _ => false,
        };
        bench.seen(&rtype.to_string(), seen);
    }
    for rtype in &types[1..] {
        let answer = bench.ask("api.example.com", *rtype);
        assert_eq!(
            (answer.metadata.response_code, answer.answers.len()),
            (ResponseCode::NoError, 0),
            "{rtype}"
        );
    }
    assert_eq!(bench.address("API.example.COM."), bench.address("api.example.com"));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn n7_ten_thousand_names_are_counted_exactly() {
    let Some(mut bench) = Bench::start("n7", &Setup::default()) else { return };
    let socket: UdpSocket = bench.socket(Domain::IPV4, Type::DGRAM).into();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect((wardroom_kernel::cellnet::RESOLVER, 53)).unwrap();
    let mut buffer = [0; 512];
    for n in 0..10_000 {
        socket.send(&question(&format!("x{n}.tunnel.example"), RecordType::TXT)).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[3] & 0x0f, 3, "{:?}", &buffer[..length]);
    }
    let counts: Vec<u64> = bench
        .end()
        .iter()
        .filter_map(|event| match event {
            Event::Name(q) => Some(q.count),
            _ => None,
        })
        .collect();
    assert_eq!(counts.iter().sum::<u64>(), 10_000);
}

#[test]
fn n9_the_resolver_speaks_tcp_and_survives_nonsense() {
    let rules = pinned("api.example.com", echo());
    let Some(mut bench) = Bench::start("n9", &Setup { policy: &rules, ..Setup::default() }) else { return };
    let mut tcp = bench.connect((wardroom_kernel::cellnet::RESOLVER, 53)).unwrap();
    for (name, code) in
        [("api.example.com", ResponseCode::NoError), ("other.example", ResponseCode::NXDomain)]
    {
        let asked = question(name, RecordType::A);
        tcp.write_all(&u16::try_from(asked.len()).unwrap().to_be_bytes()).unwrap();
        tcp.write_all(&asked).unwrap();
        let mut length = [0; 2];
        tcp.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        tcp.read_exact(&mut answer).unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().metadata.response_code, code);
    }
    let udp: UdpSocket = bench.socket(Domain::IPV4, Type::DGRAM).into();
    udp.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    for nonsense in [&b"\x01\x02\x03"[..], &[0xff; 600], b"\x00\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00"]
    {
        udp.send_to(nonsense, (wardroom_kernel::cellnet::RESOLVER, 53)).unwrap();
    }
    bench.seen(
        "nonsense",
        |e| matches!(e, Event::Name(q) if matches!(q.verdict.reason, Reason::Malformed(_))),
    );
    assert!(bench.address("api.example.com").octets()[0] == 198);
}

#[test]
fn the_resolver_outlives_a_lack_of_descriptors() {
    let Some(bench) = Bench::start("descriptors", &Setup { own_process: true, ..Setup::default() }) else {
        return;
    };
    let gate = Some(Pid::from_child(bench.process.as_ref().unwrap()));
    // The gate has raised its own limit to what this process may have at most.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let at_most = |current| {
        prlimit(gate, Resource::Nofile, Rlimit { current: Some(current), maximum }).unwrap();
    };
    at_most(3);
    let mut tcp = bench.connect((wardroom_kernel::cellnet::RESOLVER, 53)).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    at_most(1024);
    let asked = question("other.example", RecordType::A);
    tcp.write_all(&u16::try_from(asked.len()).unwrap().to_be_bytes()).unwrap();
    tcp.write_all(&asked).unwrap();
    tcp.read_exact(&mut [0; 2]).unwrap();
}

#[test]
fn an_allowed_name_is_reached_and_its_record_precedes_it() {
    let server = echo();
    let rules = pinned("api.example.com", server);
    let Some(mut bench) = Bench::start("allowed", &Setup { policy: &rules, ..Setup::default() }) else {
        return;
    };
    let mut stream = bench.connect_to("api.example.com", 443).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "hello", "and the half-close was passed on");
    let ended = bench.seen(
        "the end",
        |e| matches!(e, Event::Connection(c) if matches!(c.phase, ConnectionPhase::Ended(_))),
    );
    let Event::Connection(connection) = ended else { panic!() };
    assert_eq!(connection.host.unwrap().as_str(), "api.example.com");
    let ConnectionPhase::Ended(end) = connection.phase else { panic!() };
    assert_eq!((end.sent, end.received, end.remote), (5, 5, Some(server)));
    assert_eq!(end.verdict.outcome, Outcome::Allowed);
    assert!(end.verdict.rule.is_some());
}

#[test]
fn a_program_that_is_gone_before_the_servers_last_words_has_not_failed() {
    let bye = serve_each("127.0.0.1".parse().unwrap(), |mut stream| {
        stream.read_to_end(&mut Vec::new()).unwrap();
        stream.write_all(b"bye").unwrap();
    });
    let rules = pinned("api.example.com", bye);
    let Some(mut bench) = Bench::start("gone", &Setup { policy: &rules, ..Setup::default() }) else {
        return;
    };
    let mut stream = bench.connect_to("api.example.com", 443).unwrap();
    stream.write_all(b"hello").unwrap();
    drop(stream);
    let ended = bench.seen(
        "the end",
        |e| matches!(e, Event::Connection(c) if matches!(c.phase, ConnectionPhase::Ended(_))),
    );
    let Event::Connection(Connection { phase: ConnectionPhase::Ended(end), .. }) = ended else { panic!() };
    assert_eq!((end.sent, end.received), (5, 3));
    assert_eq!(end.verdict.outcome, Outcome::Allowed, "{:?}", end.verdict.reason);
}

#[test]
fn other_ports_of_an_allowed_name_and_unknown_synthetic_addresses_are_refused() {
    let rules = pinned("api.example.com", echo());
    let Some(mut bench) = Bench::start("ports", &Setup { policy: &rules, ..Setup::default() }) else {
        return;
    };
    let ip = bench.address("api.example.com");
    let mut stream = bench.connect((ip, 22)).unwrap();
    assert!(stream.read(&mut [0]).is_err(), "reset");
    assert_eq!(bench.refused((ip, 22)), Reason::PortNotNamed(22));
    let unknown: SocketAddr = "198.18.9.9:443".parse().unwrap();
    let mut stream = bench.connect(unknown).unwrap();
    assert!(stream.read(&mut [0]).is_err(), "reset");
    assert_eq!(bench.refused(unknown), Reason::LiteralAddress);
}

#[test]
fn a_literal_that_the_policy_names_is_reached() {
    let own = hostnet::own_addresses(hostnet::open().unwrap()).unwrap();
    let Some(ip) = own.into_iter().find(|ip| ip.is_ipv4() && !ip.is_loopback()) else {
        eprintln!("SKIPPED: literal: this machine has no address but loopback");
        return;
    };
    let server = echo_at(ip);
    let rules = format!("[[network.allow]]\naddress = \"{server}\"\n");
    let literal = server.to_string();
    let setup = Setup { policy: &rules, literals: &[&literal], ..Setup::default() };
    let Some(mut bench) = Bench::start("literal", &setup) else { return };
    let mut stream = bench.connect(server).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    bench.seen(
        "the decision",
        |e| matches!(e, Event::Connection(c) if c.dialled == server && c.host.is_none()),
    );
}

#[test]
fn n15_names_that_lead_to_special_addresses_are_refused_at_the_dial() {
    for addresses in [
        &["127.0.0.1"][..],
        &["169.254.169.254"],
        &["10.1.2.3", "1.2.3.4"],
        &["::ffff:127.0.0.1"],
        &["2606:4700::1111", "fd00::1"],
        &["100.64.0.1"],
        &["0.0.0.0"],
    ] {
        let (resolvers, _) = name_server(addresses);
        let rules = "[[network.allow]]\nhost = \"api.example.com\"\nprotocol = \"tcp\"\nports = [80]\n";
        let Some(mut bench) = Bench::start("n15", &Setup { policy: rules, resolvers, ..Setup::default() })
        else {
            return;
        };
        let ip = bench.address("api.example.com");
        let mut stream = bench.connect((ip, 80)).unwrap();
        assert!(stream.read(&mut [0]).is_err(), "reset");
        let ended = bench.seen(
            "the end",
            |e| matches!(e, Event::Connection(c) if matches!(c.phase, ConnectionPhase::Ended(_))),
        );
        let Event::Connection(c) = ended else { panic!() };
        assert_eq!(verdict(&c).outcome, Outcome::Refused, "{addresses:?}");
        assert!(matches!(verdict(&c).reason, Reason::SpecialAddress(_)), "{addresses:?}: {c:?}");
    }
}

#[test]
fn n15_a_name_that_turns_private_later_is_refused_then() {
    let server = echo();
    // What the rule names is permitted: the same name, with its network named, is dialled.
    let (resolvers, asked) = name_server(&["127.0.0.1"]);
    let rules = format!(
        "[[network.allow]]\nhost = \"api.example.com\"\nprotocol = \"tcp\"\nports = [{}]\nnetworks = [\"127.0.0.0/8\"]\n",
        server.port()
    );
    let Some(bench) = Bench::start("n15", &Setup { policy: &rules, resolvers, ..Setup::default() }) else {
        return;
    };
    for _ in 0..2 {
        let mut stream = bench.connect_to("api.example.com", server.port()).unwrap();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
    assert!(asked.load(Ordering::SeqCst) >= 2, "a TTL of zero is looked up again at each dial");
}

#[test]
fn n17_the_gates_own_port_is_no_way_in() {
    let Some(mut bench) = Bench::start("n17", &Setup::default()) else { return };
    for to in ["127.0.0.1:911", "[::1]:911"] {
        let to: SocketAddr = to.parse().unwrap();
        assert_eq!(bench.connect(to).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let seen = |e: &Event| matches!(e, Event::Packet(p) if p.destination == to && p.verdict.reason == Reason::ControlPoint);
        bench.seen(&to.to_string(), seen);
    }
}

#[test]
fn n20_a_narrower_policy_closes_open_connections_within_a_second() {
    let server = echo();
    let wide = pinned("api.example.com", server) + &pinned("keep.example.com", server);
    let Some(mut bench) = Bench::start("n20", &Setup { policy: &wide, ..Setup::default() }) else { return };
    let mut closed = bench.connect_to("api.example.com", 443).unwrap();
    let mut kept = bench.connect_to("keep.example.com", 443).unwrap();
    for stream in [&mut closed, &mut kept] {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
    send_policy(&bench.control, "this is no policy").unwrap();
    assert!(matches!(receive(&bench.control).unwrap(), Some(Answer::PolicyRefused(_))));
    kept.write_all(b"x").unwrap();
    let begun = Instant::now();
    send_policy(&bench.control, &policy(&pinned("keep.example.com", server))).unwrap();
    assert!(matches!(receive(&bench.control).unwrap(), Some(Answer::PolicyInForce(_))));
    assert_eq!(closed.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(begun.elapsed() < Duration::from_secs(1));
    bench.seen("why", |e| matches!(e, Event::Connection(c) if verdict(c).reason == Reason::PolicyChanged));
    kept.read_exact(&mut [0]).unwrap();
    kept.write_all(b"y").unwrap();
    kept.read_exact(&mut [0]).unwrap();
    assert_eq!(bench.ask("api.example.com", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn rules_for_programs_hold_only_for_who_the_guard_vouches_for() {
    let server = echo();
    let rules = pinned("api.example.com", server) + "apps = [\"/usr/bin/gh\"]\n";
    let Some(mut bench) = Bench::start("apps", &Setup { policy: &rules, ..Setup::default() }) else { return };
    let to = SocketAddr::from((bench.address("api.example.com"), 443));
    for (program, trusted, reached) in [
        ("/usr/bin/gh", true, true),
        ("/usr/bin/gh", false, false),
        ("/usr/bin/curl", true, false),
        ("", true, false),
    ] {
        let socket = bench.socket(Domain::IPV4, Type::STREAM);
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let actor = Actor { pid: 7, program: Program { path: Captured::from(program), trusted } };
        let inode = rustix::fs::fstat(&socket).unwrap().st_ino;
        if !program.is_empty() {
            bench.announce(inode, &actor, to, Some(6));
        }
        socket.connect(&to.into()).unwrap();
        let mut stream = std::net::TcpStream::from(socket);
        drop(stream.write_all(b"x"));
        assert_eq!(stream.read_exact(&mut [0]).is_ok(), reached, "{program} {trusted}");
        let expected = (!program.is_empty()).then_some(actor);
        bench.seen("the actor", |e| matches!(e, Event::Connection(c) if c.actor == expected));
        bench.forget();
    }
}

#[test]
fn a_refused_packet_is_recorded_with_the_program_that_announced_it() {
    let Some(mut bench) = Bench::start("packets", &Setup::default()) else { return };
    let actor = |pid, program: &str| {
        let program = Program { path: Captured::from(program), trusted: true };
        Actor { pid, program }
    };
    let (curl, dig) = (actor(7, "/usr/bin/curl"), actor(8, "/usr/bin/dig"));
    let to: SocketAddr = "8.8.8.8:53".parse().unwrap();
    bench.announce(1, &curl, "[::ffff:8.8.8.8]:53".parse().unwrap(), Some(6));
    bench.announce(2, &dig, to, Some(17));
    assert_eq!(bench.connect(to).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let udp: UdpSocket = bench.socket(Domain::IPV4, Type::DGRAM).into();
    for _ in 0..3 {
        drop(udp.send_to(b"x", to));
    }
    drop(udp.send_to(b"x", "8.8.4.4:53"));
    let mut counts = std::collections::BTreeMap::new();
    for event in bench.end() {
        if let Event::Packet(p) = event {
            let pid = p.actor.as_ref().map(|actor| actor.pid);
            *counts.entry((p.protocol, p.destination, pid)).or_insert(0) += p.count;
        }
    }
    let elsewhere = "8.8.4.4:53".parse().unwrap();
    let expected = [((6, to, Some(7)), 1), ((17, elsewhere, None), 1), ((17, to, Some(8)), 3)];
    assert_eq!(counts, expected.into());
}

#[test]
fn what_nobody_waits_for_never_fills_the_guards_queue() {
    let Some(bench) = Bench::start("queue", &Setup::default()) else { return };
    let program = Program { path: Captured::from("/usr/bin/curl"), trusted: true };
    let actor = Actor { pid: 7, program };
    // More than the queue of a socket pair holds (212,992 bytes, at some 800 a message): sending blocks if nobody listens.
    for inode in 0..2_000 {
        bench.announce(inode, &actor, "127.0.0.1:3000".parse().unwrap(), Some(6));
    }
}

#[test]
fn n6_fast_open_is_governed_like_connect() {
    let server = echo();
    let rules = pinned("api.example.com", server);
    let Some(mut bench) = Bench::start("n6", &Setup { policy: &rules, ..Setup::default() }) else { return };
    let allowed = SocketAddr::from((bench.address("api.example.com"), 443));
    let fast_open = |to: SocketAddr| {
        let socket = bench.socket(Domain::IPV4, Type::STREAM);
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // MSG_FASTOPEN
        let sent = socket.send_to_with_flags(b"x", &to.into(), 0x2000_0000);
        sent.and_then(|_| std::net::TcpStream::from(socket).read(&mut [0]))
    };
    assert_eq!(fast_open(allowed).unwrap(), 1);
    let refused: SocketAddr = "1.1.1.1:443".parse().unwrap();
    assert_eq!(fast_open(refused).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    bench.seen("it", |e| matches!(e, Event::Packet(p) if p.destination == refused));
    bench.seen("it", |e| matches!(e, Event::Connection(c) if c.dialled == allowed));
}

#[test]
fn n8_names_below_a_wildcard_are_looked_up_only_so_often() {
    let (resolvers, asked) = name_server(&["10.0.0.1"]);
    let rules = "[[network.allow]]\nhost = \"*.example.com\"\nprotocol = \"tcp\"\nports = [80]\n";
    let Some(mut bench) = Bench::start("n8", &Setup { policy: rules, resolvers, ..Setup::default() }) else {
        return;
    };
    for n in 0..200 {
        let mut stream = bench.connect_to(&format!("secret{n}.example.com"), 80).unwrap();
        assert!(stream.read(&mut [0]).is_err());
    }
    bench.seen("the limit", |e| match e {
        Event::Connection(c) => matches!(verdict(c).reason, Reason::LimitReached(_)),
        _ => false,
    });
    bench.seen("the alert", |e| matches!(e, Event::Supervision(s) if s.what.starts_with("alert: ")));
    // Two questions a name (A and AAAA) for the 128 that pass, and for what comes back meanwhile.
    assert!(asked.load(Ordering::SeqCst) <= 2 * 140, "{asked:?}");
}

#[test]
fn n16_services_on_the_hosts_loopback_are_not_there() {
    let server = echo();
    let Some(bench) = Bench::start("n16", &Setup::default()) else { return };
    assert_eq!(bench.connect(server).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_name_that_does_not_resolve_fails_with_its_reason() {
    let (resolvers, _) = name_server(&[]);
    let rules = "[[network.allow]]\nhost = \"api.example.com\"\nprotocol = \"tcp\"\nports = [80]\n";
    let Some(mut bench) = Bench::start("dns", &Setup { policy: rules, resolvers, ..Setup::default() }) else {
        return;
    };
    let to = SocketAddr::from((bench.address("api.example.com"), 80));
    let mut stream = bench.connect(to).unwrap();
    assert!(stream.read(&mut [0]).is_err());
    assert!(matches!(bench.refused(to), Reason::Unresolved(_)));
}

#[test]
fn n22_without_a_gate_nothing_passes_and_every_connection_has_its_end() {
    let server = echo();
    let rules = pinned("api.example.com", server);
    let Some(mut bench) = Bench::start("n22", &Setup { policy: &rules, ..Setup::default() }) else { return };
    let to = SocketAddr::from((bench.address("api.example.com"), 443));
    let mut open = bench.connect(to).unwrap();
    open.write_all(b"x").unwrap();
    open.read_exact(&mut [0]).unwrap();
    let ends = bench.end().iter().filter(|e| match e {
        Event::Connection(c) => matches!(c.phase, ConnectionPhase::Ended(_)),
        _ => false,
    });
    assert_eq!(ends.count(), 1);
    assert!(open.read(&mut [0]).is_err(), "reset");
    // A process that another test forks in this moment holds a copy of the listener until its exec; nobody accepts there.
    let refused = (0..200).any(|_| {
        let refused = bench.connect(to).is_err();
        if !refused {
            std::thread::sleep(Duration::from_millis(10));
        }
        refused
    });
    assert!(refused, "connections are still taken");
}

#[test]
fn the_hosts_resolver_configuration_is_read_by_a_confined_gate() {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    // The machine's own name, mostly: an address of loopback or of the machine itself.
    let own = hosts
        .lines()
        .filter(|line| line.starts_with("127."))
        .flat_map(|line| line.split_whitespace().skip(1));
    let Some(name) = own.into_iter().find(|name| !name.contains("localhost")) else {
        eprintln!("SKIPPED: host: /etc/hosts gives this machine no name but localhost");
        return;
    };
    let rules = format!("[[network.allow]]\nhost = \"{name}\"\nprotocol = \"tcp\"\nports = [80]\n");
    let Some(mut bench) = Bench::start("host", &Setup { policy: &rules, ..Setup::default() }) else { return };
    let to = SocketAddr::from((bench.address(name), 80));
    let mut stream = bench.connect(to).unwrap();
    assert!(stream.read(&mut [0]).is_err());
    let reason = bench.refused(to);
    assert!(matches!(reason, Reason::SpecialAddress(ip) if ip.is_loopback()), "{reason:?}");
}
