//! Attack L2 without a kill: a disk that fails, and one that loses power. The scribe's calls are asked about, and the test
//! says what becomes of them; what a real disk would have kept is known exactly.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail loudly"
)]

#[path = "common/asked.rs"]
mod asked;
mod common;
#[path = "common/disk.rs"]
mod disk;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use asked::{Asked, ends, serve};
use common::{attach, event, setup, verifier};
use disk::Disk;
use rustix::io::Errno;
use wardroom_kernel::notify::Reply;
use wardroom_ledger::{Finding, Query};
use wardroom_model::event::{Event, LedgerNote, Supervision};
use wardroom_scribe::{FromScribe, Keeping, Producer, RingSwitch, create_ring, hear, records, verify};

/// Hands over numbered records, and waits until the scribe has taken them.
fn hand_over(base: &Path, numbers: std::ops::Range<u64>) {
    hand_over_to(base, numbers, || false);
}

/// The same to a scribe that may end before it has taken them: then they lie there for the next one.
fn hand_over_to(base: &Path, numbers: std::ops::Range<u64>, has_ended: impl Fn() -> bool) {
    let handoff = attach(base, Producer::Keeper);
    for n in numbers {
        let _receipt = handoff.record(&event(&n.to_string())).unwrap();
    }
    let ring = RingSwitch::new(&create_ring(&base.join("ledger"), Producer::Keeper).unwrap()).unwrap();
    await_that(|| ring.pending() == 0 || has_ended());
}

fn await_that(mut holds: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("it never happened");
}

