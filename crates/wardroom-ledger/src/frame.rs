//! One record as bytes. The frame is what is hashed into the tree, so a byte here is a byte forever.
//!
//! All numbers are little-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | length of the whole frame |
//! | 4 | 4 | CRC-32C of bytes 0..4 and 8..length |
//! | 8 | 8 | sequence: 0 for the ledger's first record, then one more each |
//! | 16 | 8 | `CLOCK_BOOTTIME` in nanoseconds, when it was seen |
//! | 24 | 8 | nanoseconds since the Unix epoch, when it was seen |
//! | 32 | 2 | kind ([`wardroom_model::Kind::number`]) |
//! | 34 | 1 | producer ([`Producer::number`](crate::Producer::number)) |
//! | 35 | 1 | outcome: 0 none, else [`wardroom_model::Outcome`]'s number + 1 |
//! | 36 | 4 | zero |
//! | 40 | 8 | position in the producer's ring after this record; 0 for the scribe's own |
//! | 48 | .. | payload: the [`wardroom_model::Event`] in CBOR |
//!
//! The checksum finds torn writes and says where; only the tree finds intent.

use thiserror::Error;
use wardroom_model::{Outcome, Stamp};

/// Bytes before the payload.
pub const HEADER: usize = 48;

/// The longest frame in bytes: C2SP tlog-tiles gives entries a 16-bit length, and the last value stays unused.
pub const MAX_FRAME: usize = 65_534;

/// The longest payload in bytes.
pub const MAX_PAYLOAD: usize = MAX_FRAME - HEADER;

/// What a frame says besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Position in the ledger.
    pub sequence: u64,
    /// When it was seen.
    pub stamp: Stamp,
    /// Number of its kind.
    pub kind: u16,
    /// Number of its producer.
    pub producer: u8,
    /// What became of the act, where the record is about one.
    pub outcome: Option<Outcome>,
    /// Position in the producer's ring after it.
    pub ring: u64,
}

/// A frame found in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The fields before the payload.
    pub head: Head,
    /// The event in CBOR.
    pub payload: &'a [u8],
    /// The whole frame: what the tree hashes.
    pub bytes: &'a [u8],
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameFault {
    /// The bytes end before the frame does.
    #[error("the bytes end inside a record: {have} of {need} bytes")]
    Incomplete {
        /// Bytes that are there.
        have: usize,
        /// Bytes that the frame needs, as far as can be said.
        need: usize,
    },
    /// A length that no frame has.
    #[error("a record cannot have {0} bytes")]
    Length(u32),
    /// The checksum is another.
    #[error("the checksum does not match")]
    Checksum,
    /// A field has a value that this version does not write.
    #[error("a field has an impossible value: {0}")]
    Field(&'static str),
    /// A payload too long to be framed.
    #[error("a payload of {0} bytes is too long")]
    TooLong(usize),
}

/// Appends one frame to `out`. Nothing is appended on error.
///
/// # Errors
/// The payload is longer than [`MAX_PAYLOAD`].
pub fn write(head: &Head, payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameFault> {
    let too_long = || FrameFault::TooLong(payload.len());
    if payload.len() > MAX_PAYLOAD {
        return Err(too_long());
    }
    let length = u32::try_from(HEADER + payload.len()).map_err(|_wide| too_long())?.to_le_bytes();
    let mut rest = [0; HEADER - 8];
    let fields: [&[u8]; 8] = [
        &head.sequence.to_le_bytes(),
        &head.stamp.monotonic.to_le_bytes(),
        &head.stamp.wall.to_le_bytes(),
        &head.kind.to_le_bytes(),
        &[head.producer],
        &[outcome_number(head.outcome)],
        &[0; 4],
        &head.ring.to_le_bytes(),
    ];
    for (to, from) in rest.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(length, &[&rest, payload]).to_le_bytes());
    out.extend_from_slice(&rest);
    out.extend_from_slice(payload);
    Ok(())
}

/// Reads the frame at the start of `bytes`.
///
/// # Errors
/// What is wrong with it; [`FrameFault::Incomplete`] where more bytes could make it whole.
pub fn read(bytes: &[u8]) -> Result<Frame<'_>, FrameFault> {
    let frame = read_unchecked(bytes)?;
    let rest = frame.bytes.get(8..).unwrap_or_default();
    let length = frame.bytes.first_chunk().copied().unwrap_or_default();
    let stated = word(frame.bytes, 4).map(u32::from_le_bytes);
    if stated == Some(checksum(length, &[rest])) { Ok(frame) } else { Err(FrameFault::Checksum) }
}

