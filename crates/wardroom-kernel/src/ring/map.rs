//! The mapping: the one place where shared memory becomes references. Only atomics are ever made from it, because
//! another process may write to any of it at any time.
#![expect(unsafe_code, reason = "maps shared memory and views it as atomics")]

use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A cache line of its own, so that the two sides do not slow each other.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Line<T> {
    pub(super) value: T,
}

/// The first page. Only `head` is written by the producer, only `tail` by the consumer.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: AtomicU64,
    pub(super) capacity: AtomicU64,
    pub(super) producer: AtomicU32,
    /// In which life of the machine it was made: since then its pages have been written by processes alone.
    pub(super) boot: AtomicU64,
    /// Position after the last published message.
    pub(super) head: Line<AtomicU64>,
    /// Position after the last message that the consumer is done with.
    pub(super) tail: Line<AtomicU64>,
    /// What the consumer wants to be woken for: 0 nothing, 1 any message, 2 a ring half full.
    pub(super) bell: Line<AtomicU32>,
    /// 1 while the producer waits for room.
    pub(super) room: Line<AtomicU32>,
    /// See [`super::State`].
    pub(super) state: Line<AtomicU32>,
}

/// A shared mapping of a header and a data area.
#[derive(Debug)]
pub(super) struct Map {
    base: NonNull<u8>,
    header: usize,
    data: usize,
}

// SAFETY: the mapping belongs to this value alone, and everything in it is reached through atomics.
unsafe impl Send for Map {}
// SAFETY: as for Send; atomics may be used from several threads.
unsafe impl Sync for Map {}

impl Map {
    pub(super) fn new(file: BorrowedFd<'_>, header: u64, data: u64) -> Result<Self, Errno> {
        let header = usize::try_from(header).map_err(|_wide| Errno::OVERFLOW)?;
        let data = usize::try_from(data).map_err(|_wide| Errno::OVERFLOW)?;
        if header < size_of::<Header>() {
            return Err(Errno::INVAL);
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: mmap with a null address takes no memory that exists; the kernel chooses a free range.
        let base = unsafe { mmap(ptr::null_mut(), header + data, access, MapFlags::SHARED, file, 0) }?;
        Ok(Self { base: NonNull::new(base.cast()).ok_or(Errno::FAULT)?, header, data })
    }

    pub(super) fn header(&self) -> &Header {
        // SAFETY: the mapping is page-aligned, at least `size_of::<Header>()` long (checked in `new`), lives as
        // long as self, and every bit pattern is a valid Header, which consists of atomics.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    pub(super) fn data(&self) -> &[AtomicU64] {
        // SAFETY: `new` mapped header + data bytes from base, so base + header is inside the mapping.
        let start = unsafe { self.base.add(self.header) };
        // SAFETY: `start` is a page-aligned address followed by `data` mapped bytes, which live as long as self and
        // which every process views as atomics only.
        unsafe {
            slice::from_raw_parts(start.cast::<AtomicU64>().as_ptr(), self.data / size_of::<AtomicU64>())
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping made in `new`; no reference outlives self.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.header + self.data) };
        debug_assert!(unmapped.is_ok(), "unmapping one's own mapping: {unmapped:?}");
    }
}
