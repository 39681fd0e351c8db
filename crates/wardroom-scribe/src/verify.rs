//! Verifying a ledger or a copy of one, offline, with nothing but the public key: what was found, and where.
//!
//! A live ledger can be verified as well; what is not signed yet shows as an incomplete tail.

use std::io::Read;
use std::path::Path;

use thiserror::Error;
use wardroom_ledger::audit::{Audit, Fault, FaultKind, Finding};
use wardroom_ledger::index::Block;
use wardroom_ledger::layout::{self, Part};
use wardroom_ledger::note::MAX_NOTE;
use wardroom_ledger::{Checkpoint, FrameFault, Hash, Verifier, frame};
use wardroom_model::Event;
use wardroom_model::event::{Kind, LedgerNote};

use crate::levels::LevelFiles;
use crate::place::{Place, PlaceError};
use crate::seal;
use crate::segment::{self, SegmentError, Stream, count_in};

/// The result of verifying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// What was found.
    pub finding: Finding,
    /// Whole records that were read and follow from the beginning, retired ones included.
    pub records: u64,
    /// Records that the ledger's own checkpoint covers.
    pub covered: u64,
    /// Records before this one were retired, as a record says.
    pub retired_before: u64,
    /// The root over all records that were read.
    pub root: Hash,
}

/// Why nothing could be found out.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// A file or the directory cannot be read.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// Verifies the ledger in a directory. `kept` is a checkpoint of it that was kept elsewhere, opened with the same
/// key; without one, a whole ledger replaced by an older copy of itself cannot be told from that older ledger.
///
/// # Errors
/// Only where files cannot be read; everything that is wrong with their content is a finding.
pub fn verify(
    path: &Path,
    verifier: &Verifier,
    kept: Option<&Checkpoint>,
) -> Result<Verification, VerifyError> {
    let place = Place::open_for_reading(path)?;
    // Before the segments: what is added meanwhile is then unsigned, never missing.
    let notes = match read_notes(&place, verifier)? {
        Ok(notes) => notes,
        Err(fault) => return Ok(found_at_once(Finding::Tampered(fault))),
    };
    let firsts = segment::firsts(&place)?;
    let oldest = firsts.first().copied().unwrap_or(0);
    let mut stored = LevelFiles::open(&place)?;
    let Some(tree) = stored.tree(oldest) else {
        let fault = fault_of(&layout::name(oldest, Part::Plain), FaultKind::Missing);
        return Ok(found_at_once(Finding::Tampered(fault)));
    };
    let covered = notes.iter().map(|note| note.size).max().unwrap_or(0);
    let mut walk = Walk { audit: Audit::new(tree, notes), stored, covered, kept, retired_before: 0 };
    let finding = match walk.whole(&place, &firsts)? {
        Ok(finding) => finding,
        Err(fault) => Finding::Tampered(fault),
    };
    let Walk { audit, retired_before, .. } = walk;
    Ok(Verification { finding, records: audit.size(), covered, retired_before, root: audit.root() })
}

struct Walk<'a> {
    audit: Audit,
    stored: LevelFiles<'a>,
    covered: u64,
    kept: Option<&'a Checkpoint>,
    retired_before: u64,
}

/// How a segment ended.
enum End {
    Whole,
    /// Bytes that are no record, at an offset, after all that is signed or at the very end of the file.
    Broken {
        bytes: u64,
        fault: Fault,
    },
}

/// A fault is a value: it is what was asked for.
type Found<T> = Result<Result<T, Fault>, PlaceError>;

