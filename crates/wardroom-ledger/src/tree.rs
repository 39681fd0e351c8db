//! The Merkle tree of RFC 6962, section 2.1, kept as a compact range: the roots of its complete subtrees, largest
//! first. Extending costs two hashes a record on average and no allocation.
//!
//! Complete subtrees whose height is a multiple of 8 are handed to the caller as they come to be: those are the
//! entries of C2SP tlog-tiles, and from them any root and any proof can be computed again.

use std::fmt::{self, Debug, Display};

use sha2::{Digest, Sha256};

/// A SHA-256 value in the tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

/// Bytes of a [`struct@Hash`].
pub const HASH_BYTES: usize = 32;

/// Height of a tile, from C2SP tlog-tiles: 256 hashes.
pub const TILE_HEIGHT: u8 = 8;

/// Where stored hashes are looked up: by level of tiles (level n holds roots of subtrees of 256^n leaves) and index.
/// `None` means that it is not stored.
pub trait Stored {
    /// The hash at a level and index.
    fn hash(&mut self, level: u8, index: u64) -> Option<Hash>;
}

impl<F: FnMut(u8, u64) -> Option<Hash>> Stored for F {
    fn hash(&mut self, level: u8, index: u64) -> Option<Hash> {
        self(level, index)
    }
}

/// Hashes a leaf: `SHA-256(0x00 || frame)`.
#[must_use]
pub fn leaf(frame: &[u8]) -> Hash {
    Hash(Sha256::new_with_prefix([0]).chain_update(frame).finalize().into())
}

/// Hashes two subtrees: `SHA-256(0x01 || left || right)`.
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new_with_prefix([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// A tree of which only the right edge is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    /// One a set bit of `size`, largest first.
    peaks: Vec<Hash>,
}

impl Tree {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self { size: 0, peaks: Vec::with_capacity(64) }
    }

    /// The tree of `size` leaves, from the hashes stored as it grew; `None` where one is missing.
    pub fn restore(size: u64, stored: &mut impl Stored) -> Option<Self> {
        let mut tree = Self { size, ..Self::new() };
        for level in (0..=TOP).rev() {
            let shift = u32::from(level) * u32::from(TILE_HEIGHT);
            let above = size.checked_shr(shift + u32::from(TILE_HEIGHT)).unwrap_or(0) << TILE_HEIGHT;
            let mut partial = Self::new();
            for index in above..size.checked_shr(shift).unwrap_or(0) {
                partial.push(stored.hash(level, index)?, |_, _| {});
            }
            tree.peaks.append(&mut partial.peaks);
        }
        Some(tree)
    }

    /// Appends one leaf. Each new hash that tiles store goes to `complete` with its level of tiles; level 0 is the
    /// leaf itself.
    pub fn push(&mut self, leaf: Hash, mut complete: impl FnMut(u8, Hash)) {
        complete(0, leaf);
        let mut hash = leaf;
        for height in 1..=self.size.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            hash = node(&left, &hash);
            if height % u32::from(TILE_HEIGHT) == 0 {
                complete(u8::try_from(height / u32::from(TILE_HEIGHT)).unwrap_or(TOP), hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// Leaves in the tree.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root; of the empty tree, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => Hash(Sha256::digest([]).into()),
            Some(smallest) => peaks.fold(*smallest, |right, left| node(left, &right)),
        }
    }
}

/// The highest level of tiles that a 64-bit size can have.
const TOP: u8 = 7;

impl Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The leaves that the reference implementation of RFC 6962 (Certificate Transparency) is tested with.
    pub(crate) const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];

    #[test]
    fn roots_are_those_of_the_certificate_transparency_test_vectors() {
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Tree::new();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(tree.root().to_string(), empty);
        for (data, root) in LEAVES.iter().zip(roots) {
            tree.push(leaf(data), |_, _| {});
            assert_eq!(tree.root().to_string(), root);
        }
    }

    #[test]
    fn a_tree_restored_from_its_tiles_is_the_same_tree() {
        let mut tree = Tree::new();
        let mut levels: BTreeMap<(u8, u64), Hash> = BTreeMap::new();
        let mut counts = [0_u64; 8];
        for n in 0_u64..70_000 {
            if [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 69_999].contains(&n) {
                let mut stored = |level, index| levels.get(&(level, index)).copied();
                assert_eq!(Tree::restore(n, &mut stored).unwrap(), tree, "{n}");
            }
            tree.push(leaf(&n.to_le_bytes()), |level, hash| {
                let count = &mut counts[usize::from(level)];
                levels.insert((level, *count), hash);
                *count += 1;
            });
        }
        assert!(Tree::restore(70_001, &mut |level, index| levels.get(&(level, index)).copied()).is_none());
    }
}
