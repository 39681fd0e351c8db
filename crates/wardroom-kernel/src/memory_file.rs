//! Files in memory, by which a process gives another what must not be in its arguments: those are seen in the process list,
//! and have a bound.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};

/// Makes one with these contents (`memfd_create(2)`).
///
/// # Errors
/// The kernel's.
pub fn make(name: &str, contents: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(contents)?;
    Ok(file.into())
}

/// Reads one from its beginning. Its offset stays where it is: two processes that were given the same file share that.
///
/// # Errors
/// The kernel's.
pub fn read(file: OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(file);
    // At once to its full length: a growing buffer would leave parts of it behind in freed memory.
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_read_by_everybody_who_is_given_it() {
        let file = make("test", b"a policy").unwrap();
        for _reader in 0..2 {
            assert_eq!(read(file.try_clone().unwrap()).unwrap(), b"a policy");
        }
    }
}
