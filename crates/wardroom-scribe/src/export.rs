//! A copy of a ledger that stands for itself: segments, hashes as C2SP tiles, the checkpoint, the public key.
//! `verify` works on it, on any machine.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use thiserror::Error;
use wardroom_ledger::layout::{self, Part};
use wardroom_ledger::tree::{HASH_BYTES, Stored};
use wardroom_ledger::{Checkpoint, CheckpointError, Verifier, ocsf};
use wardroom_ledger::{Query, note};

use crate::levels::LevelFiles;
use crate::place::{Place, PlaceError};
use crate::read::records;
use crate::segment::{self, SegmentError, Stream};

/// Why a ledger cannot be exported.
#[derive(Debug, Error)]
pub enum ExportError {
    /// A file or a directory.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A segment.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The checkpoint does not hold; verify the ledger.
    #[error("the ledger's checkpoint does not hold")]
    Checkpoint(#[from] CheckpointError),
    /// Nothing was ever signed.
    #[error("the ledger has no checkpoint yet")]
    Unsigned,
    /// The target holds something already.
    #[error("{0} is not empty")]
    NotEmpty(String),
    /// The output.
    #[error("cannot write")]
    Write(#[source] io::Error),
}

/// Copies everything that the ledger's checkpoint covers into a directory, which must be empty or not exist.
/// Returns the checkpoint.
///
/// # Errors
/// The ledger cannot be read, or its checkpoint does not hold, or the copy cannot be written.
pub fn export(ledger_dir: &Path, verifier: &Verifier, to: &Path) -> Result<Checkpoint, ExportError> {
    let from = Place::open_for_reading(ledger_dir)?;
    let mut text = String::new();
    let file = from.readable(layout::CHECKPOINT)?.ok_or(ExportError::Unsigned)?;
    let most = u64::try_from(note::MAX_NOTE).unwrap_or(u64::MAX);
    file.take(most)
        .read_to_string(&mut text)
        .map_err(|source| from.io("read", layout::CHECKPOINT, source))?;
    let checkpoint = Checkpoint::open(&text, verifier)?;
    let copy = Place::open_or_create(to)?;
    if copy.names()?.iter().any(|name| name != "." && name != "..") {
        return Err(ExportError::NotEmpty(to.display().to_string()));
    }
    for first in segment::firsts(&from)?.into_iter().filter(|first| *first < checkpoint.size) {
        copy_segment(&from, &copy, first, checkpoint.size)?;
    }
    copy_notes(&from, &copy, checkpoint.size)?;
    write_tiles(&from, &copy, checkpoint.size)?;
    write(&copy, layout::CHECKPOINT, text.as_bytes())?;
    write(&copy, layout::VERIFIER, format!("{verifier}\n").as_bytes())?;
    Ok(checkpoint)
}

/// Writes the records that answer a question as OCSF, one JSON object a line. Returns how many.
///
/// # Errors
/// The ledger cannot be read, or the output cannot be written.
pub fn export_lines(
    ledger_dir: &Path,
    origin: &str,
    query: Query,
    out: &mut impl Write,
) -> Result<u64, ExportError> {
    let mut count = 0;
    for record in records(ledger_dir, query)? {
        writeln!(out, "{}", ocsf::line(&record?, origin)).map_err(ExportError::Write)?;
        count += 1;
    }
    Ok(count)
}

/// A sealed segment as it is; of a plain one only what is signed.
fn copy_segment(from: &Place, to: &Place, first: u64, size: u64) -> Result<(), ExportError> {
    let stream = Stream::open(from, first)?;
    let name = stream.name().to_owned();
    let Some(file) = from.readable(&name)? else { return Err(SegmentError::Missing(first).into()) };
    let length = if stream.sealed { u64::MAX } else { signed_bytes(from, first, size)? };
    let mut target = to.fresh(&name)?;
    io::copy(&mut file.take(length), &mut target).map_err(|source| to.io("write", &name, source))?;
    Ok(())
}

fn signed_bytes(from: &Place, first: u64, size: u64) -> Result<u64, ExportError> {
    let next = segment::firsts(from)?.into_iter().find(|next| *next > first).unwrap_or(size);
    let end = segment::offset_of(from, first, next.min(size))?;
    end.ok_or_else(|| SegmentError::Missing(first).into())
}

fn copy_notes(from: &Place, to: &Place, size: u64) -> Result<(), ExportError> {
    let firsts = segment::firsts(from)?;
    for name in from.names()? {
        let Some((first, part @ (Part::Note | Part::Index))) = layout::parse(&name) else { continue };
        // The note of a segment speaks of its end, which is where the next one begins.
        let end = firsts.iter().copied().find(|next| *next > first).unwrap_or(u64::MAX);
        // An index belongs to a sealed segment; one that was sealed only after it was copied is copied as it was.
        let sealed = || to.readable(&layout::name(first, Part::Sealed));
        let wanted = end <= size && (part == Part::Note || sealed()?.is_some());
        if let Some(mut file) = from.readable(&name)?.filter(|_| wanted) {
            io::copy(&mut file, &mut to.fresh(&name)?).map_err(|source| to.io("write", &name, source))?;
        }
    }
    Ok(())
}

/// The tree as C2SP tlog-tiles lays it out: full tiles of 256 hashes, and one partial one a level.
fn write_tiles(from: &Place, to: &Place, size: u64) -> Result<(), ExportError> {
    let mut stored = LevelFiles::open(from)?;
    for level in 0..8_u8 {
        let count = size.checked_shr(u32::from(level) * 8).unwrap_or(0);
        for tile in 0..count.div_ceil(256) {
            let width = (count - tile * 256).min(256);
            let mut bytes = Vec::with_capacity(256 * HASH_BYTES);
            for index in tile * 256..tile * 256 + width {
                let Some(hash) = stored.hash(level, index) else { return Ok(()) };
                bytes.extend_from_slice(&hash.0);
            }
            let name = layout::tile_path(level, tile, u16::try_from(width).unwrap_or(256));
            let path = to.path().join(&name);
            let parent = path.parent().unwrap_or(to.path());
            fs::create_dir_all(parent).map_err(|source| to.io("create", &name, source))?;
            write(to, &name, &bytes)?;
        }
    }
    Ok(())
}

fn write(to: &Place, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
    to.fresh(name)?.write_all(bytes).map_err(|source| to.io("write", name, source).into())
}
