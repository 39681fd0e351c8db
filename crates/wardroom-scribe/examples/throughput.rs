//! How fast a ledger is: `throughput [RECORDS]` hands records over to a scribe, verifies them and prints records a
//! second; `throughput log [RECORDS]` writes a ledger over a hundred days and asks about its last hour.
//!
//! `append` counts the processor time of both sides, encoding included; `wall-append` is what a clock on the wall
//! says with both running beside each other.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for developers")]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::thread;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::time::{ClockId, clock_gettime};
use wardroom_ledger::layout::{self, Part};
use wardroom_ledger::{Head, Query, facets, frame};
use wardroom_model::event::{Actor, Connection, ConnectionPhase, FileAct, FileOp, Program};
use wardroom_model::{Captured, Event, HostName, Kind, Outcome, Reason, RuleRef, Stamp, Verdict};
use wardroom_scribe::place::Place;
use wardroom_scribe::seal::seal;
use wardroom_scribe::{
    Handoff, Producer, Retention, ScribeSetup, ToScribe, create_ring, key, records, say, serve, verify,
};

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    let log = arguments.next_if(|first| first == "log").is_some();
    let count = arguments.next().map(|text| text.parse().unwrap());
    let base = tempfile::tempdir_in(std::env::var("WARDROOM_BENCH_DIR").unwrap_or(".".into())).unwrap();
    if log {
        ask(base.path(), count.unwrap_or(10_000_000));
    } else {
        append(base.path(), count.unwrap_or(2_000_000));
    }
}

fn append(base: &Path, count: u64) {
    let (ours, control) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let ledger_dir = base.join("ledger");
    let rings = vec![(Producer::Keeper, create_ring(&ledger_dir, Producer::Keeper).unwrap())];
    let ring = create_ring(&ledger_dir, Producer::Keeper).unwrap();
    let handoff = Handoff::attach(ring, Producer::Keeper).unwrap();
    let (key_dir, origin) = (base.join("keys"), "host/bench".to_owned());
    let setup = ScribeSetup { ledger_dir: ledger_dir.clone(), key_dir, origin, rings, control };
    let event = file_event(7);
    let start = (seconds(ClockId::Monotonic), seconds(ClockId::ProcessCPUTime));
    let scribe = thread::spawn(move || serve(setup, Retention::default()));
    for _ in 0..count {
        let _receipt = handoff.record(&event).unwrap();
    }
    say(&ours, &ToScribe::Finish).unwrap();
    scribe.join().unwrap().unwrap();
    let (wall, cpu) = (seconds(ClockId::Monotonic) - start.0, seconds(ClockId::ProcessCPUTime) - start.1);
    println!("append {}", rate(count, cpu));
    println!("wall-append {}", rate(count, wall));
    let verifier = key::host_key(&base.join("keys"), "host/bench").unwrap().verifier();
    let start = seconds(ClockId::Monotonic);
    let found = verify(&ledger_dir, &verifier, None).unwrap();
    println!("verify {}", rate(found.records, seconds(ClockId::Monotonic) - start));
    println!("finding {}", found.finding);
}

/// A ledger of `count` records, evenly over a hundred days, in sealed segments but the last.
fn ask(base: &Path, count: u64) {
    let dir = base.join("ledger");
    let place = Place::open_or_create(&dir).unwrap();
    let last_hour = write_ledger(&place, &dir, count);
    let bytes: u64 = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    println!("records {count}, bytes on disk {bytes}");
    let refused = Query { outcomes: vec![Outcome::Refused], ..Query::default() };
    let hour = Query { since: Some(last_hour), ..Query::default() };
    let questions = [
        ("everything of the last hour", hour.clone()),
        (
            "refused connections of the last hour",
            Query { kinds: vec![Kind::Connection], since: Some(last_hour), ..refused.clone() },
        ),
        ("one program in the last hour", Query { program: Some("cc1".into()), ..hour.clone() }),
        ("one host in the last hour", Query { host: Some("api.example.com".into()), ..hour }),
        ("every refusal ever", refused),
    ];
    for (name, query) in questions {
        let start = seconds(ClockId::Monotonic);
        let answers = records(&dir, query).unwrap().map(Result::unwrap).count();
        println!("{name}: {answers} answers in {:.3} s", seconds(ClockId::Monotonic) - start);
    }
}

/// Returns the wall time of an hour before the last record.
fn write_ledger(place: &Place, dir: &Path, count: u64) -> u64 {
    const DAY: u64 = 86_400_000_000_000;
    let begin = 1_790_000_000_000_000_000;
    let (mut frames, mut payload) = (Vec::new(), Vec::new());
    let mut file: Option<(u64, u64, BufWriter<File>)> = None;
    for sequence in 0..count {
        let wall = begin + 100 * DAY / count * sequence;
        let event = if sequence.is_multiple_of(1_009) { refused_connection() } else { file_event(sequence) };
        payload.clear();
        minicbor::encode(&event, &mut payload).unwrap();
        let head = Head {
            sequence,
            stamp: Stamp { monotonic: wall - begin, wall },
            kind: event.kind().number(),
            producer: 0,
            outcome: facets::outcome(&event),
            ring: 0,
        };
        frames.clear();
        frame::write(&head, &payload, &mut frames).unwrap();
        let (first, length, out) = file.get_or_insert_with(|| {
            (
                sequence,
                0,
                BufWriter::new(File::create(dir.join(layout::name(sequence, Part::Plain))).unwrap()),
            )
        });
        out.write_all(&frames).unwrap();
        *length += u64::try_from(frames.len()).unwrap();
        if *length > 64 << 20 {
            out.flush().unwrap();
            seal(place, *first).unwrap();
            file = None;
        }
    }
    begin + 100 * DAY - 3_600_000_000_000
}

fn file_event(n: u64) -> Event {
    Event::File(FileAct {
        actor: Actor {
            pid: 4242,
            program: program(if n.is_multiple_of(3) { "/usr/libexec/cc1" } else { "/usr/bin/git" }),
        },
        op: FileOp::Create,
        path: Captured::from(format!("/workspace/project/src/module_{}/file_{n}.rs", n % 100).as_str()),
        other: None,
        mode: Some(0o644),
        verdict: Verdict::observed(),
    })
}

fn refused_connection() -> Event {
    Event::Connection(Connection {
        id: 1,
        actor: Some(Actor { pid: 4242, program: program("/usr/bin/curl") }),
        host: Some(HostName::parse("api.example.com").unwrap()),
        dialled: "198.18.0.1:443".parse().unwrap(),
        phase: ConnectionPhase::Decided(Verdict {
            outcome: Outcome::Refused,
            reason: Reason::NoRule,
            rule: Some(RuleRef { file: "bench.toml".into(), line: 1 }),
        }),
    })
}

fn program(path: &str) -> Program {
    Program { path: Captured::from(path), trusted: true }
}

fn seconds(clock: ClockId) -> f64 {
    let now = clock_gettime(clock);
    f64::from(u32::try_from(now.tv_sec).unwrap()) + f64::from(u32::try_from(now.tv_nsec).unwrap()) / 1e9
}

fn rate(count: u64, seconds: f64) -> u64 {
    format!("{:.0}", f64::from(u32::try_from(count).unwrap()) / seconds).parse().unwrap()
}
