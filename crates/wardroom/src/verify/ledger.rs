//! L1, L2: changes to a copy of the agent's own ledger. Each must be found by `ledger verify`, and located; the
//! untouched copy, which must be found intact, is the control of them all.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wardroom_ledger::{Checkpoint, Finding as Found, Verifier, frame, layout};
use wardroom_scribe::verify;

use super::clock;
use super::judge::{Finding, Judged};

/// The frames of a segment, one after the other.
type Frames = VecDeque<Vec<u8>>;

/// A change to the frames of one segment.
struct Change {
    id: &'static str,
    title: &'static str,
    apply: fn(&mut Frames, usize),
}

const CHANGES: [Change; 6] = [
    Change { id: "L1.bit", title: "one bit of a record changed", apply: flip },
    Change { id: "L1.removed", title: "a record removed", apply: remove },
    Change { id: "L1.inserted", title: "a record inserted", apply: insert },
    Change { id: "L1.swapped", title: "two records swapped", apply: swap },
    Change { id: "L1.replaced", title: "a record replaced by another", apply: replace },
    Change { id: "L1.shortened", title: "the end of a segment cut off", apply: shorten },
];

/// The last byte is the payload's, far from every length.
fn flip(frames: &mut Frames, at: usize) {
    if let Some(byte) = frames.get_mut(at).and_then(|frame| frame.last_mut()) {
        *byte ^= 1;
    }
}

fn remove(frames: &mut Frames, at: usize) {
    drop(frames.remove(at));
}

fn insert(frames: &mut Frames, at: usize) {
    if let Some(copy) = frames.get(at).cloned() {
        frames.insert(at, copy);
    }
}

fn swap(frames: &mut Frames, at: usize) {
    frames.swap(at, at + 1);
}

fn replace(frames: &mut Frames, at: usize) {
    if let Some(other) = frames.front().cloned()
        && let Some(frame) = frames.get_mut(at)
    {
        *frame = other;
    }
}

fn shorten(frames: &mut Frames, at: usize) {
    frames.truncate(at);
}

/// More than this is not copied for a probe.
const LARGEST: u64 = 256 << 20;

/// A ledger and where its copies may be made.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    /// The ledger.
    pub(crate) ledger: &'a Path,
    /// The public key that it is signed with, from where the ledger cannot change it.
    pub(crate) verifier: Verifier,
    /// A directory of ours.
    pub(crate) room: &'a Path,
    /// A copy from before the second cell, where there could be one.
    pub(crate) older: Option<PathBuf>,
}

