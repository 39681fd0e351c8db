//! The tree's hashes on disk: one file a level of tiles, 32 bytes a hash, appended in order. What is in them can
//! always be computed again from the segments, so they are written at a commit and never waited for.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use wardroom_ledger::tree::{HASH_BYTES, Hash, Stored};
use wardroom_ledger::{Tree, layout};

use crate::place::{Place, PlaceError, SYNC};

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

    /// Makes what was written last through a power cut.
    pub(crate) fn sync(&self, place: &Place) -> Result<(), PlaceError> {
        for (number, level) in (0..LEVELS).zip(&self.files) {
            if let Some(file) = &level.file {
                file.sync_data().map_err(|source| place.io(SYNC, &layout::hashes(number), source))?;
            }
        }
        Ok(())
    }
}

const HASH_BYTES_U64: u64 = 32;

/// The hashes of a ledger, or of an export of one, as a place to look them up.
#[derive(Debug)]
pub(crate) struct LevelFiles<'a> {
    place: &'a Place,
    levels: Vec<Cached>,
}

/// One level, with the hashes around the last one that was asked for.
#[derive(Debug, Default)]
struct Cached {
    file: Option<File>,
    first: u64,
    hashes: Vec<u8>,
}

impl<'a> LevelFiles<'a> {
    pub(crate) fn open(place: &'a Place) -> Result<Self, PlaceError> {
        let open = |level| Ok(Cached { file: place.readable(&layout::hashes(level))?, ..Cached::default() });
        Ok(Self { place, levels: (0..LEVELS).map(open).collect::<Result<_, PlaceError>>()? })
    }

    /// The tree of `size` leaves, where its hashes are all there.
    pub(crate) fn tree(&mut self, size: u64) -> Option<Tree> {
        Tree::restore(size, self)
    }

    /// Reads the tile that holds a hash: from the level's file, or from an export's tiles.
    fn load(&mut self, level: u8, index: u64) -> Option<()> {
        let tile = index / TILE;
        let cached = self.levels.get_mut(usize::from(level))?;
        cached.first = tile * TILE;
        cached.hashes.clear();
        if let Some(file) = &cached.file {
            let mut bytes = vec![0; TILE_BYTES];
            let got = file.read_at(&mut bytes, tile * TILE * HASH_BYTES_U64).ok()?;
            bytes.truncate(got);
            cached.hashes = bytes;
            return Some(());
        }
        let widths = (1..=256_u16).rev();
        let tiles = widths.map(|width| layout::tile_path(level, tile, width));
        let file = tiles.filter_map(|path| self.place.readable(&path).ok().flatten()).next()?;
        let most = u64::try_from(TILE_BYTES).ok()?;
        file.take(most).read_to_end(&mut cached.hashes).ok()?;
        Some(())
    }

    fn cached(&self, level: u8, index: u64) -> Option<Hash> {
        let cached = self.levels.get(usize::from(level))?;
        let at = usize::try_from(index.checked_sub(cached.first)?).ok()?.checked_mul(HASH_BYTES)?;
        cached.hashes.get(at..)?.first_chunk().copied().map(Hash)
    }
}

/// Hashes in a tile.
const TILE: u64 = 256;
/// Bytes of a full tile.
const TILE_BYTES: usize = 256 * HASH_BYTES;

impl Stored for LevelFiles<'_> {
    fn hash(&mut self, level: u8, index: u64) -> Option<Hash> {
        let first = self.levels.get(usize::from(level))?.first;
        let loaded = first == index / TILE * TILE && self.cached(level, first).is_some();
        if !loaded {
            self.load(level, index)?;
        }
        self.cached(level, index)
    }
}
