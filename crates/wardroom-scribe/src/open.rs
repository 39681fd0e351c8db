//! Opening a ledger, after whatever happened to it. The usual case reads the checkpoint, a few hashes and the
//! frames behind it, however long the ledger is. What cannot be explained by a crash is refused, not repaired: only
//! a human decides that a ledger which lost signed records may go on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use wardroom_ledger::layout::{self, Part};
use wardroom_ledger::note::MAX_NOTE;
use wardroom_ledger::{Checkpoint, Signer, Tree, Verifier, frame, tree};

use crate::hint::{self, Hint};
use crate::levels::{LevelFiles, Levels};
use crate::place::{Place, PlaceError, SYNC};
use crate::segment::{self, Stream};
use crate::store::{Segment, Store, StoreError};

/// An opened ledger, and in what state it was.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Store,
    /// Whether the scribe before us did not end in peace.
    pub(crate) unclean: bool,
    /// Bytes behind the last whole record, kept in a side file.
    pub(crate) cut_bytes: u64,
    /// By producer: the ring position after the last record found behind the checkpoint.
    pub(crate) done: BTreeMap<u8, u64>,
}

/// Opens the ledger in `place`, which is locked; an empty directory is an empty ledger.
pub(crate) fn open(place: Place, signer: Signer) -> Result<Opened, StoreError> {
    let firsts = segment::firsts(&place)?;
    let checkpoint = read_checkpoint(&place, &signer.verifier())?;
    let hint = read_hint(&place)?;
    let mut scan = Scan::begin(&place, checkpoint.as_ref(), hint, &firsts)?;
    let (start, offset) = scan.start;
    let todo: Vec<u64> = firsts.iter().copied().filter(|first| *first >= start).collect();
    let mut end = None;
    for (at, first) in todo.iter().enumerate() {
        let skip = if *first == start { offset } else { 0 };
        end = Some(scan.segment(&place, *first, skip, at + 1 == todo.len())?);
    }
    scan.finish(checkpoint.as_ref())?;
    let fresh = firsts.is_empty() && checkpoint.is_none();
    let peaceful = hint.is_some_and(|hint| hint.clean && hint.size == scan.tree.size());
    let covered = checkpoint.map_or(0, |checkpoint| checkpoint.size);
    let (segment, cut_bytes) = match end {
        Some(End { segment: Some(segment), cut }) => (segment, cut),
        Some(End { segment: None, .. }) | None => (new_segment(&place, scan.tree.size())?, 0),
    };
    let Scan { tree, levels, done, .. } = scan;
    let store = Store { place, signer, tree, levels, segment, batch: Vec::new(), covered };
    store.hint(false)?;
    let expected = fresh || (peaceful && cut_bytes == 0);
    Ok(Opened { store, unclean: !expected, cut_bytes, done })
}

/// Makes the file of a new segment, and makes its name last.
pub(crate) fn new_segment(place: &Place, first: u64) -> Result<Segment, PlaceError> {
    let file = place.writable(&layout::name(first, Part::Plain))?;
    place.sync()?;
    Ok(Segment { first, file, length: 0 })
}

/// Frames being read behind a known point.
struct Scan {
    tree: Tree,
    levels: Levels,
    done: BTreeMap<u8, u64>,
    /// The segment, and the offset in it, at which reading starts.
    start: (u64, u64),
    /// The root at the size of the checkpoint, once it is reached.
    at_checkpoint: Option<tree::Hash>,
    checkpoint_size: u64,
}

/// The end of a segment.
struct End {
    /// The segment, where it can grow.
    segment: Option<Segment>,
    cut: u64,
}

impl Scan {
    fn begin(
        place: &Place,
        checkpoint: Option<&Checkpoint>,
        hint: Option<Hint>,
        firsts: &[u64],
    ) -> Result<Self, StoreError> {
        let stored = &mut LevelFiles::open(place)?;
        let checkpoint_size = checkpoint.map_or(0, |checkpoint| checkpoint.size);
        let scan = |tree: Tree, start| Self {
            at_checkpoint: None,
            done: BTreeMap::new(),
            levels: Levels::after(tree.size()),
            tree,
            start,
            checkpoint_size,
        };
        // The segment in which the checkpoint ends.
        let holding = firsts.iter().rev().find(|first| **first <= checkpoint_size).copied();
        let known = checkpoint.and_then(|c| stored.tree(c.size).filter(|tree| tree.root() == c.root));
        if let (Some(tree), Some(first)) = (known, holding) {
            // After a clean end the hint saves reading that segment.
            let hint =
                hint.filter(|hint| hint.clean && (hint.size, hint.segment) == (checkpoint_size, first));
            if let Some(hint) = hint
                && length_of(place, first)? >= hint.offset
            {
                return Ok(scan(tree, (first, hint.offset)));
            }
            // After any other end all of it is read: a power cut may have lost some of the hashes stored since the
            // segment began, and they are written anew.
            if let Some(tree) = stored.tree(first) {
                return Ok(scan(tree, (first, 0)));
            }
        }
        // The hashes are lost, or no checkpoint was ever written: everything is read, from the oldest segment kept.
        let first = firsts.first().copied().unwrap_or(0);
        let tree = stored.tree(first).ok_or(StoreError::Gap(0))?;
        Ok(scan(tree, (first, 0)))
    }

