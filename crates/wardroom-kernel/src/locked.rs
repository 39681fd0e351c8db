//! Memory for secrets: it stays in RAM, goes into no core dump and to no forked child, and is overwritten at its end.
//!
//! Each value has pages of its own, so that locking and unlocking one concerns no other.
#![expect(unsafe_code, reason = "maps memory that the allocator does not know of")]

use std::fmt;
use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap};

/// Bytes in locked memory. They are not copied, compared or shown by this type.
pub struct Locked {
    base: NonNull<u8>,
    mapped: usize,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone, and is only read once it has been made.
unsafe impl Send for Locked {}
// SAFETY: as for Send; reading needs no exclusion.
unsafe impl Sync for Locked {}

impl Locked {
    /// Copies bytes into locked memory. Overwriting where they came from is the caller's.
    ///
    /// # Errors
    /// `ENOMEM` or `EPERM` where `RLIMIT_MEMLOCK` has no room: there is no unlocked copy then.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        // The kernel rounds every length below up to its pages (mmap(2), mlock(2), madvise(2), munmap(2)).
        let mapped = bytes.len().max(1);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: mmap with a null address takes no memory that exists; the kernel chooses a free range.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), mapped, access, MapFlags::PRIVATE) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(rustix::io::Errno::FAULT)?;
        // From here on dropping unmaps, whatever fails.
        let locked = Self { base, mapped, length: bytes.len() };
        let start = base.as_ptr().cast();
        // SAFETY: the range is the mapping that was just made.
        unsafe { mlock(start, mapped) }?;
        for advice in [Advice::LinuxDontDump, Advice::LinuxWipeOnFork] {
            // SAFETY: the range is the mapping that was just made, which nothing refers to yet.
            unsafe { madvise(start, mapped, advice) }?;
        }
        // SAFETY: the mapping is writable, at least as long as `bytes`, and fresh, so that the two do not overlap.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), base.as_ptr(), bytes.len()) };
        Ok(locked)
    }
}

impl Deref for Locked {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `new` mapped and initialised `length` bytes from base, which live as long as self and do not change.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.length) }
    }
}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locked")
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: the mapping is writable and `mapped` bytes long; no reference to it is left.
        unsafe { ptr::write_bytes(self.base.as_ptr(), 0, self.mapped) };
        // SAFETY: base and length are those of the mapping made in `new`; no reference outlives self.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.mapped) };
        debug_assert!(unmapped.is_ok(), "unmapping one's own mapping: {unmapped:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says of the mapping that holds an address.
    fn flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let bounds = range.and_then(|(from, to)| {
                Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
            });
            if let Some((from, to)) = bounds {
                inside = (from..to).contains(&address);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
                return flags.to_owned();
            }
        }
        panic!("no mapping at {address:x}");
    }

    #[test]
    fn a_secret_s_memory_is_locked_not_dumped_and_not_inherited() {
        let locked = Locked::new(b"a secret").unwrap();
        assert_eq!(&*locked, b"a secret");
        let flags = flags(locked.as_ptr().addr());
        for flag in [" lo ", " dd ", " wf "] {
            assert!(flags.contains(flag), "{flag} of {flags}");
        }
        assert_eq!(format!("{locked:?}"), "Locked");
    }

    #[test]
    fn values_of_every_length_have_pages_of_their_own() {
        for length in [0, 1, 4096, 4097, 20_000] {
            let bytes = vec![7; length];
            assert_eq!(*Locked::new(&bytes).unwrap(), *bytes);
        }
    }
}
