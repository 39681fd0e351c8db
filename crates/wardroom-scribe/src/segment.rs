//! Reading segments, whether they still grow or are sealed, as one stream of frames.
//!
//! A sealed segment is a row of blocks: `plain length 4 | stored length 4 | CRC-32C of both lengths and the block 4 |
//! LZ4 block`, little-endian. Nothing read from a file is believed before it is bounded: a copy may come from
//! anywhere. The checksum is there because several LZ4 blocks decompress to the same bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use thiserror::Error;
use wardroom_ledger::frame::{self, Frame, FrameFault, MAX_FRAME};
use wardroom_ledger::index::{BLOCK_RECORDS, Block};
use wardroom_ledger::layout::{self, Part};

use crate::place::{Place, PlaceError};

/// Why a segment cannot be read.
#[derive(Debug, Error)]
pub enum SegmentError {
    /// A file or the directory.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// There is no such segment.
    #[error("the segment that starts with record {0} is missing")]
    Missing(u64),
    /// Bytes that are no record.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file.
        file: String,
        /// The offset in the uncompressed segment.
        offset: u64,
        /// What is wrong there.
        what: FrameFault,
    },
    /// A block that does not decompress.
    #[error("{file} is damaged: the block at byte {offset} does not decompress")]
    Block {
        /// The file.
        file: String,
        /// The offset in the compressed file.
        offset: u64,
    },
}

/// The first sequences of all segments, in order.
pub(crate) fn firsts(place: &Place) -> Result<Vec<u64>, PlaceError> {
    let names = place.names()?;
    let mut firsts: Vec<u64> = names
        .iter()
        .filter_map(|name| layout::parse(name))
        .filter(|(_, part)| matches!(part, Part::Plain | Part::Sealed))
        .map(|(first, _)| first)
        .collect();
    firsts.sort_unstable();
    firsts.dedup();
    Ok(firsts)
}

/// A segment's frames, read as they are asked for.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) first: u64,
    pub(crate) sealed: bool,
    file: File,
    name: String,
    /// Where the next bytes are read from the file.
    at: u64,
    /// Frames, of which `used` bytes are done with.
    buffer: Vec<u8>,
    used: usize,
    /// Offset of the buffer's first byte in the uncompressed segment.
    base: u64,
}

impl Stream {
    /// Opens a segment, plain or sealed.
    pub(crate) fn open(place: &Place, first: u64) -> Result<Self, SegmentError> {
        // Sealing replaces the plain file by the sealed one: whoever finds neither looks once more.
        for _ in 0..2 {
            for (part, sealed) in [(Part::Plain, false), (Part::Sealed, true)] {
                let name = layout::name(first, part);
                if let Some(file) = place.readable(&name)? {
                    return Ok(Self {
                        first,
                        sealed,
                        file,
                        name,
                        at: 0,
                        buffer: Vec::new(),
                        used: 0,
                        base: 0,
                    });
                }
            }
        }
        Err(SegmentError::Missing(first))
    }

    /// The file's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The offset of the next frame in the uncompressed segment.
    pub(crate) fn offset(&self) -> u64 {
        self.base + u64::try_from(self.used).unwrap_or(0)
    }

    /// Goes to a block of a sealed segment, or an offset of a plain one.
    pub(crate) fn seek(&mut self, file_offset: u64) {
        self.at = file_offset;
        self.base = if self.sealed { 0 } else { file_offset };
        self.buffer.clear();
        self.used = 0;
    }

    /// The bytes from the next frame on: at least one whole frame, unless the segment ends before.
    pub(crate) fn rest(&mut self) -> Result<&[u8], SegmentError> {
        while frame::read_unchecked(self.buffer.get(self.used..).unwrap_or_default()).is_err() {
            if self.buffer.len() - self.used >= MAX_FRAME {
                break;
            }
            self.base += u64::try_from(self.used).unwrap_or(0);
            self.buffer.drain(..self.used);
            self.used = 0;
            let more = if self.sealed { self.next_block()? } else { self.next_bytes()? };
            if !more {
                break;
            }
        }
        Ok(self.buffer.get(self.used..).unwrap_or_default())
    }

