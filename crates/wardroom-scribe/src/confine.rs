//! What the scribe gives up before it takes its first record. What it reads came through a process that parses an agent's
//! bytes, and it holds the signing key: its two directories are all of the file system that it may touch, its files and rings
//! all that it may ask the kernel about, and nobody may look into its memory.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;
use thiserror::Error;
use wardroom_kernel::landlock::{self, LandlockError, Rights};
use wardroom_kernel::seccomp::{self, SeccompError};

use crate::filter;
use crate::place::Place;

/// Why the scribe cannot be confined. It must then not serve.
#[derive(Debug, Error)]
pub enum ConfineError {
    /// The kernel refused a step.
    #[error("the scribe cannot {step}: {errno}")]
    Kernel {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        errno: rustix::io::Errno,
    },
    /// The files could not be given up.
    #[error(transparent)]
    Files(#[from] LandlockError),
    /// The system calls could not be given up.
    #[error(transparent)]
    Calls(#[from] SeccompError),
}

/// Gives everything up but these places and what is done with them, for the calling process and for good.
pub(crate) fn confine(places: &[Place]) -> Result<(), ConfineError> {
    let at = |step| move |errno| ConfineError::Kernel { step, errno };
    set_no_new_privs(true).map_err(at("set no_new_privs"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("forbid core dumps"))?;
    let rules: Vec<_> = places.iter().map(|place| (place, Rights::ReadWriteExecute)).collect();
    landlock::restrict(&rules, landlock::level())?;
    Ok(seccomp::install(&filter::CALLS.program()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
    fn a_confined_scribe_reaches_its_own_directories_and_nothing_else() {
        if landlock::level() < landlock::LOWEST {
            eprintln!("SKIPPED: a_confined_scribe: Landlock level {}", landlock::level());
            return;
        }
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(other.path().join("key"), "x").unwrap();
        std::fs::set_permissions(own.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        // Only the thread that asks is confined, and here that is one of its own.
        let tried = std::thread::scope(|scope| {
            let tried = scope.spawn(|| {
                confine(&[Place::open_or_create(own.path()).unwrap()]).unwrap();
                let again = Place::open_or_create(own.path()).is_ok();
                let wrote = std::fs::write(own.path().join("segment"), "x").is_ok();
                let spoke = std::os::unix::net::UnixStream::pair().is_ok();
                let threads = std::thread::spawn(|| 1).join().unwrap();
                assert_eq!(threads, 1);
                let signalled = rustix::process::test_kill_process(rustix::process::getpid()).is_ok();
                (again, wrote, std::fs::read(other.path().join("key")).is_ok(), spoke, signalled)
            });
            tried.join().unwrap()
        });
        assert_eq!(tried, (true, true, false, false, false));
    }
}
