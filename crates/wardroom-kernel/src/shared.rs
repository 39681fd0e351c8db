//! Words of a file in shared memory: what was stored survives SIGKILL of every process, as the page cache keeps it.
//!
//! Only atomics are ever made from the mapping, because another process may read or write it at any time. What the words
//! mean, and how a half-written group of them is known, is the business of who stores them.
#![expect(unsafe_code, reason = "maps shared memory and views it as atomics")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::fs::{FallocateFlags, fallocate, fstat};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The mapped words of a file.
#[derive(Debug)]
pub struct Words {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone, and everything in it is reached through atomics.
unsafe impl Send for Words {}
// SAFETY: as for Send; atomics may be used from several threads.
unsafe impl Sync for Words {}

impl Words {
    /// Allocates `count` words, all zero, in an empty file and maps them.
    ///
    /// # Errors
    /// `ENOSPC` above all: it shows here and not as a fault when a word is stored.
    pub fn format(file: &impl AsFd, count: usize) -> io::Result<Self> {
        fallocate(file, FallocateFlags::empty(), 0, bytes(count)?)?;
        Self::open(file, count)
    }

    /// Maps a file of exactly `count` words, whose blocks are allocated. The descriptor is not kept.
    ///
    /// # Errors
    /// `InvalidData` for a file of another size, or one with holes; else as mmap(2).
    pub fn open(file: &impl AsFd, count: usize) -> io::Result<Self> {
        let expected = bytes(count)?;
        let stat = fstat(file)?;
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        if u64::try_from(stat.st_size) != Ok(expected) {
            return Err(invalid(&format!("{} bytes instead of {expected}", stat.st_size)));
        }
        // A file with holes could fault on a full disk when it is first written to.
        if !u64::try_from(stat.st_blocks).is_ok_and(|blocks| blocks >= expected / 512) {
            return Err(invalid("its blocks are not allocated"));
        }
        Self::map(file.as_fd(), expected)
    }

    fn map(file: BorrowedFd<'_>, bytes: u64) -> io::Result<Self> {
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: mmap with a null address takes no memory that exists; the kernel chooses a free range.
        let base = unsafe { mmap(ptr::null_mut(), length, access, MapFlags::SHARED, file, 0) }?;
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("a mapping at nothing"))?;
        Ok(Self { base, length })
    }

    /// The words, in the file's order.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        let count = self.length / size_of::<AtomicU64>();
        // SAFETY: base is a page-aligned address followed by `length` mapped bytes, which live as long as self and which
        // every process views as atomics only; every bit pattern is a valid atomic.
        unsafe { slice::from_raw_parts(self.base.cast::<AtomicU64>().as_ptr(), count) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping made in `map`; no reference outlives self.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "unmapping one's own mapping: {unmapped:?}");
    }
}

fn bytes(count: usize) -> io::Result<u64> {
    let bytes = count.checked_mul(size_of::<AtomicU64>()).filter(|bytes| *bytes > 0);
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(|| io::Error::other("no words to map"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn words_are_seen_through_every_mapping_of_the_file() {
        let file = tempfile::tempfile().unwrap();
        let one = Words::format(&file, 64).unwrap();
        one.words()[63].store(7, Ordering::Release);
        let other = Words::open(&file, 64).unwrap();
        drop(one);
        assert_eq!(other.words()[63].load(Ordering::Acquire), 7);
        assert_eq!(other.words().len(), 64);
    }

    #[test]
    fn another_size_and_holes_are_refused() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Words::open(&file, 64).unwrap_err().kind(), io::ErrorKind::InvalidData);
        file.set_len(64 * 8).unwrap();
        assert_eq!(Words::open(&file, 64).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(Words::format(&file, 0).is_err());
    }
}
