//! L5: a clock that is set back. Setting the machine's would concern all of it, so a scribe of verify's own, with a
//! ledger of its own, is told that it was set; its ledger must say so, keep its order, and verify. The same scribe with
//! an honest clock, which must say nothing of the kind, is the control.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use wardroom_kernel::message;
use wardroom_ledger::{Finding as Found, Query, Record};
use wardroom_model::event::{LedgerNote, Supervision};
use wardroom_model::{Event, Stamp};
use wardroom_scribe::{
    FromScribe, Handoff, Keeping, Producer, RingSwitch, ScribeSetup, ToScribe, clock, create_ring, hear, key,
    records, say, serve_keeping, verify,
};

use super::judge::{Finding, Judged};
use crate::clock::Deadline;

pub(crate) const ID: &str = "L5.clock";
const ORIGIN: &str = "rehearsal/clock";
/// An hour, in nanoseconds.
const HOUR: u64 = 3_600_000_000_000;
/// How long the scribe has to take a record, which it does within milliseconds.
const TAKING: Duration = Duration::from_secs(10);

/// Whether the rehearsed clock has been set back.
static SET_BACK: AtomicBool = AtomicBool::new(false);

fn rehearsed() -> Stamp {
    let now = clock::now();
    let back = if SET_BACK.load(Ordering::SeqCst) { HOUR } else { 0 };
    Stamp { wall: now.wall.saturating_sub(back), ..now }
}

/// The probe and its control.
pub(crate) fn judged(room: &Path) -> Judged {
    let control = steps(&room.join("L5.control"), false);
    let (finding, because, record) = match (control, steps(&room.join(ID), true)) {
        (Err(why), _) | (_, Err(why)) => (Finding::CouldNotTest, why, None),
        (Ok(Some(step)), Ok(_)) => {
            (Finding::CouldNotTest, format!("the control did not work: it found a step of {step} ns"), None)
        }
        (Ok(None), Ok(Some(step))) => {
            (Finding::Pass, "recorded; the order is kept".to_owned(), Some(format!("a step of {step} ns")))
        }
        (Ok(None), Ok(None)) => (Finding::Fail, "nobody noticed".to_owned(), None),
    };
    Judged {
        id: ID.to_owned(),
        title: "a clock set back by an hour, rehearsed".to_owned(),
        finding,
        because,
        control: "with an honest clock no step is recorded".to_owned(),
        record,
        unrecorded: None,
        milliseconds: None,
    }
}

/// Has a scribe of our own write a ledger, sets its clock back if `back`, and says which step the ledger has on record.
/// A ledger that is out of order, or does not verify, is an error.
fn steps(room: &Path, back: bool) -> Result<Option<i64>, String> {
    SET_BACK.store(false, Ordering::SeqCst);
    let written = write(room, back).map_err(|error| format!("the rehearsal failed: {error:#}"))?;
    // A note of the scribe's own may come before a record that was handed over a moment earlier; one producer's never do.
    let handed = written.iter().filter(|record| matches!(record.event, Some(Event::Supervision(_))));
    let ordered = handed.is_sorted_by_key(|record| record.head.stamp.monotonic);
    if !ordered {
        return Err("the records are not in the order of the monotonic clock".to_owned());
    }
    let step = |record: &Record| match record.event {
        Some(Event::Ledger(LedgerNote::ClockStep { nanos })) => Some(nanos),
        _ => None,
    };
    // The clock that was set must be the reason, not one that NTP set at the same time.
    Ok(written.iter().filter_map(step).find(|nanos| nanos.unsigned_abs() > HOUR / 2))
}

fn write(room: &Path, back: bool) -> anyhow::Result<Vec<Record>> {
    let (ledger_dir, key_dir) = (room.join("ledger"), room.join("keys"));
    std::fs::create_dir_all(room)?;
    let ring = create_ring(&ledger_dir, Producer::Keeper)?;
    let (ours, control) = message::pair()?;
    let setup = ScribeSetup {
        ledger_dir: ledger_dir.clone(),
        key_dir: key_dir.clone(),
        origin: ORIGIN.to_owned(),
        rings: vec![(Producer::Keeper, ring.try_clone()?)],
        control,
    };
    let keeping = Keeping { clocks: rehearsed, ..Keeping::default() };
    let scribe = thread::spawn(move || serve_keeping(setup, keeping));
    let switch = RingSwitch::new(&ring)?;
    let handoff = Handoff::attach(ring, Producer::Keeper)?;
    for moment in ["before", "after"] {
        let what = Supervision { process: "rehearsal".to_owned(), what: moment.to_owned() };
        let _receipt = handoff.record(&Event::Supervision(what))?;
        taken(&switch)?;
        SET_BACK.store(back, Ordering::SeqCst);
    }
    say(&ours, &ToScribe::Finish)?;
    while let Some(said) = hear::<FromScribe>(&ours)? {
        if matches!(said, FromScribe::Finished { .. }) {
            break;
        }
    }
    scribe.join().map_err(|_panic| anyhow::anyhow!("the scribe panicked"))??;
    let found = verify(&ledger_dir, &key::host_key(&key_dir, ORIGIN)?.verifier(), None)?.finding;
    anyhow::ensure!(matches!(found, Found::Intact), "the ledger of the rehearsal is {found}");
    Ok(records(&ledger_dir, Query::default())?.collect::<Result<_, _>>()?)
}

/// Waits until the scribe has taken what was handed over.
fn taken(ring: &RingSwitch) -> anyhow::Result<()> {
    let deadline = Deadline::after(TAKING);
    while ring.pending() > 0 {
        anyhow::ensure!(deadline.left().is_some(), "the scribe takes no records");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
