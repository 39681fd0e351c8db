//! Bounded reads from the memory of a process that waits for the guard. What is read may change right after: it is
//! for the record, never for a decision that lets something through.
#![expect(unsafe_code, reason = "process_vm_readv(2) has no safe wrapper")]

use std::io;

use rustix::process::Pid;
use thiserror::Error;

/// Why memory could not be read.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// The address is not mapped, or the string has no end within its bound.
    #[error("unreadable memory at {0:#x}")]
    Unreadable(u64),
    /// The string is longer than the kernel itself would take.
    #[error("a string of more than {0} bytes")]
    TooLong(usize),
    /// The kernel refused: not ours to read.
    #[error("reading memory: {0}")]
    Kernel(io::Error),
}

/// Reads `N` strings, with one system call when they are short.
///
/// # Errors
/// The first that cannot be read, or has `PATH_MAX` bytes without an end.
pub fn c_strings<const N: usize>(pid: Pid, addresses: [u64; N]) -> Result<[Vec<u8>; N], RemoteError> {
    let mut buffer = [[0_u8; FIRST]; N];
    let mut parts = addresses.map(|address| (address, within_page(address, FIRST)));
    let got = gather(pid, buffer.as_flattened_mut(), &mut parts)?;
    let mut strings = [const { Vec::new() }; N];
    let mut rest = buffer.as_flattened().get(..got).unwrap_or_default();
    for (string, (address, length)) in strings.iter_mut().zip(parts) {
        let (chunk, after) = rest.split_at_checked(length).unwrap_or_default();
        rest = after;
        *string = match chunk.iter().position(|byte| *byte == 0) {
            Some(end) => chunk.get(..end).unwrap_or_default().to_vec(),
            None => long_string(pid, address, PATH_MAX)?,
        };
    }
    Ok(strings)
}

/// Reads one string.
///
/// # Errors
/// As [`c_strings`].
pub fn c_string(pid: Pid, address: u64) -> Result<Vec<u8>, RemoteError> {
    c_strings(pid, [address]).map(|[string]| string)
}

/// Reads exactly `into.len()` bytes.
///
/// # Errors
/// Any byte that cannot be read.
pub fn bytes(pid: Pid, address: u64, into: &mut [u8]) -> Result<(), RemoteError> {
    let wanted = into.len();
    if gather(pid, into, &mut [(address, wanted)])? == wanted {
        return Ok(());
    }
    Err(RemoteError::Unreadable(address))
}

/// Reads an argument vector: the strings with a NUL after each, all of them as long as they stay within what
/// execve itself would take.
///
/// # Errors
/// Unreadable memory, or more than the kernel's own limit.
pub fn arguments(pid: Pid, vector: u64) -> Result<Vec<u8>, RemoteError> {
    let mut all = Vec::new();
    if vector == 0 {
        return Ok(all);
    }
    let mut at = vector;
    loop {
        let mut raw = [0_u8; POINTERS * 8];
        let room = within_page(at, raw.len()).max(8);
        let got = gather(pid, raw.get_mut(..room).unwrap_or_default(), &mut [(at, room)])?;
        let (words, _partial) = raw.get(..got).unwrap_or_default().as_chunks::<8>();
        if words.is_empty() {
            return Err(RemoteError::Unreadable(at));
        }
        let pointers: Vec<u64> =
            words.iter().map(|word| u64::from_ne_bytes(*word)).take_while(|pointer| *pointer != 0).collect();
        for some in pointers.chunks(STRINGS) {
            append_strings(pid, some, &mut all)?;
        }
        if pointers.len() < words.len() {
            return Ok(all);
        }
        at = u64::try_from(words.len() * 8)
            .ok()
            .and_then(|read| at.checked_add(read))
            .ok_or(RemoteError::Unreadable(at))?;
    }
}

/// Appends at most [`STRINGS`] strings, each with its NUL.
fn append_strings(pid: Pid, pointers: &[u64], all: &mut Vec<u8>) -> Result<(), RemoteError> {
    let mut buffer = [0_u8; STRINGS * ARGUMENT];
    let mut parts = [(0, 0); STRINGS];
    for (part, pointer) in parts.iter_mut().zip(pointers) {
        *part = (*pointer, within_page(*pointer, ARGUMENT));
    }
    let parts = parts.get_mut(..pointers.len()).unwrap_or_default();
    let got = gather(pid, &mut buffer, parts)?;
    let mut rest = buffer.get(..got).unwrap_or_default();
    for (address, length) in parts.iter() {
        let (chunk, after) = rest.split_at_checked(*length).unwrap_or_default();
        rest = after;
        match chunk.iter().position(|byte| *byte == 0) {
            Some(end) => all.extend_from_slice(chunk.get(..end).unwrap_or_default()),
            None => all.extend(long_string(pid, *address, MAX_ARGUMENT)?),
        }
        all.push(0);
        if all.len() > MAX_ARGUMENTS {
            return Err(RemoteError::TooLong(MAX_ARGUMENTS));
        }
    }
    Ok(())
}