/// As [`read`], without computing the checksum: for a reader that skips most records.
///
/// # Errors
/// As [`read`], except for [`FrameFault::Checksum`].
pub fn read_unchecked(bytes: &[u8]) -> Result<Frame<'_>, FrameFault> {
    let incomplete = |need| FrameFault::Incomplete { have: bytes.len(), need };
    let stated = word(bytes, 0).map(u32::from_le_bytes).ok_or_else(|| incomplete(HEADER))?;
    let length = usize::try_from(stated).map_err(|_wide| FrameFault::Length(stated))?;
    if !(HEADER..=MAX_FRAME).contains(&length) {
        return Err(FrameFault::Length(stated));
    }
    let bytes = bytes.get(..length).ok_or_else(|| incomplete(length))?;
    let head = read_head(bytes).ok_or_else(|| incomplete(HEADER))??;
    Ok(Frame { head, payload: bytes.get(HEADER..).unwrap_or_default(), bytes })
}

fn read_head(bytes: &[u8]) -> Option<Result<Head, FrameFault>> {
    let [producer, outcome] = word(bytes, 34)?;
    let Some(outcome) = outcome_from_number(outcome) else {
        return Some(Err(FrameFault::Field("outcome")));
    };
    if word(bytes, 36)? != [0; 4] {
        return Some(Err(FrameFault::Field("reserved")));
    }
    Some(Ok(Head {
        sequence: u64::from_le_bytes(word(bytes, 8)?),
        stamp: Stamp {
            monotonic: u64::from_le_bytes(word(bytes, 16)?),
            wall: u64::from_le_bytes(word(bytes, 24)?),
        },
        kind: u16::from_le_bytes(word(bytes, 32)?),
        producer,
        outcome,
        ring: u64::from_le_bytes(word(bytes, 40)?),
    }))
}

/// The outcome's number in a frame.
#[must_use]
pub fn outcome_number(outcome: Option<Outcome>) -> u8 {
    match outcome {
        None => 0,
        Some(Outcome::Allowed) => 1,
        Some(Outcome::Refused) => 2,
        Some(Outcome::Observed) => 3,
        Some(Outcome::Failed) => 4,
    }
}

/// The outcome with this number; the outer `None` means there is no such number.
#[must_use]
pub fn outcome_from_number(number: u8) -> Option<Option<Outcome>> {
    match number {
        0 => Some(None),
        1 => Some(Some(Outcome::Allowed)),
        2 => Some(Some(Outcome::Refused)),
        3 => Some(Some(Outcome::Observed)),
        4 => Some(Some(Outcome::Failed)),
        _ => None,
    }
}

fn checksum(length: [u8; 4], parts: &[&[u8]]) -> u32 {
    parts.iter().fold(crc32c::crc32c(&length), |sum, part| crc32c::crc32c_append(sum, part))
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            sequence: 1,
            stamp: Stamp { monotonic: 2, wall: 3 },
            kind: 4,
            producer: 5,
            outcome: Some(Outcome::Refused),
            ring: 6,
        }
    }

    #[test]
    fn a_frame_has_these_bytes_forever() {
        let mut bytes = Vec::new();
        write(&head(), b"payload", &mut bytes).unwrap();
        let golden = [
            "37000000",
            "",
            "0100000000000000",
            "0200000000000000",
            "0300000000000000",
            "0400",
            "05",
            "02",
            "00000000",
            "0600000000000000",
            "7061796c6f6164",
        ];
        let crc = format!("{:08x}", checksum([0x37, 0, 0, 0], &[&bytes[8..]]).swap_bytes());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.join("").replacen("37000000", &format!("37000000{crc}"), 1));
        assert_eq!(crc, "5061ffc4");
        assert_eq!(read(&bytes).unwrap(), Frame { head: head(), payload: b"payload", bytes: &bytes });
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut bytes = Vec::new();
        write(&head(), b"payload", &mut bytes).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_shortened_frame_is_incomplete() {
        let mut bytes = Vec::new();
        write(&head(), b"payload", &mut bytes).unwrap();
        for length in 0..bytes.len() {
            assert!(matches!(read(&bytes[..length]), Err(FrameFault::Incomplete { .. })), "{length}");
        }
    }

    #[test]
    fn the_longest_payload_fits_and_one_byte_more_does_not() {
        let mut bytes = Vec::new();
        write(&head(), &vec![0; MAX_PAYLOAD], &mut bytes).unwrap();
        assert_eq!(bytes.len(), MAX_FRAME);
        bytes.clear();
        assert!(write(&head(), &vec![0; MAX_PAYLOAD + 1], &mut bytes).is_err());
        assert!(bytes.is_empty());
    }
}
