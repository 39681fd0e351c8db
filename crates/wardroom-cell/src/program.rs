//! Which program a process of the cell runs, and whether its name counts as an identity.

use rustix::io::{Errno, Result};
use rustix::process::Pid;
use wardroom_kernel::identity;
use wardroom_model::Captured;
use wardroom_model::event::Program;

/// The program a process runs now, as seen inside the cell. Any thread of it will do: of a leader that has ended, nothing can be read.
///
/// # Errors
/// The process is gone.
pub(crate) fn of(process: Pid, trusted: &[Vec<u8>]) -> Result<Program> {
    let path = match identity::link(process, "exe") {
        Ok(path) => path,
        // Not ours to ask about (undumpable, before its exec), or longer than the kernel tells: nobody, who is trusted by nobody.
        Err(Errno::ACCESS | Errno::PERM | Errno::NAMETOOLONG) => Vec::new(),
        Err(errno) => return Err(errno),
    };
    let trusted = trusted.iter().any(|directory| is_beneath(&path, directory));
    Ok(Program { path: Captured::path(&path), trusted })
}

/// Whether a path lies beneath a directory. An image that has been deleted is none of the read-only system's.
fn is_beneath(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.strip_prefix(directory.strip_suffix(b"/").unwrap_or(directory));
    rest.is_some_and(|rest| rest.first() == Some(&b'/')) && !path.ends_with(b" (deleted)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_beneath_a_trusted_directory_are_trusted() {
        assert!(is_beneath(b"/usr/bin/git", b"/usr"));
        assert!(is_beneath(b"/usr/bin/git", b"/usr/"));
        for path in
            [&b"/usrx/git"[..], b"/home/usr/git", b"/usr/bin/git (deleted)", b"/memfd:/usr/x (deleted)"]
        {
            assert!(!is_beneath(path, b"/usr"), "{path:?}");
        }
    }
}
