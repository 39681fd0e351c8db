//! Paths as a call names them, made absolute inside the cell, and compared with the sensitive ones. Nothing is
//! resolved here: a record says what was asked.

use rustix::io::Errno;
use rustix::process::Pid;
use wardroom_kernel::identity;

use super::Trouble;

/// Makes a path absolute as the caller's call would: against its working directory, or against a descriptor.
/// Where that base cannot be read the path stays as it was given; the kernel will find the same and say so. Where it is the guard
/// that has too little to read it with, the kernel would go on, and the record not say where: the call is refused.
pub(super) fn absolute(thread: Pid, directory: u64, path: Vec<u8>) -> Result<Vec<u8>, Trouble> {
    absolute_from(path, || base(thread, directory))
}

/// The same, with what the base is left to the caller.
pub(super) fn absolute_from(
    path: Vec<u8>,
    base: impl FnOnce() -> rustix::io::Result<Vec<u8>>,
) -> Result<Vec<u8>, Trouble> {
    if path.first() == Some(&b'/') {
        return Ok(path);
    }
    let mut base = match base() {
        Ok(base) => base,
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
            return Err(Trouble::Unheld("reading where a path begins", errno));
        }
        Err(_the_kernel_s_to_find) => return Ok(path),
    };
    if path.is_empty() {
        return Ok(base);
    }
    if base.last() != Some(&b'/') {
        base.push(b'/');
    }
    base.extend_from_slice(&path);
    Ok(base)
}

fn base(thread: Pid, directory: u64) -> rustix::io::Result<Vec<u8>> {
    match low(directory) {
        AT_FDCWD => identity::link(thread, "cwd"),
        fd => identity::descriptor(thread, fd),
    }
}

/// The 32 bits that the kernel reads of an `int` or `unsigned int`.
pub(super) fn low(argument: u64) -> u32 {
    u32::try_from(argument & 0xffff_ffff).unwrap_or(u32::MAX)
}

/// `AT_FDCWD` (-100) as a register holds it.
pub(super) const AT_FDCWD: u32 = (-100_i32).cast_unsigned();

/// The sensitive paths of a plan.
#[derive(Debug)]
pub(super) struct Sensitive {
    /// Exact paths, sorted.
    exact: Vec<Vec<u8>>,
    /// Directories, each with its trailing slash.
    beneath: Vec<Vec<u8>>,
    /// Last components, wherever they are.
    names: Vec<Vec<u8>>,
}

impl Sensitive {
    /// From patterns: an absolute path is that path, and with a trailing `/` everything beneath as well; a
    /// pattern without any `/` is a file's name, wherever it is.
    pub(super) fn new(patterns: &[String]) -> Self {
        let (mut exact, mut beneath, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for pattern in patterns.iter().filter(|pattern| !pattern.is_empty()) {
            if !pattern.contains('/') {
                names.push(pattern.clone().into_bytes());
            } else if let Some(directory) = pattern.strip_suffix('/') {
                exact.push(directory.as_bytes().to_vec());
                beneath.push(pattern.clone().into_bytes());
            } else {
                exact.push(pattern.clone().into_bytes());
            }
        }
        exact.sort_unstable();
        Self { exact, beneath, names }
    }

    /// Whether an absolute path is sensitive. `.`, `..` and doubled slashes do not hide one; a symbolic link can.
    pub(super) fn contains(&self, path: &[u8]) -> bool {
        if is_plain(path) {
            return self.has(path);
        }
        self.has(&tidy(path))
    }

    fn has(&self, path: &[u8]) -> bool {
        self.exact.binary_search_by(|known| known.as_slice().cmp(path)).is_ok()
            || self.beneath.iter().any(|directory| path.starts_with(directory))
            || (!self.names.is_empty()
                && path
                    .rsplit(|byte| *byte == b'/')
                    .next()
                    .is_some_and(|last| self.names.iter().any(|name| name == last)))
    }
}

/// Whether a path has no component that [`tidy`] would change.
fn is_plain(path: &[u8]) -> bool {
    !path.windows(2).any(|pair| pair == b"//" || pair == b"/.")
        && (path.len() < 2 || path.last() != Some(&b'/'))
}

/// The path without empty, `.` and `..` components.
fn tidy(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for part in parts {
        out.push(b'/');
        out.extend_from_slice(part);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_do_not_hide_a_sensitive_path() {
        let sensitive = Sensitive::new(&["/home/agent/.ssh/".into(), "/etc/shadow".into(), ".env".into()]);
        for path in [
            "/home/agent/.ssh",
            "/home/agent/.ssh/id",
            "/home//agent/./.ssh/id",
            "/home/agent/x/../.ssh/id",
            "/etc/shadow",
            "/etc/shadow/",
            "/../etc/../etc/shadow",
            "/workspace/deep/.env",
        ] {
            assert!(sensitive.contains(path.as_bytes()), "{path}");
        }
        for path in ["/home/agent/.sshx", "/etc/shadow-", "/home/agent/x.env", "/", "", "/etc"] {
            assert!(!sensitive.contains(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn relative_paths_are_told_from_their_base() {
        let own = rustix::process::getpid();
        let cwd = std::env::current_dir().unwrap().into_os_string().into_encoded_bytes();
        let told = absolute(own, u64::from(AT_FDCWD), b"a/b".to_vec()).unwrap();
        assert_eq!(told, [cwd.as_slice(), b"/a/b"].concat());
        assert_eq!(absolute(own, 0xffff_ffff_ffff_ff9c, b"/x".to_vec()).unwrap(), b"/x");
        assert_eq!(absolute(own, 999_999, b"x".to_vec()).unwrap(), b"x");
    }

    #[test]
    fn a_place_that_the_guard_lacks_the_means_to_tell_is_not_recorded_as_less_than_it_is() {
        for errno in [Errno::MFILE, Errno::NFILE] {
            let told = absolute_from(b"x".to_vec(), || Err(errno));
            assert!(matches!(told, Err(Trouble::Unheld(_, why)) if why == errno), "{told:?}");
        }
        assert_eq!(absolute_from(b"x".to_vec(), || Err(Errno::NOENT)).unwrap(), b"x");
    }
}
