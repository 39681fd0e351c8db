//! Proofs about the tree (RFC 9162, sections 2.1.3 and 2.1.4, which are those of RFC 6962): that a record is in it,
//! and that one tree is the beginning of another.

use crate::tree::{Hash, Stored, TILE_HEIGHT, node};

/// The hashes beside the path from leaf `index` to the root of the tree of `size` leaves, lowest first. `None`
/// where there is no such leaf, or a hash is not stored.
pub fn inclusion(index: u64, size: u64, stored: &mut impl Stored) -> Option<Vec<Hash>> {
    if index >= size {
        return None;
    }
    let mut path = Vec::new();
    let (mut low, mut high) = (0, size);
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            path.push(range(middle, high, stored)?);
            high = middle;
        } else {
            path.push(range(low, middle, stored)?);
            low = middle;
        }
    }
    path.reverse();
    Some(path)
}

/// Whether `path` shows that `leaf` is number `index` in the tree of `size` leaves with this `root`.
#[must_use]
pub fn includes(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for beside in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(beside, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, beside);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The hashes that show that the tree of `old` leaves is the beginning of the tree of `new` leaves. `None` where it
/// cannot be, or a hash is not stored.
pub fn consistency(old: u64, new: u64, stored: &mut impl Stored) -> Option<Vec<Hash>> {
    if old == 0 || old > new {
        return None;
    }
    let mut path = Vec::new();
    let (mut low, mut high, mut whole) = (0, new, true);
    while high != old {
        let middle = low + split(high - low);
        if old <= middle {
            path.push(range(middle, high, stored)?);
            high = middle;
        } else {
            path.push(range(low, middle, stored)?);
            low = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(range(low, high, stored)?);
    }
    path.reverse();
    Some(path)
}

/// Whether `path` shows that the tree (`old`, `old_root`) is the beginning of the tree (`new`, `new_root`).
#[must_use]
pub fn extends(old: (u64, &Hash), new: (u64, &Hash), path: &[Hash]) -> bool {
    let ((old, old_root), (new, new_root)) = (old, new);
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    if old == 0 || old > new {
        return false;
    }
    let mut path = path.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(first) = first else { return false };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut from_old, mut from_new) = (*first, *first);
    for beside in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            from_old = node(beside, &from_old);
            from_new = node(beside, &from_new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            from_new = node(&from_new, beside);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && from_old == *old_root && from_new == *new_root
}

/// The hash of the leaves from `low` to `high`, as RFC 6962 defines it.
fn range(low: u64, high: u64, stored: &mut impl Stored) -> Option<Hash> {
    let width = high - low;
    if width.is_power_of_two() && low.is_multiple_of(width) {
        return subtree(width.trailing_zeros(), low / width, stored);
    }
    let middle = low + split(width);
    Some(node(&range(low, middle, stored)?, &range(middle, high, stored)?))
}

/// The root of a complete subtree, from at most 128 stored hashes.
fn subtree(height: u32, index: u64, stored: &mut impl Stored) -> Option<Hash> {
    if height.is_multiple_of(u32::from(TILE_HEIGHT)) {
        return stored.hash(u8::try_from(height / u32::from(TILE_HEIGHT)).ok()?, index);
    }
    let left = subtree(height - 1, index * 2, stored)?;
    Some(node(&left, &subtree(height - 1, index * 2 + 1, stored)?))
}

/// The largest power of two below `width`, which is at least 2.
fn split(width: u64) -> u64 {
    1 << (63 - (width - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::LEAVES;
    use crate::tree::{Tree, leaf};
    use proptest::prelude::*;

    /// The definition of RFC 6962, section 2.1, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Tree::new().root(),
            [one] => *one,
            many => {
                let (left, right) =
                    many.split_at(usize::try_from(split(u64::try_from(many.len()).unwrap())).unwrap());
                node(&mth(left), &mth(right))
            }
        }
    }

    fn grown(count: u64) -> (Vec<Hash>, Vec<Vec<Hash>>) {
        let leaves: Vec<Hash> = (0..count).map(|n| leaf(&n.to_le_bytes())).collect();
        let mut levels = vec![Vec::new(); 8];
        let mut tree = Tree::new();
        for leaf in &leaves {
            tree.push(*leaf, |level, hash| levels[usize::from(level)].push(hash));
        }
        assert_eq!(tree.root(), mth(&leaves));
        (leaves, levels)
    }

    fn stored(levels: &[Vec<Hash>]) -> impl Stored {
        |level: u8, index: u64| levels.get(usize::from(level))?.get(usize::try_from(index).ok()?).copied()
    }

    #[test]
    fn proofs_are_those_of_the_certificate_transparency_test_vectors() {
        let mut levels = vec![Vec::new(); 8];
        let mut tree = Tree::new();
        for data in LEAVES {
            tree.push(leaf(data), |level, hash| levels[usize::from(level)].push(hash));
        }
        let hex = |path: Option<Vec<Hash>>| -> Vec<String> {
            path.unwrap().iter().map(|hash| hash.to_string().chars().take(8).collect()).collect()
        };
        assert_eq!(hex(inclusion(0, 8, &mut stored(&levels))), ["96a296d2", "5f083f0a", "6b47aaf2"]);
        assert_eq!(hex(inclusion(5, 8, &mut stored(&levels))), ["bc1a0643", "ca854ea1", "d37ee418"]);
        assert_eq!(hex(inclusion(2, 3, &mut stored(&levels))), ["fac54203"]);
        assert_eq!(hex(consistency(1, 8, &mut stored(&levels))), ["96a296d2", "5f083f0a", "6b47aaf2"]);
        assert_eq!(hex(consistency(6, 8, &mut stored(&levels))), ["0ebc5d34", "ca854ea1", "d37ee418"]);
        assert_eq!(hex(consistency(2, 5, &mut stored(&levels))), ["5f083f0a", "bc1a0643"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_record_can_be_proven_and_nothing_else(size in 1_u64..700, at in 0_u64..700, flip in 0_usize..256) {
            let (leaves, levels) = grown(size);
            let root = mth(&leaves);
            let index = at % size;
            let path = inclusion(index, size, &mut stored(&levels)).unwrap();
            let leaf = leaves[usize::try_from(index).unwrap()];
            prop_assert!(includes(&leaf, index, size, &path, &root));
            let mut other = leaf;
            other.0[flip / 8] ^= 1 << (flip % 8);
            prop_assert!(!includes(&other, index, size, &path, &root));
            prop_assert!(!includes(&leaf, index, size, &path, &other));
            if size > 1 {
                prop_assert!(!includes(&leaf, (index + 1) % size, size, &path, &root));
                prop_assert!(!includes(&leaf, index, size, &path[1..], &root));
            }
        }

        #[test]
        fn every_beginning_can_be_proven_and_nothing_else(new in 1_u64..700, at in 0_u64..700, flip in 0_usize..256) {
            let (leaves, levels) = grown(new);
            let old = at % new + 1;
            let old_root = mth(&leaves[..usize::try_from(old).unwrap()]);
            let new_root = mth(&leaves);
            let path = consistency(old, new, &mut stored(&levels)).unwrap();
            prop_assert!(extends((old, &old_root), (new, &new_root), &path));
            let mut other = old_root;
            other.0[flip / 8] ^= 1 << (flip % 8);
            prop_assert!(!extends((old, &other), (new, &new_root), &path));
            prop_assert!(!extends((old, &old_root), (new, &other), &path));
        }
    }
}
