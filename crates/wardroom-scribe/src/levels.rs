//! The tree's hashes on disk: one file a level of tiles, 32 bytes a hash, appended in order. What is in them can
//! always be computed again from the segments, so they are written at a commit and never waited for.

use std::fs::File;
use std::os::unix::fs::FileExt;

use wardroom_ledger::tree::{HASH_BYTES, Hash, Stored};
use wardroom_ledger::{Tree, layout};

use crate::place::{Place, PlaceError};

/// Levels of tiles that a ledger can have: 256^8 leaves are all that 64 bits count.
const LEVELS: u8 = 8;

/// Hashes that wait to be written, and where they belong.
#[derive(Debug)]
pub(crate) struct Levels {
    files: Vec<Level>,
}

#[derive(Debug, Default)]
struct Level {
    file: Option<File>,
    /// Hashes in the file.
    written: u64,
    waiting: Vec<u8>,
}

impl Levels {
    /// Continues after a tree of `size` leaves, whose hashes are in the files.
    pub(crate) fn after(size: u64) -> Self {
        let level =
            |n: u8| Level { written: size.checked_shr(u32::from(n) * 8).unwrap_or(0), ..Level::default() };
        Self { files: (0..LEVELS).map(level).collect() }
    }

    /// Takes one hash, which is the next of its level.
    pub(crate) fn push(&mut self, level: u8, hash: Hash) {
        if let Some(level) = self.files.get_mut(usize::from(level)) {
            level.waiting.extend_from_slice(&hash.0);
        }
    }

    /// Writes what waits. On error everything still waits.
    pub(crate) fn write(&mut self, place: &Place) -> Result<(), PlaceError> {
        for (number, level) in (0..LEVELS).zip(&mut self.files) {
            if level.waiting.is_empty() {
                continue;
            }
            let name = layout::hashes(number);
            let file = match &level.file {
                Some(file) => file,
                None => level.file.insert(place.writable(&name)?),
            };
            let offset = level.written * HASH_BYTES_U64;
            file.write_all_at(&level.waiting, offset).map_err(|source| place.io("write", &name, source))?;
            level.written += u64::try_from(level.waiting.len() / HASH_BYTES).unwrap_or(0);
            level.waiting.clear();
        }
        Ok(())
    }
}

const HASH_BYTES_U64: u64 = 32;

/// The files of a ledger's directory as a place to look hashes up.
#[derive(Debug)]
pub(crate) struct LevelFiles {
    files: Vec<Option<File>>,
}

impl LevelFiles {
    pub(crate) fn open(place: &Place) -> Result<Self, PlaceError> {
        let files =
            (0..LEVELS).map(|level| place.readable(&layout::hashes(level))).collect::<Result<_, _>>()?;
        Ok(Self { files })
    }

    /// The tree of `size` leaves, where its hashes are all there.
    pub(crate) fn tree(&mut self, size: u64) -> Option<Tree> {
        Tree::restore(size, self)
    }
}

impl Stored for LevelFiles {
    fn hash(&mut self, level: u8, index: u64) -> Option<Hash> {
        let file = self.files.get(usize::from(level))?.as_ref()?;
        let mut hash = [0; HASH_BYTES];
        file.read_exact_at(&mut hash, index.checked_mul(HASH_BYTES_U64)?).ok()?;
        Some(Hash(hash))
    }
}