    /// Is done with this many bytes of what [`Stream::rest`] gave.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.used += bytes;
    }

    /// The next whole frame with the sequence that it must have; `None` where the segment ends, be it in the middle
    /// of a frame that is still being written.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, SegmentError> {
        let (name, offset) = (self.name.clone(), self.offset());
        let length = match frame::read_unchecked(self.rest()?) {
            Ok(found) => found.bytes.len(),
            Err(FrameFault::Incomplete { .. }) => return Ok(None),
            Err(what) => return Err(SegmentError::Damaged { file: name, offset, what }),
        };
        let start = self.used;
        self.used += length;
        let bytes = self.buffer.get(start..self.used).unwrap_or_default();
        frame::read(bytes).map(Some).map_err(|what| SegmentError::Damaged { file: name, offset, what })
    }

    fn next_bytes(&mut self) -> Result<bool, SegmentError> {
        let mut file = &self.file;
        let got = file
            .seek(SeekFrom::Start(self.at))
            .and_then(|_| file.take(READ).read_to_end(&mut self.buffer))
            .map_err(|source| self.failed(source))?;
        self.at += u64::try_from(got).unwrap_or(0);
        Ok(got > 0)
    }

    fn next_block(&mut self) -> Result<bool, SegmentError> {
        let damaged = || SegmentError::Block { file: self.name.clone(), offset: self.at };
        let mut header = [0; BLOCK_HEADER];
        match read_some(&self.file, &mut header, self.at).map_err(|source| self.failed(source))? {
            0 => return Ok(false),
            BLOCK_HEADER => {}
            _ => return Err(damaged()),
        }
        let [p0, p1, p2, p3, s0, s1, s2, s3, check @ ..] = header;
        let plain = usize::try_from(u32::from_le_bytes([p0, p1, p2, p3])).map_err(|_wide| damaged())?;
        let stored = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).map_err(|_wide| damaged())?;
        if plain == 0 || plain > MAX_BLOCK || stored > lz4_flex::block::get_maximum_output_size(plain) {
            return Err(damaged());
        }
        let mut packed = vec![0; stored];
        let at = self.at + BLOCK_HEADER_BYTES;
        let got = read_some(&self.file, &mut packed, at).map_err(|source| self.failed(source))?;
        if got != stored || check != block_check([p0, p1, p2, p3], [s0, s1, s2, s3], &packed) {
            return Err(damaged());
        }
        let mut frames = vec![0; plain];
        if !lz4_flex::block::decompress_into(&packed, &mut frames).is_ok_and(|bytes| bytes == plain) {
            return Err(damaged());
        }
        self.buffer.append(&mut frames);
        self.at = at + u64::try_from(stored).unwrap_or(0);
        Ok(true)
    }

    fn failed(&self, source: io::Error) -> PlaceError {
        PlaceError::System { doing: "read", path: self.name.clone().into(), source }
    }
}

/// The offset at which a record starts in its segment, or at which it would start as the next one.
pub(crate) fn offset_of(place: &Place, first: u64, sequence: u64) -> Result<Option<u64>, SegmentError> {
    let mut stream = Stream::open(place, first)?;
    for next in first..sequence {
        match frame::read_unchecked(stream.rest()?) {
            Ok(found) if found.head.sequence == next => {
                let length = found.bytes.len();
                stream.consume(length);
            }
            Ok(_) | Err(_) => return Ok(None),
        }
    }
    Ok(Some(stream.offset()))
}

/// The checksum in a block's header.
pub(crate) fn block_check(plain: [u8; 4], stored: [u8; 4], packed: &[u8]) -> [u8; 4] {
    let lengths = crc32c::crc32c_append(crc32c::crc32c(&plain), &stored);
    crc32c::crc32c_append(lengths, packed).to_le_bytes()
}

/// Reads until the buffer is full or the file ends.
fn read_some(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        let offset = at + u64::try_from(got).unwrap_or(0);
        match file.read_at(into.get_mut(got..).unwrap_or_default(), offset) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// The index of a plain segment as it will be when it is sealed, or of a sealed one as it is; the blocks' offsets
/// are left to the caller.
pub(crate) fn count_in(blocks: &mut Vec<Block>, frame: &Frame<'_>) {
    match blocks.last_mut() {
        Some(block) if !block.is_full() => block.add(&frame.head, frame.bytes.len()),
        Some(_) | None => {
            let mut block = Block::starting(frame.head.sequence, 0);
            block.add(&frame.head, frame.bytes.len());
            blocks.push(block);
        }
    }
}

/// Bytes before a compressed block.
const BLOCK_HEADER: usize = 12;
/// The same, as an offset.
pub(crate) const BLOCK_HEADER_BYTES: u64 = 12;

/// Bytes read from a plain segment at a time.
const READ: u64 = 1 << 20;

/// The largest block: all of its records of the largest size.
const MAX_BLOCK: usize = 1024 * MAX_FRAME;

const _: () = assert!(BLOCK_RECORDS == 1024, "MAX_BLOCK counts on it");