/// Makes a copy to work on.
pub(crate) fn copy(ledger: &Path, to: &Path) -> io::Result<()> {
    let mut left = LARGEST;
    fs::create_dir(to)?;
    for entry in fs::read_dir(ledger)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_file() {
            left = left.checked_sub(found.len()).ok_or(io::ErrorKind::FileTooLarge)?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// What is done to a whole ledger.
type Deed = fn(&Bench<'_>) -> Result<Found, String>;

const DEEDS: [(&str, &str, Deed); 2] = [
    ("L1.segment", "a whole segment removed", without_segment),
    ("L1.older", "the ledger replaced by an older copy of itself", replaced_by_older),
];

/// The ids of every probe of this file.
pub(crate) fn ids() -> impl Iterator<Item = &'static str> {
    CHANGES.iter().map(|change| change.id).chain(DEEDS.iter().map(|(id, _, _)| *id)).chain([clock::ID])
}

/// Every probe of this file that is wanted.
pub(crate) fn all(bench: &Bench<'_>, wanted: &dyn Fn(&str) -> bool) -> Vec<Judged> {
    let changes = CHANGES
        .iter()
        .filter(|change| wanted(change.id))
        .map(|change| judged(change.id, change.title, changed(bench, change)));
    let deeds =
        DEEDS.iter().filter(|(id, _, _)| wanted(id)).map(|(id, title, deed)| judged(id, title, deed(bench)));
    let clock = wanted(clock::ID).then(|| clock::judged(bench.room));
    changes.chain(deeds).chain(clock).collect()
}

/// A finding of the verifier is the evidence; the reason why there is none is no pass.
fn judged(id: &str, title: &str, outcome: Result<Found, String>) -> Judged {
    let (finding, because, record) = match outcome {
        Ok(Found::Intact | Found::IncompleteTail { .. }) => {
            (Finding::Fail, "nobody noticed: the ledger still verifies".to_owned(), None)
        }
        Ok(found @ (Found::Tampered(_) | Found::Truncated { .. } | Found::Stale { .. })) => {
            (Finding::Pass, "found and located".to_owned(), Some(found.to_string()))
        }
        Err(why) => (Finding::CouldNotTest, why, None),
    };
    let control = "an untouched copy verifies as intact".to_owned();
    Judged {
        id: id.to_owned(),
        title: title.to_owned(),
        finding,
        because,
        control,
        record,
        unrecorded: None,
        milliseconds: None,
    }
}

/// A fresh copy, which must verify before anything is done to it.
fn fresh(bench: &Bench<'_>, name: &str) -> Result<PathBuf, String> {
    let to = bench.room.join(name);
    copy(bench.ledger, &to).map_err(|error| format!("the ledger cannot be copied: {error}"))?;
    match check(&to, &bench.verifier, None)? {
        Found::Intact => Ok(to),
        other @ (Found::Tampered(_)
        | Found::Truncated { .. }
        | Found::IncompleteTail { .. }
        | Found::Stale { .. }) => Err(format!("the control did not work: an untouched copy is {other}")),
    }
}

fn check(ledger: &Path, verifier: &Verifier, kept: Option<&Checkpoint>) -> Result<Found, String> {
    verify(ledger, verifier, kept).map(|done| done.finding).map_err(|error| error.to_string())
}

/// The segment that is still written to: the only one whose frames lie as they were written.
fn last_segment(ledger: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(ledger).map_err(|error| error.to_string())?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let plain = names.filter(|name| matches!(layout::parse(name), Some((_, layout::Part::Plain))));
    plain.max().map(|name| ledger.join(name)).ok_or_else(|| "the ledger has no open segment".to_owned())
}

fn changed(bench: &Bench<'_>, change: &Change) -> Result<Found, String> {
    let ledger = fresh(bench, change.id)?;
    let segment = last_segment(&ledger)?;
    let bytes = fs::read(&segment).map_err(|error| error.to_string())?;
    let mut frames = frames(&bytes)?;
    if frames.len() < 8 {
        return Err(format!("the last segment has only {} records", frames.len()));
    }
    let middle = frames.len() / 2;
    (change.apply)(&mut frames, middle);
    fs::write(&segment, frames.make_contiguous().concat()).map_err(|error| error.to_string())?;
    check(&ledger, &bench.verifier, None)
}

fn frames(mut bytes: &[u8]) -> Result<Frames, String> {
    let mut frames = Frames::new();
    while !bytes.is_empty() {
        let frame = frame::read(bytes).map_err(|fault| fault.to_string())?.bytes;
        frames.push_back(frame.to_vec());
        bytes = bytes.get(frame.len()..).unwrap_or_default();
    }
    Ok(frames)
}

fn without_segment(bench: &Bench<'_>) -> Result<Found, String> {
    let ledger = fresh(bench, "L1.segment")?;
    fs::remove_file(last_segment(&ledger)?).map_err(|error| error.to_string())?;
    check(&ledger, &bench.verifier, None)
}

/// Right in itself, and only a checkpoint kept elsewhere tells: today's stands for that one.
fn replaced_by_older(bench: &Bench<'_>) -> Result<Found, String> {
    let today = fresh(bench, "L1.older-control")?;
    let older = bench.older.as_deref().ok_or("the earlier state of the ledger could not be copied")?;
    let note = fs::read_to_string(today.join(layout::CHECKPOINT)).map_err(|error| error.to_string())?;
    let kept = Checkpoint::open(&note, &bench.verifier).map_err(|error| error.to_string())?;
    let then = fs::read_to_string(older.join(layout::CHECKPOINT)).map_err(|error| error.to_string())?;
    let then = Checkpoint::open(&then, &bench.verifier).map_err(|error| error.to_string())?;
    if then.size >= kept.size {
        return Err("nothing was recorded between the two cells".to_owned());
    }
    match check(older, &bench.verifier, None)? {
        Found::Intact => check(older, &bench.verifier, Some(&kept)),
        other @ (Found::Tampered(_)
        | Found::Truncated { .. }
        | Found::IncompleteTail { .. }
        | Found::Stale { .. }) => Err(format!("the earlier copy is {other}")),
    }
}
