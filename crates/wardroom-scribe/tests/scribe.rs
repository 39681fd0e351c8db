//! A scribe in a thread, producers beside it, and what is on disk afterwards.
#![expect(clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{attach, event, start, verifier, written};
use wardroom_kernel::ring::{self, Ring};
use wardroom_ledger::{Finding, Query};
use wardroom_model::event::{Event, LedgerNote, Recovery};
use wardroom_model::{Kind, RuleRef};
use wardroom_scribe::{
    Keeping, Producer, Retention, RingSwitch, ScribeError, StoreError, create_ring, export, records, verify,
};

#[test]
fn every_record_of_every_thread_is_stored_once_and_in_order() {
    let base = tempfile::tempdir().unwrap();
    let scribe = start(base.path(), &[Producer::Keeper, Producer::Gate], Keeping::default());
    let (threads, each) = (4_u64, 2_000_u64);
    let keeper = Arc::new(attach(base.path(), Producer::Keeper));
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            let keeper = Arc::clone(&keeper);
            thread::spawn(move || {
                for n in 0..each {
                    let _receipt = keeper.record(&event(&format!("{worker} {n}"))).unwrap();
                }
            })
        })
        .collect();
    let gate = attach(base.path(), Producer::Gate);
    for n in 0..each {
        let _receipt = gate.record(&event(&format!("gate {n}"))).unwrap();
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!(scribe.finish(), threads * each + each);
    // A second run goes on where the first ended, without a word of recovery.
    let scribe = start(base.path(), &[Producer::Keeper, Producer::Gate], Keeping::default());
    let _receipt = gate.record(&event("again")).unwrap();
    assert_eq!(scribe.finish(), threads * each + each + 1);
}

#[test]
fn segments_are_sealed_and_everything_in_them_is_found_again() {
    let base = tempfile::tempdir().unwrap();
    written(base.path(), 3_000, 40_000);
    let ledger = base.path().join("ledger");
    // Sealing goes on beside the scribe, and is caught up with at the next start where it was cut short.
    wait_for(|| common::files(&ledger).iter().filter(|name| name.ends_with(".lz4")).count() >= 3);
    let all: Vec<_> = records(&ledger, Query::default()).unwrap().map(Result::unwrap).collect();
    let sequences: Vec<u64> = all.iter().map(|record| record.head.sequence).collect();
    assert_eq!(sequences, (0..u64::try_from(all.len()).unwrap()).collect::<Vec<_>>());
    let ours = Query { kinds: vec![Kind::Supervision], ..Query::default() };
    let texts: Vec<_> =
        records(&ledger, ours).unwrap().map(|record| record.unwrap().event.unwrap()).collect();
    assert_eq!(texts, (0..3_000).map(|n| event(&format!("record {n}"))).collect::<Vec<_>>());
    let late = Query { since: Some(all[2_500].head.stamp.wall), ..Query::default() };
    assert_eq!(records(&ledger, late).unwrap().count(), all.len() - 2_500);
    let notes = Query { kinds: vec![Kind::Ledger], from: 1_000, ..Query::default() };
    assert!(
        records(&ledger, notes).unwrap().all(|record| {
            matches!(record.unwrap().event, Some(Event::Ledger(LedgerNote::Sealed { .. })))
        })
    );
    let found = verify(&ledger, &verifier(base.path()), None).unwrap();
    assert_eq!((found.finding, found.records), (Finding::Intact, u64::try_from(all.len()).unwrap()));
}

#[test]
fn an_export_stands_for_itself() {
    let base = tempfile::tempdir().unwrap();
    written(base.path(), 1_500, 40_000);
    let (ledger, copy) = (base.path().join("ledger"), base.path().join("copy"));
    let checkpoint = export(&ledger, &verifier(base.path()), &copy).unwrap();
    let found = verify(&copy, &verifier(base.path()), Some(&checkpoint)).unwrap();
    assert_eq!((found.finding, found.records), (Finding::Intact, checkpoint.size));
    assert!(copy.join("tile/0/000").exists() && !copy.join("ring-keeper").exists());
    assert!(export(&ledger, &verifier(base.path()), &copy).is_err());
}

