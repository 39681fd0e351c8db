//! Attack L2: SIGKILL of scribe and producers at any moment, and a full disk. What was acknowledged is on record,
//! once and in order.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and starts its own processes"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use common::{attach, event, setup, verifier};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use wardroom_ledger::{Finding, Query};
use wardroom_model::Kind;
use wardroom_model::event::{Event, LedgerNote, Supervision};
use wardroom_scribe::{
    FromScribe, Keeping, Producer, RingSwitch, ScribeSetup, create_ring, hear, records, serve_keeping, verify,
};

const ROLE: &str = "WARDROOM_TEST_ROLE";
const BASE: &str = "WARDROOM_TEST_BASE";
const LIFE: &str = "WARDROOM_TEST_LIFE";

/// Not a test of its own: what this file's test binary does when a test starts it again.
#[test]
fn as_a_child() {
    let (Ok(role), Ok(base)) = (std::env::var(ROLE), std::env::var(BASE)) else { return };
    let base = Path::new(&base);
    match role.as_str() {
        "scribe" => {
            let (setup, _ours) = setup(base, &[Producer::Keeper]);
            let control = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
            let keeping = Keeping { segment_bytes: 100_000, ..Keeping::default() };
            serve_keeping(ScribeSetup { control, ..setup }, keeping).unwrap();
        }
        "producer" => produce(base, &std::env::var(LIFE).unwrap()),
        "full" => on_a_full_disk(base),
        other => panic!("{other}"),
    }
}

/// Hands over numbered records as fast as it goes, and writes down each number that was acknowledged.
fn produce(base: &Path, life: &str) {
    let handoff = attach(base, Producer::Keeper);
    let acknowledged = fs::File::create(base.join(format!("life-{life}"))).unwrap();
    for n in 0_u64.. {
        let _receipt = handoff.record(&event(&format!("{life} {n}"))).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&acknowledged, &(n + 1).to_le_bytes(), 0).unwrap();
        // A scribe without optimisation is slower than its producer; both full and empty rings are wanted here.
        if n % 16 == 0 {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn child(role: &str, base: &Path, life: u32, control: Option<OwnedFd>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_a_child", "--nocapture"])
        .env(ROLE, role)
        .env(BASE, base)
        .env(LIFE, life.to_string())
        .stdin(control.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn start_scribe(base: &Path) -> (Child, OwnedFd) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    (child("scribe", base, 0, Some(theirs)), ours)
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn random(below: u64) -> u64 {
    getrandom::u64().unwrap() % below
}

#[test]
fn whatever_is_killed_nothing_acknowledged_is_lost_doubled_or_out_of_order() {
    let rounds: u32 = std::env::var("WARDROOM_LONG").map_or(60, |_| 1000);
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    let (mut scribe, mut control) = start_scribe(base);
    let mut life = 0;
    let mut producer = child("producer", base, life, None);
    for _ in 0..rounds {
        thread::sleep(Duration::from_micros(random(150_000)));
        let what = random(3);
        if what != 1 {
            kill(&mut scribe);
        }
        if what != 0 {
            kill(&mut producer);
            life += 1;
            producer = child("producer", base, life, None);
        }
        if what != 1 {
            (scribe, control) = start_scribe(base);
        }
    }
    kill(&mut producer);
    drop(control); // the keeper is gone: the scribe finishes by itself
    assert!(scribe.wait().unwrap().success());
    check(base, life);
}

fn check(base: &Path, lives: u32) {
    let ledger = base.join("ledger");
    let found = verify(&ledger, &verifier(base), None).unwrap();
    assert_eq!(found.finding, Finding::Intact);
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    let mut recoveries = 0;
    for record in records(&ledger, Query::default()).unwrap() {
        match record.unwrap().event.unwrap() {
            Event::Supervision(Supervision { what, .. }) => {
                let (life, n) = what.split_once(' ').unwrap();
                let expected = next.entry(life.parse().unwrap()).or_default();
                assert_eq!(n.parse(), Ok(*expected), "life {life}");
                *expected += 1;
            }
            Event::Ledger(LedgerNote::Recovered(_)) => recoveries += 1,
            Event::Ledger(LedgerNote::Sealed { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    let mut total = 0;
    for life in 0..=lives {
        let Ok(bytes) = fs::read(base.join(format!("life-{life}"))) else { continue };
        let acknowledged = bytes.try_into().map_or(0, u64::from_le_bytes);
        let stored = next.get(&life).copied().unwrap_or(0);
        assert!(
            stored == acknowledged || stored == acknowledged + 1,
            "life {life}: {stored} of {acknowledged}"
        );
        total += stored;
    }
    assert!(recoveries > 0);
    eprintln!("{total} records in {} lives, {recoveries} recoveries", lives + 1);
}

#[test]
fn a_full_disk_makes_producers_wait_and_loses_nothing() {
    let base = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=4m tmpfs \"$1\" && exec \"$2\" --exact as_a_child --nocapture";
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(base.path())
        .arg(std::env::current_exe().unwrap())
        .env(ROLE, "full")
        .env(BASE, base.path())
        .stdout(Stdio::null())
        .status();
    match status.map(|status| status.code()) {
        Ok(Some(0)) => {}
        Ok(Some(101)) => panic!("see above"),
        other => eprintln!(
            "SKIPPED: a_full_disk_makes_producers_wait_and_loses_nothing: no tmpfs here ({other:?})"
        ),
    }
}

fn on_a_full_disk(base: &Path) {
    let (setup, control) = setup(base, &[Producer::Keeper]);
    let scribe = thread::spawn(move || serve_keeping(setup, Keeping::default()));
    assert!(matches!(hear(&control), Ok(Some(FromScribe::Ready { .. }))));
    let handoff = attach(base, Producer::Keeper);
    let _receipt = handoff.record(&event("0")).unwrap();
    thread::sleep(Duration::from_millis(300));
    // Leave next to no room.
    let mut ballast = fs::File::create(base.join("ballast")).unwrap();
    while std::io::Write::write_all(&mut ballast, &[0; 4096]).is_ok() {}
    let total = 30_000_u64;
    let producing = thread::spawn(move || {
        for n in 1..total {
            let _receipt = handoff.record(&event(&n.to_string())).unwrap();
        }
    });
    assert!(matches!(hear(&control), Ok(Some(FromScribe::Trouble(text))) if text.contains("No space")));
    // The ring is full, and its producer waits instead of going on.
    let switch = RingSwitch::new(&create_ring(&base.join("ledger"), Producer::Keeper).unwrap()).unwrap();
    while switch.pending() < (1 << 20) - 100 {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(!producing.is_finished());
    drop(ballast);
    fs::remove_file(base.join("ballast")).unwrap();
    assert!(matches!(hear(&control), Ok(Some(FromScribe::Relieved))));
    producing.join().unwrap();
    drop(control);
    scribe.join().unwrap().unwrap();
    let ours = Query { kinds: vec![Kind::Supervision], ..Query::default() };
    let all = records(&base.join("ledger"), ours).unwrap();
    let all: Vec<Event> = all.map(|record| record.unwrap().event.unwrap()).collect();
    assert_eq!(all, (0..total).map(|n| event(&n.to_string())).collect::<Vec<_>>());
    assert_eq!(verify(&base.join("ledger"), &verifier(base), None).unwrap().finding, Finding::Intact);
}