    /// Reads the frames of one segment from `offset`. What is broken at the end of the last one is cut.
    fn segment(&mut self, place: &Place, first: u64, offset: u64, last: bool) -> Result<End, StoreError> {
        if first > self.tree.size() || (offset == 0 && first != self.tree.size()) {
            return Err(StoreError::Gap(self.tree.size()));
        }
        if last && offset == 0 {
            have_the_disk_answer(place, first)?;
        }
        let mut stream = Stream::open(place, first)?;
        if offset > 0 {
            stream.seek(offset);
        }
        loop {
            let rest = stream.rest()?;
            let Ok(found) = frame::read(rest) else { break };
            if found.head.sequence != self.tree.size() {
                break;
            }
            self.take(&found);
            let length = found.bytes.len();
            stream.consume(length);
        }
        self.levels.write(place)?;
        if stream.sealed || !last {
            let whole = stream.rest()?.is_empty();
            return if whole {
                Ok(End { segment: None, cut: 0 })
            } else {
                Err(StoreError::Gap(self.tree.size()))
            };
        }
        let length = stream.offset();
        let name = layout::name(first, Part::Plain);
        let file = place.writable(&name)?;
        let cut = file
            .metadata()
            .map_err(|source| place.io("examine", &name, source))?
            .len()
            .saturating_sub(length);
        if cut > 0 {
            keep_aside(place, self.tree.size(), &file, length)?;
            file.set_len(length).map_err(|source| place.io("shorten", &name, source))?;
        }
        Ok(End { segment: Some(Segment { first, file, length }), cut })
    }

    fn take(&mut self, found: &frame::Frame<'_>) {
        if self.tree.size() == self.checkpoint_size {
            self.at_checkpoint = Some(self.tree.root());
        }
        self.tree.push(tree::leaf(found.bytes), |level, hash| self.levels.push(level, hash));
        if found.head.ring != 0 {
            self.done.insert(found.head.producer, found.head.ring);
        }
    }

    /// Compares what was read with what was signed.
    fn finish(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), StoreError> {
        let Some(checkpoint) = checkpoint else { return Ok(()) };
        if self.tree.size() < checkpoint.size {
            return Err(StoreError::Shorter { found: self.tree.size(), covered: checkpoint.size });
        }
        let root =
            if self.tree.size() == checkpoint.size { Some(self.tree.root()) } else { self.at_checkpoint };
        if root == Some(checkpoint.root) { Ok(()) } else { Err(StoreError::OtherRoot) }
    }
}

/// After an end that was not in peace the kernel may hold pages of a segment that it could not write, and takes for written: a
/// sync that fails is told once, and perhaps to a scribe that was killed then. What can be written is; the rest is read again.
fn have_the_disk_answer(place: &Place, first: u64) -> Result<(), PlaceError> {
    let name = layout::name(first, Part::Plain);
    let Some(file) = place.readable(&name)? else { return Ok(()) };
    file.sync_data().map_err(|source| place.io(SYNC, &name, source))?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(place.failed("reread", &name))
}

/// Bytes of a plain segment; of any other, none.
fn length_of(place: &Place, first: u64) -> Result<u64, PlaceError> {
    let name = layout::name(first, Part::Plain);
    match place.readable(&name)? {
        Some(file) => Ok(file.metadata().map_err(|source| place.io("examine", &name, source))?.len()),
        None => Ok(0),
    }
}

fn read_checkpoint(place: &Place, verifier: &Verifier) -> Result<Option<Checkpoint>, StoreError> {
    let Some(file) = place.readable(layout::CHECKPOINT)? else { return Ok(None) };
    let mut note = String::new();
    let most = u64::try_from(MAX_NOTE).unwrap_or(u64::MAX);
    file.take(most)
        .read_to_string(&mut note)
        .map_err(|source| place.io("read", layout::CHECKPOINT, source))?;
    // Empty is what some file systems leave of a file renamed just before a power cut.
    if note.is_empty() { Ok(None) } else { Ok(Some(Checkpoint::open(&note, verifier)?)) }
}

fn read_hint(place: &Place) -> Result<Option<Hint>, PlaceError> {
    let Some(file) = place.readable(layout::HINT)? else { return Ok(None) };
    let mut bytes = [0; hint::BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(Hint::from_bytes(&bytes)),
        Err(_short) => Ok(None),
    }
}

/// Keeps bytes that are cut from a ledger: they may say what happened.
fn keep_aside(place: &Place, sequence: u64, from: &File, offset: u64) -> Result<(), PlaceError> {
    for attempt in 0..1000_u16 {
        let name = format!("cut-{sequence:020}-{attempt}");
        if place.readable(&name)?.is_none() {
            let failed = |source| place.io("keep", &name, source);
            let mut from = from;
            from.seek(SeekFrom::Start(offset)).map_err(failed)?;
            io::copy(&mut from, &mut place.fresh(&name)?).map_err(failed)?;
            return Ok(());
        }
    }
    Ok(())
}
