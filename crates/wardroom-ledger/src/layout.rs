//! The names of a ledger's files. A segment holds frames one after the other and nothing else, and is named by the
//! sequence of its first record.

/// The checkpoint of the last commit.
pub const CHECKPOINT: &str = "checkpoint";

/// The public key that checkpoints are verified with. For convenience: a verifier should have it from elsewhere.
pub const VERIFIER: &str = "vkey";

/// Where the last commit ended. A hint that is checked before use, and is never needed.
pub const HINT: &str = "hint";

/// What a file of a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The frames.
    Plain,
    /// The frames, compressed in blocks.
    Sealed,
    /// What is in each block of frames: derived, and rebuilt when lost.
    Index,
    /// The signed checkpoint at the end of the segment.
    Note,
}

impl Part {
    const ALL: [Self; 4] = [Self::Plain, Self::Sealed, Self::Index, Self::Note];

    fn suffix(self) -> &'static str {
        match self {
            Self::Plain => ".seg",
            Self::Sealed => ".seg.lz4",
            Self::Index => ".idx",
            Self::Note => ".note",
        }
    }
}

/// The name of a file of the segment that starts at `first`.
#[must_use]
pub fn name(first: u64, part: Part) -> String {
    format!("{first:020}{}", part.suffix())
}

/// What a file's name says; `None` for files that are no part of a segment.
#[must_use]
pub fn parse(name: &str) -> Option<(u64, Part)> {
    let (digits, suffix) = name.split_at_checked(20)?;
    let part = Part::ALL.into_iter().find(|part| part.suffix() == suffix)?;
    let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
    Some((digits.parse().ok().filter(|_| all_digits)?, part))
}

/// The name of the file that holds the hashes of a level of tiles, 32 bytes each, one after the other.
#[must_use]
pub fn hashes(level: u8) -> String {
    format!("hashes-{level}")
}

/// The path of a tile in an export, from C2SP tlog-tiles: `tile/1/x001/234`, or `tile/1/x001/234.p/5` for one of
/// five hashes only.
#[must_use]
pub fn tile_path(level: u8, index: u64, width: u16) -> String {
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.reverse();
    let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
    format!("tile/{level}/{}{partial}", groups.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_and_strangers_are_no_segments() {
        for part in Part::ALL {
            assert_eq!(parse(&name(u64::MAX, part)), Some((u64::MAX, part)));
        }
        for stranger in
            ["checkpoint", "1.seg", "+0000000000000000001.seg", "00000000000000000001.seg.tmp", "ring-gate"]
        {
            assert_eq!(parse(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn tile_paths_are_those_of_the_specification() {
        assert_eq!(tile_path(0, 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(tile_path(2, 5, 17), "tile/2/005.p/17");
    }
}