#[test]
fn what_is_retired_leaves_a_record_and_a_ledger_that_still_verifies() {
    let base = tempfile::tempdir().unwrap();
    let rule = Some(RuleRef { file: "agents/test.toml".into(), line: 7 });
    let retention = Retention { most_bytes: Some(1), longest: None, rule };
    let keeping = Keeping { segment_bytes: 20_000, retention, ..Keeping::default() };
    let ledger = base.path().join("ledger");
    let handoff = attach(base.path(), Producer::Keeper);
    let scribe = start(base.path(), &[Producer::Keeper], keeping);
    for round in 0..6 {
        for n in 0..300 {
            let _receipt = handoff.record(&event(&format!("{round} {n}"))).unwrap();
        }
        thread::sleep(Duration::from_millis(60));
    }
    let total = scribe.finish();
    let found = verify(&ledger, &verifier(base.path()), None).unwrap();
    assert_eq!((found.finding, found.records), (Finding::Intact, total));
    assert!(found.retired_before > 0);
    let first = records(&ledger, Query::default()).unwrap().next().unwrap().unwrap();
    assert_eq!(first.head.sequence, found.retired_before);
    // The same ledger goes on, and a segment that goes without a word is missed.
    let scribe = start(base.path(), &[Producer::Keeper], Keeping::default());
    let _receipt = handoff.record(&event("again")).unwrap();
    assert_eq!(scribe.finish(), total + 1);
    let oldest = common::files(&ledger).into_iter().find(|name| name.contains(".seg")).unwrap();
    std::fs::remove_file(ledger.join(oldest)).unwrap();
    let found = verify(&ledger, &verifier(base.path()), None).unwrap();
    assert!(matches!(found.finding, Finding::Tampered(_) | Finding::Truncated { .. }), "{:?}", found.finding);
}

#[test]
fn what_is_kept_for_a_time_goes_when_its_time_is_over() {
    let base = tempfile::tempdir().unwrap();
    let rule = Some(RuleRef { file: "agents/test.toml".into(), line: 9 });
    let retention = Retention { most_bytes: None, longest: Some(1_000_000_000), rule };
    let ledger = base.path().join("ledger");
    let handoff = attach(base.path(), Producer::Keeper);
    let scribe = start(base.path(), &[Producer::Keeper], Keeping { retention, ..Keeping::default() });
    // Far from a full segment: only its age makes it complete.
    for round in 0..14 {
        let _receipt = handoff.record(&event(&format!("{round}"))).unwrap();
        thread::sleep(Duration::from_millis(200));
    }
    let total = scribe.finish();
    let found = verify(&ledger, &verifier(base.path()), None).unwrap();
    assert_eq!((found.finding, found.records), (Finding::Intact, total));
    assert!(found.retired_before > 0, "of {total} records none was retired");
}

#[test]
fn a_live_ledger_is_followed() {
    let base = tempfile::tempdir().unwrap();
    let scribe =
        start(base.path(), &[Producer::Keeper], Keeping { segment_bytes: 5_000, ..Keeping::default() });
    let handoff = attach(base.path(), Producer::Keeper);
    let query = Query { kinds: vec![Kind::Supervision], ..Query::default() };
    let mut follow = records(&base.path().join("ledger"), query).unwrap();
    for n in 0..200 {
        let _receipt = handoff.record(&event(&format!("{n}"))).unwrap();
        let found = loop {
            match follow.next() {
                Some(found) => break found.unwrap(),
                None => follow.wait(Duration::from_secs(1)).unwrap(),
            }
        };
        assert_eq!(found.event, Some(event(&format!("{n}"))));
    }
    let _records = scribe.finish();
}

fn wait_for(condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not come to be");
}