/// Reads a string page by page.
fn long_string(pid: Pid, address: u64, bound: usize) -> Result<Vec<u8>, RemoteError> {
    let mut string = Vec::new();
    let mut at = address;
    while string.len() < bound {
        let mut page = [0_u8; PAGE];
        let room = within_page(at, PAGE);
        let got = gather(pid, page.get_mut(..room).unwrap_or_default(), &mut [(at, room)])?;
        let chunk = page.get(..got).unwrap_or_default();
        if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
            string.extend_from_slice(chunk.get(..end).unwrap_or_default());
            return Ok(string);
        }
        if chunk.is_empty() {
            return Err(RemoteError::Unreadable(at));
        }
        string.extend_from_slice(chunk);
        at = u64::try_from(got)
            .ok()
            .and_then(|read| at.checked_add(read))
            .ok_or(RemoteError::Unreadable(at))?;
    }
    Err(RemoteError::TooLong(bound))
}

/// How much of `length` lies on the page of `address`: a string at the end of its mapping must not fail because
/// the page behind it is not there.
fn within_page(address: u64, length: usize) -> usize {
    let page = u64::try_from(PAGE).unwrap_or(u64::MAX);
    usize::try_from(page - address % page).unwrap_or(PAGE).min(length)
}

/// Reads pieces of remote memory into one buffer, one after the other. Returns how many bytes came before the first
/// piece that cannot be read; nothing at all is an empty read, not an error.
fn gather(pid: Pid, into: &mut [u8], parts: &mut [(u64, usize)]) -> Result<usize, RemoteError> {
    let mut room = into.len();
    let mut remote = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; STRINGS];
    let count = parts.len().min(STRINGS);
    for (piece, (address, length)) in remote.iter_mut().zip(parts.iter_mut()) {
        *length = (*length).min(room);
        room -= *length;
        let address = usize::try_from(*address).map_err(|_wide| RemoteError::Unreadable(*address))?;
        *piece = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: *length };
    }
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let count = libc::c_ulong::try_from(count).unwrap_or(0);
    // SAFETY: the kernel writes at most `local.iov_len` bytes into `into`, which is borrowed mutably; the remote
    // addresses are another process's and are never dereferenced here.
    let got = unsafe {
        libc::process_vm_readv(pid.as_raw_nonzero().get(), &raw const local, 1, remote.as_ptr(), count, 0)
    };
    usize::try_from(got).or_else(|_negative| {
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EFAULT) => Ok(0),
            Some(_) | None => Err(RemoteError::Kernel(error)),
        }
    })
}

/// Paths are mostly shorter, and copying more costs more.
const FIRST: usize = 256;
/// The kernel's bound on a path, with its NUL.
const PATH_MAX: usize = 4096;
/// The smallest page of the supported architectures; larger ones are only read in more pieces.
const PAGE: usize = 4096;
/// Pointers of an argument vector read at once.
const POINTERS: usize = 64;
/// Strings read at once: half of the kernel's fast path for vectors (`UIO_FASTIOV` is 8, beyond it allocates) twice.
const STRINGS: usize = 16;
/// Bytes of an argument read at first.
const ARGUMENT: usize = 128;
/// `MAX_ARG_STRLEN`: 32 pages.
const MAX_ARGUMENT: usize = 32 * PAGE;
/// The kernel takes at most three quarters of `_STK_LIM` (8 MiB) of arguments and environment together.
const MAX_ARGUMENTS: usize = 6 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpid;

    fn address(of: &[u8]) -> u64 {
        u64::try_from(of.as_ptr().addr()).unwrap()
    }

    #[test]
    fn strings_of_every_length_are_read_whole() {
        for length in [0, 1, 200, 255, 256, 257, 3000, 4094] {
            let mut a = vec![b'a'; length];
            a.push(0);
            let b = b"second\0";
            let [got_a, got_b] = c_strings(getpid(), [address(&a), address(b)]).unwrap();
            assert_eq!(got_a, a[..length], "{length}");
            assert_eq!(got_b, b"second");
        }
    }

    #[test]
    fn a_path_longer_than_the_kernel_takes_is_an_error() {
        let mut long = vec![b'a'; 10_000];
        long.push(0);
        assert!(matches!(c_string(getpid(), address(&long)), Err(RemoteError::TooLong(4096))));
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        assert!(matches!(c_string(getpid(), 0), Err(RemoteError::Unreadable(0))));
        assert!(c_string(getpid(), u64::MAX - 5).is_err());
        assert!(arguments(getpid(), 8).is_err());
    }

    #[test]
    fn arguments_are_read_whole_and_in_order() {
        let long = [vec![b'x'; 50_000], vec![0]].concat();
        let strings: Vec<Vec<u8>> = (0..300)
            .map(|n| format!("argument {n}\0").into_bytes())
            .chain([long])
            .chain([b"last\0".to_vec()])
            .collect();
        let mut pointers: Vec<u64> = strings.iter().map(|s| address(s)).collect();
        pointers.push(0);
        let vector = u64::try_from(pointers.as_ptr().addr()).unwrap();
        assert_eq!(arguments(getpid(), vector).unwrap(), strings.concat());
        assert_eq!(arguments(getpid(), 0).unwrap(), b"");
    }
}
