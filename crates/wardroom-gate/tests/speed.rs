//! Figures for people: `cargo test --release -p wardroom-gate --test speed -- --ignored --nocapture --test-threads 1`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of record")]
#![expect(clippy::indexing_slicing, reason = "a test's helpers fail by panicking")]
#![expect(clippy::disallowed_methods, clippy::print_stderr, reason = "it measures time and tells it")]
#![expect(unreachable_pub, reason = "the bench is shared between test files")]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Type};
use support::{Bench, Setup, serve_each};
use wardroom_model::Captured;
use wardroom_model::event::{Actor, Program};

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

const GIB: usize = 1 << 30;

fn rules(server: SocketAddr) -> String {
    format!(
        "[network]\nconnections = 4000\n\n[[network.allow]]\nhost = \"api.example.com\"\nprotocol = \"tcp\"\n\
         ports = [80]\naddress = \"{server}\"\n"
    )
}

/// Seconds to read a GiB that the server sends.
fn drain(mut stream: TcpStream) -> f64 {
    let begun = Instant::now();
    let mut buffer = vec![0; 1 << 18];
    let mut total = 0;
    stream.write_all(b"g").unwrap();
    while total < GIB {
        total += stream.read(&mut buffer).unwrap();
    }
    begun.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn a_gibibyte_against_direct_loopback() {
    let server = serve_each(Ipv4Addr::LOCALHOST.into(), |mut stream| {
        let chunk = vec![7; 1 << 18];
        let _asked = stream.read(&mut [0]);
        for _ in 0..GIB / chunk.len() {
            if stream.write_all(&chunk).is_err() {
                return;
            }
        }
    });
    let rules = rules(server);
    let Some(bench) = Bench::start("speed", &Setup { policy: &rules, own_process: true, ..Setup::default() })
    else {
        return;
    };
    for _ in 0..3 {
        let direct = drain(TcpStream::connect(server).unwrap());
        let before = ticks(&bench);
        let through = drain(bench.connect_to("api.example.com", 80).unwrap());
        let [user, system] = [0, 1].map(|i| (ticks(&bench)[i] - before[i]) * 10);
        eprintln!(
            "1 GiB: direct {direct:.3} s, through the gate {through:.3} s, ratio {:.2}; \
             the gate's own time {user} ms user, {system} ms system",
            direct / through
        );
    }
}

/// User and system time of the gate's process, in hundredths of a second.
fn ticks(bench: &Bench) -> [u64; 2] {
    let pid = bench.process.as_ref().unwrap().id();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    [11, 12].map(|field| fields[field].parse().unwrap())
}

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

#[test]
#[ignore = "a measurement"]
fn a_new_connection_against_a_direct_one() {
    let server = serve_each(Ipv4Addr::LOCALHOST.into(), |mut stream| {
        let mut byte = [0];
        drop(stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte)));
    });
    let rules = rules(server);
    let Some(bench) = Bench::start("speed", &Setup { policy: &rules, own_process: true, ..Setup::default() })
    else {
        return;
    };
    let to = SocketAddr::from((bench.address("api.example.com"), 80));
    let measure = |to: SocketAddr, inside: bool| {
        let times = (0..1500).map(|_| {
            let socket = if inside {
                bench.socket(Domain::IPV4, Type::STREAM)
            } else {
                socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
            };
            if inside {
                // As the guard does before it lets a connect go on.
                let inode = rustix::fs::fstat(&socket).unwrap().st_ino;
                let program = Program { path: Captured::from("/usr/bin/curl"), trusted: true };
                bench.announce(inode, &Actor { pid: 7, program }, to, Some(6));
            }
            let begun = Instant::now();
            socket.connect(&to.into()).unwrap();
            let mut stream = TcpStream::from(socket);
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            begun.elapsed()
        });
        percentiles(times.collect())
    };
    let (direct50, direct99) = measure(server, false);
    let (gate50, gate99) = measure(to, true);
    eprintln!(
        "connect, one byte there and back: direct p50 {direct50:?} p99 {direct99:?}, gate p50 {gate50:?} p99 {gate99:?}"
    );
}

#[test]
#[ignore = "a measurement"]
fn memory_and_time_to_serve() {
    let begun = Instant::now();
    let Some(bench) = Bench::start("speed", &Setup { own_process: true, ..Setup::default() }) else { return };
    eprintln!("cell, gate and both processes in {:?}", begun.elapsed());
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", bench.process.as_ref().unwrap().id())).unwrap();
    for line in status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("Rss")) {
        eprintln!("{line}");
    }
}