impl Walk<'_> {
    fn whole(&mut self, place: &Place, firsts: &[u64]) -> Found<Finding> {
        if let Err(fault) = self.audit.meet(layout::CHECKPOINT).and_then(|()| self.meet_kept()) {
            return Ok(Err(fault));
        }
        let mut broken = 0;
        for (at, first) in firsts.iter().enumerate() {
            if *first > self.audit.size() {
                return Ok(Err(Fault {
                    sequence: Some(self.audit.size()),
                    ..fault_of(&layout::name(self.audit.size(), Part::Plain), FaultKind::Missing)
                }));
            }
            match self.segment(place, *first)? {
                Ok(End::Whole) => {}
                Ok(End::Broken { bytes, .. }) if at + 1 == firsts.len() => broken = bytes,
                Ok(End::Broken { fault, .. }) | Err(fault) => return Ok(Err(fault)),
            }
        }
        Ok(self.conclude(firsts, broken))
    }

    fn conclude(&mut self, firsts: &[u64], broken: u64) -> Result<Finding, Fault> {
        let found = self.audit.size();
        if let Some(fault) = self.audit.differs() {
            return Err(fault.clone());
        }
        if found < self.covered {
            return Ok(Finding::Truncated { found, covered: self.covered });
        }
        let oldest = firsts.first().copied().unwrap_or(0);
        if oldest > self.retired_before {
            return Err(fault_of(&layout::name(self.retired_before, Part::Plain), FaultKind::Missing));
        }
        match self.kept {
            Some(kept) if kept.size > found => Ok(Finding::Stale { found, kept: kept.size }),
            Some(_) | None if found > self.covered || broken > 0 => {
                Ok(Finding::IncompleteTail { unsigned: found - self.covered, broken })
            }
            Some(_) | None => Ok(Finding::Intact),
        }
    }

    fn segment(&mut self, place: &Place, first: u64) -> Found<End> {
        let mut stream = match Stream::open(place, first) {
            Ok(stream) => stream,
            Err(error) => return into_fault(error, first),
        };
        let name = stream.name().to_owned();
        let mut blocks: Vec<Block> = Vec::new();
        loop {
            let offset = stream.offset();
            let rest = match stream.rest() {
                Ok(rest) => rest,
                Err(error) => return into_fault(error, self.audit.size()),
            };
            if rest.is_empty() {
                break;
            }
            let frame = match self.audit.frame(&name, offset, rest, &mut self.stored) {
                Ok(frame) => frame,
                Err(fault) => return Ok(self.broken(fault, rest)),
            };
            if frame.head.kind == Kind::Ledger.number()
                && let Ok(Event::Ledger(LedgerNote::Retired { before, .. })) = minicbor::decode(frame.payload)
            {
                self.retired_before = self.retired_before.max(before);
            }
            count_in(&mut blocks, &frame);
            let length = frame.bytes.len();
            stream.consume(length);
            if let Err(fault) = self.meet_kept() {
                return Ok(Err(fault));
            }
        }
        if stream.sealed { check_index(place, first, blocks) } else { Ok(Ok(End::Whole)) }
    }

    /// Whether bytes that are no record can be the end of a ledger that was cut off.
    fn broken(&self, fault: Fault, rest: &[u8]) -> Result<End, Fault> {
        let next = self.audit.size() + 1;
        let cut_off = matches!(fault.what, FaultKind::Frame(FrameFault::Incomplete { .. }));
        let cut_off = cut_off && !is_whole(rest) && !holds_record(rest, next);
        let unsigned = matches!(fault.what, FaultKind::Frame(_)) && self.audit.size() >= self.covered;
        let bytes = u64::try_from(rest.len()).unwrap_or(u64::MAX);
        if cut_off || unsigned { Ok(End::Broken { bytes, fault }) } else { Err(fault) }
    }

    fn meet_kept(&self) -> Result<(), Fault> {
        match self.kept {
            Some(kept) if kept.size == self.audit.size() && kept.root != self.audit.root() => {
                let fault = fault_of("the checkpoint kept elsewhere", FaultKind::OtherHistory);
                Err(Fault { sequence: Some(kept.size), ..fault })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether a frame that seems cut off is whole but for its length: then nothing was cut off, and the length changed.
fn is_whole(rest: &[u8]) -> bool {
    let Ok(length) = u32::try_from(rest.len()) else { return false };
    let mut whole = length.to_le_bytes().to_vec();
    whole.extend_from_slice(rest.get(4..).unwrap_or_default());
    frame::read(&whole).is_ok()
}

/// Whether the record with this sequence follows somewhere: then what seems to be the end is none.
fn holds_record(rest: &[u8], sequence: u64) -> bool {
    let mark = sequence.to_le_bytes();
    let starts = (frame::HEADER..rest.len()).filter_map(|at| rest.get(at..));
    starts
        .filter(|start| start.get(8..16).is_some_and(|field| field == mark))
        .any(|start| frame::read(start).is_ok_and(|found| found.head.sequence == sequence))
}

/// Compares the index of a sealed segment with what is in it. A missing one hides nothing and is made anew.
fn check_index(place: &Place, first: u64, mut blocks: Vec<Block>) -> Found<End> {
    let name = layout::name(first, Part::Index);
    if place.readable(&name)?.is_none() {
        return Ok(Ok(End::Whole));
    }
    if let Err(error) = seal::place_blocks(place, first, &mut blocks) {
        return into_fault(error, first);
    }
    let same = seal::read_index(place, first)?.as_ref() == Some(&blocks);
    Ok(if same { Ok(End::Whole) } else { Err(fault_of(&name, FaultKind::Index)) })
}

/// The checkpoints: of the last commit, and of each segment's end.
fn read_notes(place: &Place, verifier: &Verifier) -> Found<Vec<Checkpoint>> {
    let mut names: Vec<String> = place
        .names()?
        .into_iter()
        .filter(|name| name == layout::CHECKPOINT || matches!(layout::parse(name), Some((_, Part::Note))))
        .collect();
    names.sort();
    let mut notes = Vec::new();
    for name in names {
        let mut bytes = Vec::new();
        let Some(file) = place.readable(&name)? else { continue };
        let most = u64::try_from(MAX_NOTE).unwrap_or(u64::MAX) + 1;
        file.take(most).read_to_end(&mut bytes).map_err(|source| place.io("read", &name, source))?;
        match Checkpoint::open(&String::from_utf8_lossy(&bytes), verifier) {
            Ok(note) => notes.push(note),
            Err(error) => return Ok(Err(fault_of(&name, FaultKind::Note(error.to_string())))),
        }
    }
    Ok(Ok(notes))
}

fn fault_of(file: &str, what: FaultKind) -> Fault {
    Fault { file: file.to_owned(), sequence: None, offset: None, what }
}

fn found_at_once(finding: Finding) -> Verification {
    let root = wardroom_ledger::Tree::new().root();
    Verification { finding, records: 0, covered: 0, retired_before: 0, root }
}

fn into_fault<T>(error: SegmentError, sequence: u64) -> Found<T> {
    match error {
        SegmentError::Place(error) => Err(error),
        SegmentError::Missing(first) => {
            Ok(Err(fault_of(&layout::name(first, Part::Plain), FaultKind::Missing)))
        }
        SegmentError::Damaged { file, offset, what } => Ok(Err(Fault {
            file,
            sequence: Some(sequence),
            offset: Some(offset),
            what: FaultKind::Frame(what),
        })),
        SegmentError::Block { file, offset } => {
            Ok(Err(Fault { file, sequence: Some(sequence), offset: Some(offset), what: FaultKind::Block }))
        }
    }
}
