//! What is in each block of a segment, so that a reader can pass over blocks without reading them. An index is
//! derived: it is rebuilt from the segment when it is lost or does not parse, and `verify` compares it.
//!
//! File: `WRDIDX\x00\x01`, entries of 56 bytes, CRC-32C of all that. All numbers are little-endian.

use wardroom_model::{Kind, Outcome};

use crate::frame::{Head, outcome_number};

/// Records in a block. 1,024 records are some 256 KiB: a millisecond to read, decompress and scan.
pub const BLOCK_RECORDS: u32 = 1024;

const MAGIC: [u8; 8] = *b"WRDIDX\x00\x01";
const ENTRY: usize = 56;

/// One block of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Sequence of its first record.
    pub first: u64,
    /// Earliest wall time in it, in nanoseconds.
    pub earliest: u64,
    /// Latest wall time in it, in nanoseconds.
    pub latest: u64,
    /// Offset in the segment's file.
    pub offset: u64,
    /// Bytes in the segment's file.
    pub stored: u32,
    /// Bytes of its frames.
    pub plain: u32,
    /// Its records.
    pub records: u32,
    /// Which kinds occur in it.
    pub kinds: Kinds,
    /// Which outcomes occur in it.
    pub outcomes: Outcomes,
}

/// A set of kinds, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds(u32);

/// A set of outcomes, a bit each; records without one are a member too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcomes(u32);

impl Kinds {
    /// The set of these.
    #[must_use]
    pub fn of(kinds: &[Kind]) -> Self {
        Self(kinds.iter().fold(0, |bits, kind| bits | bit(u32::from(kind.number()))))
    }

    /// Whether the kind with this number is a member.
    #[must_use]
    pub fn has(self, number: u16) -> bool {
        self.0 & bit(u32::from(number)) != 0
    }

    /// Whether the two have a member in common.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl Outcomes {
    /// The set of these.
    #[must_use]
    pub fn of(outcomes: &[Outcome]) -> Self {
        Self(outcomes.iter().fold(0, |bits, outcome| bits | bit(u32::from(outcome_number(Some(*outcome))))))
    }

    /// Whether the outcome is a member.
    #[must_use]
    pub fn has(self, outcome: Option<Outcome>) -> bool {
        self.0 & bit(u32::from(outcome_number(outcome))) != 0
    }

    /// Whether the two have a member in common.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Kinds that this version does not know share the last bit, so that they are never passed over by mistake.
fn bit(number: u32) -> u32 {
    1 << number.min(31)
}

impl Block {
    /// An empty block that starts at a record and at an offset of plain frames.
    #[must_use]
    pub fn starting(first: u64, offset: u64) -> Self {
        Self {
            first,
            earliest: u64::MAX,
            latest: 0,
            offset,
            stored: 0,
            plain: 0,
            records: 0,
            kinds: Kinds::default(),
            outcomes: Outcomes::default(),
        }
    }

    /// Counts one frame of `bytes` bytes in.
    pub fn add(&mut self, head: &Head, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.earliest = self.earliest.min(head.stamp.wall);
        self.latest = self.latest.max(head.stamp.wall);
        self.stored += bytes;
        self.plain += bytes;
        self.records += 1;
        self.kinds.0 |= bit(u32::from(head.kind));
        self.outcomes.0 |= bit(u32::from(outcome_number(head.outcome)));
    }

    /// Whether the next frame belongs into a new block.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.records >= BLOCK_RECORDS
    }

    fn write(&self, out: &mut Vec<u8>) {
        for word in [self.first, self.earliest, self.latest, self.offset] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for half in [self.stored, self.plain, self.records, self.kinds.0, self.outcomes.0, 0] {
            out.extend_from_slice(&half.to_le_bytes());
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let half = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(Self {
            first: word(0)?,
            earliest: word(8)?,
            latest: word(16)?,
            offset: word(24)?,
            stored: half(32)?,
            plain: half(36)?,
            records: half(40)?,
            kinds: Kinds(half(44)?),
            outcomes: Outcomes(half(48)?),
        })
    }
}

/// The bytes of an index file.
#[must_use]
pub fn to_bytes(blocks: &[Block]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    blocks.iter().for_each(|block| block.write(&mut out));
    let sum = crc32c::crc32c(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// The blocks of an index file; `None` where it is none of this version, or damaged.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<Block>> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != crc32c::crc32c(body) {
        return None;
    }
    let entries = body.strip_prefix(&MAGIC)?.chunks_exact(ENTRY);
    entries.remainder().is_empty().then_some(())?;
    entries.map(Block::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardroom_model::Stamp;

    #[test]
    fn an_index_survives_and_every_changed_byte_makes_it_none() {
        let mut block = Block::starting(7, 9);
        let stamp = Stamp { monotonic: 1, wall: 2 };
        let outcome = Some(Outcome::Refused);
        block.add(&Head { sequence: 7, stamp, kind: 3, producer: 0, outcome, ring: 0 }, 100);
        let bytes = to_bytes(&[block, Block::starting(8, 109)]);
        assert_eq!(from_bytes(&bytes).unwrap()[0], block);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(from_bytes(&changed), None, "byte {at}");
        }
        assert!(block.kinds.has(3) && !block.kinds.has(4));
        assert!(block.outcomes.has(outcome) && !block.outcomes.has(None));
    }
}