/// What is on record: the numbers handed over, and how many recoveries there were.
fn stored(base: &Path) -> (Vec<u64>, usize) {
    let (mut numbers, mut recoveries) = (Vec::new(), 0);
    for record in records(&base.join("ledger"), Query::default()).unwrap() {
        match record.unwrap().event.unwrap() {
            Event::Supervision(Supervision { what, .. }) => numbers.push(what.parse().unwrap()),
            Event::Ledger(LedgerNote::Recovered(_)) => recoveries += 1,
            Event::Ledger(LedgerNote::Sealed { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    (numbers, recoveries)
}

/// Records that the checkpoint covers.
fn covered(ledger: &Path) -> u64 {
    let note = fs::read_to_string(ledger.join("checkpoint")).unwrap_or_default();
    note.lines().nth(1).map_or(0, |size| size.parse().unwrap())
}

/// A disk of which one sync of a segment fails: from then on the kernel shows what was written, and has it no more.
#[derive(Debug, Default)]
struct Failing {
    armed: bool,
    synced: u64,
    lost: Option<(PathBuf, u64)>,
}

impl Failing {
    fn judge(&mut self, asked: &Asked) -> Reply {
        let of_a_segment = matches!(asked.call, "fdatasync" | "fadvise64") && ends(&asked.file(), ".seg");
        match asked.call {
            "fdatasync" if of_a_segment && self.armed => {
                self.armed = false;
                self.lost = Some((asked.file(), self.synced));
                Reply::Errno(Errno::IO)
            }
            "fdatasync" if of_a_segment => {
                self.synced = fs::metadata(asked.file()).unwrap().len();
                Reply::Continue
            }
            "fadvise64" if of_a_segment => {
                self.forget_pages();
                Reply::Continue
            }
            _ => Reply::Continue,
        }
    }

    /// What was not written is seen to be missing.
    fn forget_pages(&mut self) {
        let Some((path, from)) = self.lost.take() else { return };
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        file.write_all_at(&vec![0; usize::try_from(length - from).unwrap()], from).unwrap();
    }
}

#[test]
fn after_a_failed_sync_nothing_is_signed_that_the_disk_does_not_have() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    let failing = Arc::new(Mutex::new(Failing::default()));
    let start = || {
        let (setup, control) = setup(base, &[Producer::Keeper]);
        let failing = Arc::clone(&failing);
        (serve(setup, Keeping::default(), move |asked| failing.lock().unwrap().judge(asked)), control)
    };
    let (scribe, control) = start();
    assert!(matches!(hear(&control), Ok(Some(FromScribe::Ready { records: 0, recovered: false }))));
    hand_over(base, 0..10);
    await_that(|| covered(&base.join("ledger")) == 10);
    failing.lock().unwrap().armed = true;
    hand_over(base, 10..20);
    assert!(matches!(hear(&control), Ok(Some(FromScribe::Lost(why))) if why.contains("os error 5")));
    assert!(scribe.join().unwrap().is_err());
    assert_eq!(covered(&base.join("ledger")), 10, "nothing is signed after it");

    let (scribe, control) = start();
    assert!(matches!(hear(&control), Ok(Some(FromScribe::Ready { records: 10, recovered: true }))));
    hand_over(base, 20..30);
    drop(control);
    scribe.join().unwrap().unwrap();
    failing.lock().unwrap().forget_pages();
    assert_eq!(verify(&base.join("ledger"), &verifier(base), None).unwrap().finding, Finding::Intact);
    assert_eq!(stored(base), ((0..10).chain(20..30).collect(), 1), "what is lost is known to be");
}

#[test]
fn whatever_fails_but_a_sync_is_tried_again_and_nothing_is_lost() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    let mut left = 0;
    let total = 3000;
    for _round in 0..6 {
        let (setup, control) = setup(base, &[Producer::Keeper]);
        let keeping = Keeping { segment_bytes: 20_000, ..Keeping::default() };
        let mut calls = 0_u64;
        let scribe = serve(setup, keeping, move |asked| {
            calls += 1;
            // Opening a ledger may fail, and another scribe tries: here one that has begun is tried.
            let fails =
                calls > 60 && matches!(asked.call, "pwrite64" | "write" | "renameat" | "unlinkat" | "openat");
            // By chance: every fifth call could be the same one of each attempt, for ever.
            let unlucky = getrandom::u64().unwrap().is_multiple_of(5);
            if fails && unlucky { Reply::Errno(Errno::IO) } else { Reply::Continue }
        });
        let half = left + total / 12;
        hand_over_to(base, left..half, || scribe.is_finished());
        thread::sleep(Duration::from_millis(150));
        hand_over_to(base, half..left + total / 6, || scribe.is_finished());
        left += total / 6;
        drop(control);
        // It may have failed where it could do nothing else; what it had taken is there for the next one.
        let _ended = scribe.join().unwrap();
    }
    let (setup, control) = setup(base, &[Producer::Keeper]);
    drop(control);
    wardroom_scribe::serve_keeping(setup, Keeping::default()).unwrap();
    assert_eq!(stored(base).0, (0..total).collect::<Vec<_>>());
    assert_eq!(verify(&base.join("ledger"), &verifier(base), None).unwrap().finding, Finding::Intact);
}

#[test]
fn a_power_cut_leaves_what_was_signed_and_the_longest_whole_rest() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    let disk = Arc::new(Mutex::new(Disk::new(base.join("ledger"))));
    let cuts = Arc::new(Mutex::new(Vec::new()));
    let mut last = 0;
    for _life in 0..2 {
        let (setup, control) = setup(base, &[Producer::Keeper]);
        disk.lock().unwrap().signed = false;
        let (disk, cuts) = (Arc::clone(&disk), Arc::clone(&cuts));
        let keeping = Keeping { segment_bytes: 20_000, ..Keeping::default() };
        let scribe = serve(setup, keeping, move |asked| {
            let mut disk = disk.lock().unwrap();
            if getrandom::u64().unwrap().is_multiple_of(3) {
                cuts.lock().unwrap().push(disk.cut());
            }
            disk.note(asked);
            Reply::Continue
        });
        for part in 0..6 {
            hand_over(base, last..last + 100);
            last += 100;
            // Sometimes the scribe comes to sign in peace.
            thread::sleep(Duration::from_millis(if part % 3 == 0 { 150 } else { 10 }));
        }
        drop(control);
        scribe.join().unwrap().unwrap();
    }
    let cuts = std::mem::take(&mut *cuts.lock().unwrap());
    assert!(cuts.len() > 10, "{}", cuts.len());
    let every = std::env::var("WARDROOM_LONG").map_or(cuts.len() / 40 + 1, |_| 1);
    let tried = cuts.iter().enumerate().step_by(every);
    let recoveries: usize = tried.map(|(number, cut)| after_the_cut(base, cut, number)).sum();
    assert!(recoveries > 0, "no cut had anything recovered");
}

/// Opens what such a cut can leave, and says how many recoveries are on record.
fn after_the_cut(base: &Path, cut: &Disk, number: usize) -> usize {
    let after = tempfile::tempdir().unwrap();
    let after = after.path();
    common::copy(&base.join("keys"), &after.join("keys"));
    rustix::fs::chmod(after.join("keys"), rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
    cut.leave(&after.join("ledger"));
    let (setup, control) = setup(after, &[Producer::Keeper]);
    let opened = thread::spawn(move || wardroom_scribe::serve_keeping(setup, Keeping::default()));
    hand_over(after, 1_000_000..1_000_001);
    drop(control);
    opened.join().unwrap().unwrap_or_else(|error| panic!("cut {number}: {error}"));
    let found = verify(&after.join("ledger"), &verifier(after), None).unwrap();
    assert_eq!(found.finding, Finding::Intact, "cut {number}");
    let (numbers, recoveries) = stored(after);
    let (last, kept) = numbers.split_last().unwrap();
    assert_eq!(*last, 1_000_000, "cut {number}: what was handed over after it");
    let count = (0..).zip(kept).take_while(|(expected, number)| expected == *number).count();
    // What the ring has, where all of it is sound, follows in its order: it may be on record already.
    assert!(kept[count..].windows(2).all(|two| two[1] == two[0] + 1), "cut {number}: {kept:?}");
    let count = u64::try_from(count).unwrap();
    assert!(count >= cut.promised, "cut {number}: {count} of {} that were signed", cut.promised);
    // Before the first signature the hint of the peaceful end before may be what the disk has.
    let told = recoveries > 0 || count >= cut.written || !cut.signed;
    assert!(told, "cut {number}: {count} of {} and no word of it", cut.written);
    recoveries
}