#[test]
fn eight_threads_and_every_one_of_their_records() {
    let each: u64 = std::env::var("WARDROOM_LONG").map_or(5_000, |_| 125_000);
    let base = tempfile::tempdir().unwrap();
    let scribe = start(base.path(), &[Producer::Keeper], Keeping::default());
    let handoff = attach(base.path(), Producer::Keeper);
    thread::scope(|scope| {
        for worker in 0..8 {
            let handoff = &handoff;
            scope.spawn(move || {
                for n in 0..each {
                    let _receipt = handoff.record(&event(&format!("{worker} {n}"))).unwrap();
                }
            });
        }
    });
    assert_eq!(scribe.finish(), 8 * each);
}

#[test]
fn a_gate_that_hands_over_nonsense_is_on_record_and_harms_nobody_else() {
    let base = tempfile::tempdir().unwrap();
    let ledger = base.path().join("ledger");
    let nonsense = create_ring(&ledger, Producer::Gate).unwrap();
    let mut gate = ring::Producer::new(Ring::open(&nonsense).unwrap());
    for length in 1..100 {
        assert!(gate.push(7, &vec![0xff; length]).unwrap());
    }
    let scribe = start(base.path(), &[Producer::Keeper, Producer::Gate], Keeping::default());
    let keeper = attach(base.path(), Producer::Keeper);
    let _receipt = keeper.record(&event("unharmed")).unwrap();
    let _records = scribe.finish();
    let all: Vec<Event> =
        records(&ledger, Query::default()).unwrap().map(|record| record.unwrap().event.unwrap()).collect();
    assert!(all.contains(&event("unharmed")));
    assert!(
        all.iter().any(|event| matches!(event, Event::Ledger(LedgerNote::Garbled { producer: 1, .. }))),
        "{all:?}"
    );
    assert_eq!(verify(&ledger, &verifier(base.path()), None).unwrap().finding, Finding::Intact);
}

#[test]
fn a_ledger_that_is_given_up_refuses_and_one_that_is_held_waits() {
    let base = tempfile::tempdir().unwrap();
    let ring = create_ring(&base.path().join("ledger"), Producer::Keeper).unwrap();
    let switch = RingSwitch::new(&ring).unwrap();
    let handoff = Arc::new(attach(base.path(), Producer::Keeper));
    switch.hold();
    let waiting = {
        let handoff = Arc::clone(&handoff);
        thread::spawn(move || handoff.record(&event("waits")).is_ok())
    };
    thread::sleep(Duration::from_millis(50));
    assert!(!waiting.is_finished() && switch.pending() == 0);
    switch.open();
    assert!(waiting.join().unwrap() && switch.pending() > 0);
    switch.close();
    assert!(handoff.record(&event("too late")).is_err());
}

#[test]
fn a_ledger_that_lost_signed_records_is_not_continued() {
    let base = tempfile::tempdir().unwrap();
    written(base.path(), 100, 1 << 20);
    let segment = base.path().join("ledger").join("00000000000000000000.seg");
    let length = std::fs::metadata(&segment).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length - 10).unwrap();
    let refused = start(base.path(), &[Producer::Keeper], Keeping::default()).thread.join().unwrap();
    assert!(
        matches!(refused, Err(ScribeError::Store(StoreError::Shorter { found: 99, covered: 100 }))),
        "{refused:?}"
    );
}

#[test]
fn an_unclean_end_is_on_record_with_what_was_kept_and_cut() {
    let base = tempfile::tempdir().unwrap();
    written(base.path(), 100, 1 << 20);
    let ledger = base.path().join("ledger");
    let segment = ledger.join("00000000000000000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes.extend_from_slice(b"half a record");
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(start(base.path(), &[Producer::Keeper], Keeping::default()).finish(), 101);
    let last = records(&ledger, Query { from: 100, ..Query::default() }).unwrap().next().unwrap().unwrap();
    let recovery = Recovery { kept: 100, cut_bytes: 13, from_handoff: 0 };
    assert_eq!(last.event, Some(Event::Ledger(LedgerNote::Recovered(recovery))));
    assert_eq!(std::fs::read(ledger.join("cut-00000000000000000100-0")).unwrap(), b"half a record");
}
