//! Where the last commit ended, so that opening a ledger need not scan its last segment. Never believed: the frames
//! found there must continue the tree of the signed checkpoint, and where they do not, the segment is scanned.

/// Bytes of a hint.
pub(crate) const BYTES: usize = 32;

/// The content of the file `hint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hint {
    /// Records covered by the checkpoint.
    pub(crate) size: u64,
    /// The first record of the segment that grows.
    pub(crate) segment: u64,
    /// Bytes of that segment that the checkpoint covers.
    pub(crate) offset: u64,
    /// Whether the scribe ended in peace after this.
    pub(crate) clean: bool,
}

impl Hint {
    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let fields = [
            self.size.to_le_bytes(),
            self.segment.to_le_bytes(),
            self.offset.to_le_bytes(),
            [u8::from(self.clean); 8],
        ];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = from;
        }
        bytes
    }

    /// `None` where the bytes are no hint.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..)?.first_chunk().copied();
        let clean = match word(24)? {
            [0, 0, 0, 0, 0, 0, 0, 0] => false,
            [1, 1, 1, 1, 1, 1, 1, 1] => true,
            _ => return None,
        };
        let size = u64::from_le_bytes(word(0)?);
        Some(Self {
            size,
            segment: u64::from_le_bytes(word(8)?),
            offset: u64::from_le_bytes(word(16)?),
            clean,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_survives_and_half_of_one_is_none() {
        let hint = Hint { size: 1, segment: 2, offset: 3, clean: true };
        assert_eq!(Hint::from_bytes(&hint.to_bytes()), Some(hint));
        assert_eq!(Hint::from_bytes(&hint.to_bytes()[..31]), None);
    }
}
