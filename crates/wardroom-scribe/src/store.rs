//! A ledger on disk, being written: frames into segments, hashes beside them, a signed checkpoint behind them.
//!
//! The order is the promise: frames are written, then their ring room is given back (they survive SIGKILL), then at
//! a commit they are synced (they survive a power cut), and only then does a checkpoint speak of them.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use thiserror::Error;
use wardroom_ledger::layout::{self, Part};
use wardroom_ledger::{Checkpoint, CheckpointError, Head, Producer, Signer, Tree, frame, tree};
use wardroom_model::{Event, Stamp};

use crate::hint::Hint;
use crate::levels::Levels;
use crate::open;
use crate::place::{Place, PlaceError, SYNC};
use crate::segment::SegmentError;

/// Bytes after which a segment is complete: some 250,000 records, a tenth of a second to scan.
pub(crate) const SEGMENT_BYTES: u64 = 64 << 20;

/// Why a ledger cannot be opened or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file or the directory.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A segment cannot be read.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The checkpoint is there and is not ours.
    #[error("the ledger's checkpoint does not hold: verify the ledger, and move it away before a new start")]
    Checkpoint(#[from] CheckpointError),
    /// Fewer records than the checkpoint covers.
    #[error("the ledger has {found} records, its checkpoint covers {covered}: verify it, and move it away")]
    Shorter {
        /// Whole records found.
        found: u64,
        /// Records that were on disk when the checkpoint was written.
        covered: u64,
    },
    /// The records are not those that the checkpoint covers.
    #[error("the ledger's records are not those of its checkpoint: verify it, and move it away")]
    OtherRoot,
    /// A part in the middle is gone.
    #[error("the records from {0} on are missing: verify the ledger, and move it away")]
    Gap(u64),
}

/// The one writer of a ledger.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) place: Place,
    pub(crate) signer: Signer,
    pub(crate) tree: Tree,
    pub(crate) levels: Levels,
    pub(crate) segment: Segment,
    /// Frames that are in the tree and not yet in the segment.
    pub(crate) batch: Vec<u8>,
    /// Records covered by the last checkpoint.
    pub(crate) covered: u64,
}

/// The segment that grows.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) first: u64,
    pub(crate) file: File,
    pub(crate) length: u64,
}

impl Store {
    /// The sequence of the next record.
    pub(crate) fn next(&self) -> u64 {
        self.tree.size()
    }

    /// Puts one record behind the others, in memory. `head.sequence` is set here.
    pub(crate) fn stage(&mut self, head: Head, payload: &[u8]) -> Result<(), frame::FrameFault> {
        let start = self.batch.len();
        frame::write(&Head { sequence: self.next(), ..head }, payload, &mut self.batch)?;
        let leaf = tree::leaf(self.batch.get(start..).unwrap_or_default());
        self.tree.push(leaf, |level, hash| self.levels.push(level, hash));
        Ok(())
    }

    /// Puts a record about the ledger itself behind the others, in memory.
    pub(crate) fn note(&mut self, stamp: Stamp, event: &Event) -> Result<(), frame::FrameFault> {
        let payload = minicbor::to_vec(event).unwrap_or_default();
        let head = Head {
            sequence: 0,
            stamp,
            kind: event.kind().number(),
            producer: Producer::Scribe.number(),
            outcome: None,
            ring: 0,
        };
        self.stage(head, &payload)
    }

    /// Writes what is staged. On error everything stays staged, and the next call starts over at the same place.
    pub(crate) fn write(&mut self) -> Result<(), PlaceError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let Segment { first, file, length } = &mut self.segment;
        file.write_all_at(&self.batch, *length)
            .map_err(|source| self.place.io("write", &layout::name(*first, Part::Plain), source))?;
        *length += u64::try_from(self.batch.len()).unwrap_or(0);
        self.batch.clear();
        Ok(())
    }

    /// Makes everything last through a power cut and signs for it.
    pub(crate) fn commit(&mut self) -> Result<(), PlaceError> {
        self.write()?;
        let segment = layout::name(self.segment.first, Part::Plain);
        self.segment.file.sync_data().map_err(|source| self.place.io(SYNC, &segment, source))?;
        self.levels.write(&self.place)?;
        let checkpoint = Checkpoint::of(self.signer.verifier().name(), &self.tree);
        let note = checkpoint.sign(&self.signer);
        self.replace(layout::CHECKPOINT, &note)?;
        self.covered = checkpoint.size;
        self.hint(false)
    }

    /// Ends the segment, which was just committed to, and begins the next one.
    pub(crate) fn rotate(&mut self) -> Result<(), PlaceError> {
        self.commit()?;
        self.levels.sync(&self.place)?;
        let note = Checkpoint::of(self.signer.verifier().name(), &self.tree).sign(&self.signer);
        self.replace(&layout::name(self.segment.first, Part::Note), &note)?;
        self.segment = open::new_segment(&self.place, self.next())?;
        self.hint(false)
    }

    /// Whether records wait for a commit.
    pub(crate) fn uncommitted(&self) -> bool {
        self.covered != self.next()
    }

    /// Leaves word for the next opening.
    pub(crate) fn hint(&self, clean: bool) -> Result<(), PlaceError> {
        let hint =
            Hint { size: self.covered, segment: self.segment.first, offset: self.segment.length, clean };
        let file = self.place.writable(layout::HINT)?;
        file.write_all_at(&hint.to_bytes(), 0).map_err(|source| self.place.io("write", layout::HINT, source))
    }

    /// Writes a small file so that it is either the old one or the new one, whatever happens.
    pub(crate) fn replace(&self, name: &str, text: &str) -> Result<(), PlaceError> {
        let beside = format!("{name}.new");
        self.place.remove(&beside)?;
        let mut file = self.place.fresh(&beside)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        written.map_err(|source| self.place.io("write", &beside, source))?;
        self.place.rename(&beside, name)
    }
}
