//! What the gate gives up before it reads its first byte: privileges, files, system calls, and the way back to them.
//!
//! Each step is asked back; a difference is an error, and the gate does not serve.

use std::fmt::{self, Display};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use thiserror::Error;
use wardroom_kernel::landlock::{self, LandlockError, Rights};
use wardroom_kernel::seccomp::{self, SeccompError};

use crate::clock;
use crate::filter;
use crate::inspect::BUNDLES;

/// Why the gate cannot be confined. It must then not serve.
#[derive(Debug, Error)]
pub enum HardenError {
    /// The kernel refused a step.
    #[error("cannot {step}")]
    Kernel {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A capability is still held.
    #[error("the kernel reports that the gate still holds capabilities: {0}")]
    StillCapable(String),
    /// It would leave a core.
    #[error("the kernel reports that the gate could still be dumped")]
    Dumpable,
    /// The files could not be given up.
    #[error(transparent)]
    Files(#[from] LandlockError),
    /// The system calls could not be given up.
    #[error(transparent)]
    Calls(#[from] SeccompError),
}

/// What of its memory never leaves the RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// All of it.
    All,
    /// Values of credentials, up to this many bytes of pages.
    Values {
        /// `RLIMIT_MEMLOCK`.
        limit: Option<u64>,
    },
}

impl Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all of its memory is locked"),
            Self::Values { limit: None } => {
                f.write_str("the values of credentials are locked in memory; other memory is not")
            }
            Self::Values { limit: Some(limit) } => {
                let limit = limit / 1024;
                write!(
                    f,
                    "the values of credentials are locked in memory, up to {limit} KiB; other memory is not"
                )
            }
        }
    }
}

/// What the gate reads of the host, when a name is dialled.
const RESOLVER_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Gives everything up, the ability to give up last.
pub(crate) fn harden() -> Result<Memory, HardenError> {
    let at = |step| move |e: rustix::io::Errno| HardenError::Kernel { step, source: e.into() };
    // Descriptors: two a connection, and pipes.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).map_err(at("raise the number of descriptors"))?;
    set_no_new_privs(true).map_err(at("set no_new_privs"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("forbid core dumps"))?;
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, no_core).map_err(at("forbid core files"))?;
    let undumpable = dumpable_behavior().map_err(at("read back whether it is dumpable"))?;
    if undumpable != DumpableBehavior::NotDumpable || getrlimit(Resource::Core).current != Some(0) {
        return Err(HardenError::Dumpable);
    }
    let memory = lock_memory();
    drop_capabilities()?;
    // Where the clocks are without a system call is found out at the first look at one, by `PR_GET_AUXV` or /proc, neither of
    // which is left afterwards: every record would take two calls.
    let _looked = clock::unix_now();
    let readable = readable();
    let rules: Vec<_> = readable.iter().map(|place| (place, Rights::Read)).collect();
    landlock::restrict(&rules, landlock::level())?;
    seccomp::install(&filter::CALLS.program()?)?;
    Ok(memory)
}

/// Locks all of the process where it may lock as much as it likes. Where it may not, only values of credentials are
/// locked, each as it comes ([`wardroom_kernel::locked`]), and one that cannot be is not held at all.
fn lock_memory() -> Memory {
    let unlimited = Rlimit { current: None, maximum: None };
    // Only root may raise it; the answer is in what is read back.
    let _mostly_refused = setrlimit(Resource::Memlock, unlimited);
    let limit = getrlimit(Resource::Memlock).current;
    if limit.is_some() {
        return Memory::Values { limit };
    }
    // Pages are locked as they come into use: a gate reserves far more than it uses.
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if mlockall(all).is_ok() { Memory::All } else { Memory::Values { limit } }
}

fn drop_capabilities() -> Result<(), HardenError> {
    let at = |step| move |e: rustix::io::Errno| HardenError::Kernel { step, source: e.into() };
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(at("drop capabilities"))?;
    let left = capabilities(None).map_err(at("read capabilities back"))?;
    if (left.effective | left.permitted | left.inheritable).is_empty() {
        Ok(())
    } else {
        Err(HardenError::StillCapable(format!("{left:?}")))
    }
}

/// The resolver's files. Where one is a link into a directory of its own (systemd-resolved, NetworkManager), the directory,
/// so that a replaced file is still read; never all of /etc. A file that does not exist cannot be read later either.
fn readable() -> Vec<File> {
    let places = RESOLVER_FILES.iter().filter_map(|file| place(Path::new(file)));
    // The bundle of authorities is read when the first server is verified; public, and for reading only.
    let bundles = BUNDLES.iter().filter_map(|bundle| Path::new(bundle).canonicalize().ok());
    places.chain(bundles).filter_map(|place| File::open(place).ok()).collect()
}

fn place(file: &Path) -> Option<PathBuf> {
    let target = file.canonicalize().ok()?;
    match target.parent() {
        Some(directory) if directory.starts_with("/run") && directory != Path::new("/run") => {
            Some(directory.to_owned())
        }
        Some(_) | None => Some(target),
    }
}
