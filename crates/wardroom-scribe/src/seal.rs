//! Sealing: a complete segment is compressed in blocks, with an index beside it. The plain file goes only after the
//! sealed one is on disk and was read back.
//!
//! Runs beside the scribe's loop, so that no producer waits for it. A crash at any point leaves the plain file, or
//! both, or the sealed one; each of these is a whole segment.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use wardroom_ledger::index::{self, Block};
use wardroom_ledger::layout::{self, Part};

use crate::place::{Place, PlaceError};
use crate::segment::{BLOCK_HEADER_BYTES, SegmentError, Stream, block_check, count_in};

/// Seals these segments of a ledger, oldest first, in a thread. What fails stays plain and is tried again later.
/// `None` where there is nothing to do, or no thread to be had.
pub(crate) fn in_background(path: PathBuf, firsts: Vec<u64>) -> Option<JoinHandle<()>> {
    if firsts.is_empty() {
        return None;
    }
    let work = move || {
        // A directory of our own: this thread may outlive the scribe's lock by a moment, and must not hold it.
        let Ok(place) = Place::open_for_reading(&path) else { return };
        for first in firsts {
            if seal(&place, first).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("sealer".to_owned()).stack_size(256 << 10).spawn(work).ok()
}

/// Seals one complete segment.
///
/// # Errors
/// It cannot be read, does not end with a whole record, or the sealed file cannot be written. The plain file stays.
pub fn seal(place: &Place, first: u64) -> Result<(), SegmentError> {
    let plain = layout::name(first, Part::Plain);
    let sealed = layout::name(first, Part::Sealed);
    if place.readable(&sealed)?.is_none() {
        let beside = format!("{sealed}.new");
        place.remove(&beside)?;
        let blocks = compress(place, first, &beside)?;
        write_index(place, first, &blocks)?;
        place.rename(&beside, &sealed)?;
        place.sync()?;
    }
    place.remove(&plain)?;
    Ok(())
}

fn compress(place: &Place, first: u64, to: &str) -> Result<Vec<Block>, SegmentError> {
    let mut stream = Stream::open(place, first)?;
    let mut out = Packed { file: BufWriter::new(place.fresh(to)?), offset: 0 };
    let failed = |source| place.io("write", to, source);
    let (mut blocks, mut plain) = (Vec::new(), Vec::new());
    while let Some(frame) = stream.next()? {
        if blocks.last().is_some_and(Block::is_full) {
            out.finish(blocks.last_mut(), &mut plain).map_err(failed)?;
        }
        count_in(&mut blocks, &frame);
        plain.extend_from_slice(frame.bytes);
    }
    out.finish(blocks.last_mut(), &mut plain).map_err(failed)?;
    // What does not end with a whole frame is no complete segment; leave it to recovery.
    let left = stream.rest()?.len();
    if left > 0 {
        let what = wardroom_ledger::FrameFault::Incomplete { have: left, need: 0 };
        return Err(SegmentError::Damaged { file: stream.name().to_owned(), offset: stream.offset(), what });
    }
    let file = out.file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_data().map_err(|source| place.io("sync", to, source))?;
    Ok(blocks)
}

struct Packed {
    file: BufWriter<File>,
    offset: u64,
}

impl Packed {
    fn finish(&mut self, block: Option<&mut Block>, plain: &mut Vec<u8>) -> std::io::Result<()> {
        let Some(block) = block else { return Ok(()) };
        let packed = lz4_flex::block::compress(plain);
        // Read back before anything relies on it.
        let back = lz4_flex::block::decompress(&packed, plain.len());
        if !back.is_ok_and(|back| back == *plain) {
            return Err(std::io::Error::other("a compressed block does not decompress to itself"));
        }
        let stored = u32::try_from(packed.len()).map_err(std::io::Error::other)?;
        let lengths = (block.plain.to_le_bytes(), stored.to_le_bytes());
        for part in [&lengths.0, &lengths.1, &block_check(lengths.0, lengths.1, &packed)] {
            self.file.write_all(part)?;
        }
        self.file.write_all(&packed)?;
        block.offset = self.offset;
        block.stored = stored;
        self.offset += BLOCK_HEADER_BYTES + u64::from(stored);
        plain.clear();
        Ok(())
    }
}

/// Writes the index of a sealed segment.
fn write_index(place: &Place, first: u64, blocks: &[Block]) -> Result<(), PlaceError> {
    let name = layout::name(first, Part::Index);
    let beside = format!("{name}.new");
    place.remove(&beside)?;
    let mut file = place.fresh(&beside)?;
    let written = file.write_all(&index::to_bytes(blocks)).and_then(|()| file.sync_data());
    written.map_err(|source| place.io("write", &beside, source))?;
    place.rename(&beside, &name)
}

/// The index of a sealed segment; `None` where it is missing or damaged.
pub(crate) fn read_index(place: &Place, first: u64) -> Result<Option<Vec<Block>>, PlaceError> {
    let name = layout::name(first, Part::Index);
    let Some(mut file) = place.readable(&name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(|source| place.io("read", &name, source))?;
    Ok(index::from_bytes(&bytes))
}

/// Makes the index of a sealed segment anew from the segment alone.
///
/// # Errors
/// The segment cannot be read, or the index cannot be written.
pub fn rebuild_index(place: &Place, first: u64) -> Result<(), SegmentError> {
    write_index(place, first, &survey(place, first)?)?;
    Ok(())
}

/// What the index of a sealed segment has to say.
pub(crate) fn survey(place: &Place, first: u64) -> Result<Vec<Block>, SegmentError> {
    let mut stream = Stream::open(place, first)?;
    let mut blocks = Vec::new();
    while let Some(frame) = stream.next()? {
        count_in(&mut blocks, &frame);
    }
    place_blocks(place, first, &mut blocks)?;
    Ok(blocks)
}

/// Fills in where the blocks lie in the sealed file, from the blocks' own headers.
pub(crate) fn place_blocks(place: &Place, first: u64, blocks: &mut [Block]) -> Result<(), SegmentError> {
    let name = layout::name(first, Part::Sealed);
    let file = place.readable(&name)?.ok_or(SegmentError::Missing(first))?;
    let mut offset = 0;
    for block in blocks {
        let mut stored = [0; 4];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut stored, offset + 4)
            .map_err(|source| place.io("read", &name, source))?;
        block.offset = offset;
        block.stored = u32::from_le_bytes(stored);
        offset += BLOCK_HEADER_BYTES + u64::from(block.stored);
    }
    Ok(())
}
