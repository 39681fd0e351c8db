//! Reading segments, whether they still grow or are sealed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use wardroom_ledger::frame;
use wardroom_ledger::layout::{self, Part};

use crate::place::{Place, PlaceError};

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

/// The frames of a segment from a byte offset on, and its file where it is not sealed.
pub(crate) fn read_from(
    place: &Place,
    first: u64,
    offset: u64,
) -> Result<(Vec<u8>, Option<File>), PlaceError> {
    let name = layout::name(first, Part::Plain);
    let mut file = place.writable(&name)?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(|source| place.io("read", &name, source))?;
    Ok((bytes, Some(file)))
}

/// The offset at which a record starts in its segment, or at which it would start as the next one.
pub(crate) fn offset_of(place: &Place, first: u64, sequence: u64) -> Result<Option<u64>, PlaceError> {
    let (bytes, _file) = read_from(place, first, 0)?;
    let mut at = 0;
    for next in first..sequence {
        match frame::read_unchecked(bytes.get(at..).unwrap_or_default()) {
            Ok(found) if found.head.sequence == next => at += found.bytes.len(),
            Ok(_) | Err(_) => return Ok(None),
        }
    }
    Ok(u64::try_from(at).ok())
}
