//! What travels through a ring: a frame without the fields that only the scribe can know.
//!
//! `monotonic 8 | wall 8 | kind 2 | outcome 1 | zero 5 | payload`, little-endian, checked by a CRC-32C over the
//! message's position and its bytes. The position makes what is left over from an earlier lap of the ring invalid,
//! should a power cut store the ring's pages in another order than they were written.

use minicbor::encode::write::Write;
use wardroom_ledger::{facets, frame};
use wardroom_model::{Event, Kind, Outcome, Stamp};

/// Bytes before the payload.
pub(crate) const HEADER: usize = 24;

/// A message as the scribe reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) stamp: Stamp,
    pub(crate) kind: u16,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) payload: &'a [u8],
}

/// Encodes `event` into `buffer`, replacing what was there. Says no where the event is too long for a frame.
pub(crate) fn write(event: &Event, stamp: Stamp, buffer: &mut Vec<u8>) -> bool {
    buffer.clear();
    buffer.extend_from_slice(&stamp.monotonic.to_le_bytes());
    buffer.extend_from_slice(&stamp.wall.to_le_bytes());
    buffer.extend_from_slice(&event.kind().number().to_le_bytes());
    buffer.extend_from_slice(&[frame::outcome_number(facets::outcome(event)), 0, 0, 0, 0, 0]);
    let mut bounded = Bounded { buffer, most: HEADER + frame::MAX_PAYLOAD };
    minicbor::encode(event, &mut bounded).is_ok()
}

/// The check of a message at a position.
pub(crate) fn check(position: u64, message: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&position.to_le_bytes()), message)
}

/// Reads a message whose check was right; the error is for [`wardroom_model::event::LedgerNote::Garbled`].
///
/// `decode` also decodes the event in full: for producers that parse hostile bytes and could be taken over.
pub(crate) fn read(bytes: &[u8], decode: bool) -> Result<Message<'_>, &'static str> {
    let header: &[u8; HEADER] = bytes.first_chunk().ok_or("shorter than a header")?;
    let payload = bytes.get(HEADER..).unwrap_or_default();
    let [m0, m1, m2, m3, m4, m5, m6, m7, w0, w1, w2, w3, w4, w5, w6, w7, k0, k1, outcome, zeros @ ..] =
        header;
    if zeros != &[0; 5] {
        return Err("reserved bytes are not zero");
    }
    if payload.len() > frame::MAX_PAYLOAD {
        return Err("too long for a frame");
    }
    let kind = u16::from_le_bytes([*k0, *k1]);
    if usize::from(kind) >= Kind::ALL.len() {
        return Err("no such kind");
    }
    let outcome = frame::outcome_from_number(*outcome).ok_or("no such outcome")?;
    if is_event(payload, kind).is_none() {
        return Err("the payload is no event of its kind");
    }
    if decode {
        let event: Event = minicbor::decode(payload).map_err(|_error| "the payload does not decode")?;
        if facets::outcome(&event) != outcome {
            return Err("the outcome is not the event's");
        }
    }
    let stamp = Stamp {
        monotonic: u64::from_le_bytes([*m0, *m1, *m2, *m3, *m4, *m5, *m6, *m7]),
        wall: u64::from_le_bytes([*w0, *w1, *w2, *w3, *w4, *w5, *w6, *w7]),
    };
    Ok(Message { stamp, kind, outcome, payload })
}

/// Whether `payload` is exactly one well-formed `[kind, [fields]]`. Allocates nothing.
fn is_event(payload: &[u8], kind: u16) -> Option<()> {
    let mut decoder = minicbor::Decoder::new(payload);
    let pair = decoder.array().ok()? == Some(2);
    let same = decoder.u32().ok()? == u32::from(kind);
    decoder.skip().ok()?;
    (pair && same && decoder.position() == payload.len()).then_some(())
}

/// Refuses to grow beyond a bound, so that an event of 4 GiB costs no memory.
struct Bounded<'a> {
    buffer: &'a mut Vec<u8>,
    most: usize,
}

/// The bound of [`Bounded`] was reached.
#[derive(Debug)]
struct TooLong;

impl Write for Bounded<'_> {
    type Error = TooLong;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.buffer.len() + bytes.len() > self.most {
            return Err(TooLong);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }
}
