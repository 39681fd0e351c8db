//! What the broker gives up before it opens its first secret. It talks with servers of the outside, so whoever takes it
//! over by one of their answers is to find nothing but the secrets that it holds anyway: no other file, no program to
//! start, no other process to look into. And its memory is to leave the machine neither as a core nor by the swap.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::set_no_new_privs;
use thiserror::Error;
use wardroom_kernel::calls;
use wardroom_kernel::landlock::{self, LandlockError, Rights};
use wardroom_kernel::seccomp::{self, Action, FilterRule, SeccompError, Test, compile};

/// What the host's resolvers and their modules read: settings, libraries, and where systemd and NetworkManager put theirs.
const RESOLVING: [&str; 13] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
];

/// Why the broker cannot be confined. It must then not serve.
#[derive(Debug, Error)]
pub enum ConfineError {
    /// The kernel refused a step.
    #[error("the broker cannot {step}: {errno}")]
    Kernel {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        errno: rustix::io::Errno,
    },
    /// The store's directory.
    #[error("cannot open {path}")]
    Store {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The files could not be given up.
    #[error(transparent)]
    Files(#[from] LandlockError),
    /// The system calls could not be given up.
    #[error(transparent)]
    Calls(#[from] SeccompError),
}

/// Gives everything up but the store and what it takes to ask servers. Says whether the memory is kept out of the swap.
pub(crate) fn confine(store: &Path, write: bool, authorities: &[PathBuf]) -> Result<bool, ConfineError> {
    let at = |step| move |errno| ConfineError::Kernel { step, errno };
    set_no_new_privs(true).map_err(at("set no_new_privs"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("forbid core dumps"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(at("limit cores to nothing"))?;
    let locked = lock_memory();
    let failed = |source| ConfineError::Store { path: store.to_owned(), source };
    let rights = if write { Rights::ReadWriteExecute } else { Rights::Read };
    let mut places = vec![(File::open(store).map_err(failed)?, rights)];
    let readable = RESOLVING.iter().map(Path::new).chain(authorities.iter().map(PathBuf::as_path));
    // What is not there cannot be read later either.
    places.extend(readable.filter_map(|place| Some((File::open(place).ok()?, Rights::Read))));
    let rules: Vec<_> = places.iter().map(|(place, rights)| (place, *rights)).collect();
    landlock::restrict(&rules, landlock::level())?;
    seccomp::install(&compile(&refused(), Action::Allow)?)?;
    Ok(locked)
}

/// Keeps all memory in place, where the limit of this user (`ulimit -l`) lets it.
fn lock_memory() -> bool {
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).is_ok()
}

/// Calls that fail: those that start programs, look into other processes, or change the system.
fn refused() -> Vec<FilterRule> {
    const EPERM: u16 = 1;
    let refuse = |call, when| FilterRule { call, when, action: Action::Errno(EPERM) };
    let mut rules: Vec<_> =
        REFUSED.iter().filter_map(|name| calls::number(name)).map(|call| refuse(call, &[])).collect();
    // getaddrinfo asks netlink for the host's addresses, and nscd or resolved over a Unix socket.
    let allow = |call| FilterRule { call, when: SOCKETS, action: Action::Allow };
    if let Some(call) = calls::number("socket") {
        rules.extend([allow(call), refuse(call, &[])]);
    }
    rules
}

/// Unix, IPv4, IPv6, netlink.
const SOCKETS: &[Test] = &[Test::OneOf(0, &[1, 2, 10, 16])];

const REFUSED: &[&str] = &[
    "execve",
    "execveat",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "kcmp",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "mount",
    "umount2",
    "move_mount",
    "open_tree",
    "fsopen",
    "pivot_root",
    "chroot",
    "unshare",
    "setns",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "add_key",
    "keyctl",
    "request_key",
    "reboot",
    "swapon",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
    fn a_confined_broker_reaches_its_store_and_no_other_file() {
        if landlock::level() < landlock::LOWEST {
            eprintln!("SKIPPED: a_confined_broker: Landlock level {}", landlock::level());
            return;
        }
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(own.path().join("key.age"), "x").unwrap();
        std::fs::write(other.path().join("key.age"), "x").unwrap();
        // A child of our own would be cleaner; a thread is confined alone, and does for the files.
        let tried = std::thread::scope(|scope| {
            let tried = scope.spawn(|| {
                let places = [(File::open(own.path()).unwrap(), Rights::Read)];
                set_no_new_privs(true).unwrap();
                let rules: Vec<_> = places.iter().map(|(place, rights)| (place, *rights)).collect();
                landlock::restrict(&rules, landlock::level()).unwrap();
                seccomp::install(&compile(&refused(), Action::Allow).unwrap()).unwrap();
                let read = std::fs::read(own.path().join("key.age")).is_ok();
                let wrote = std::fs::write(own.path().join("new"), "x").is_ok();
                let started =
                    crate::run::run(&["/bin/true".to_owned()], b"", std::time::Duration::from_secs(5));
                (read, wrote, std::fs::read(other.path().join("key.age")).is_ok(), started.is_ok())
            });
            tried.join().unwrap()
        });
        assert_eq!(tried, (true, false, false, false));
    }
}
