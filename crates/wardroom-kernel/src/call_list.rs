//! The filter of one of Wardroom's own processes: a list of the calls it makes, besides those that every program of ours
//! makes by itself. Which they are is the process's own to say.

use std::iter::once;

use crate::calls;
use crate::seccomp::{Action, FilterRule, Program, SeccompError, Test, compile};

/// What a process may call. Anything else fails with EPERM; so does memory that is to hold code.
#[derive(Debug, Clone, Copy)]
pub struct CallList {
    /// Calls, and what must hold for each of them; nothing means that it is always permitted.
    pub permitted: &'static [(&'static [&'static str], &'static [Test])],
    /// Calls that are answered as by a kernel without them (ENOSYS): libraries try them first, and then do with others.
    pub absent: &'static [&'static str],
}

impl CallList {
    /// Compiles the filter.
    ///
    /// # Errors
    /// A condition that cannot be expressed, or too many calls.
    pub fn program(&self) -> Result<Program, SeccompError> {
        let absent = numbers(self.absent).map(|call| rule(call, &[], Action::Errno(ENOSYS)));
        let permitted = self
            .all()
            .flat_map(|(names, when)| numbers(names).map(move |call| rule(call, when, Action::Allow)));
        compile(&permitted.chain(absent).collect::<Vec<_>>(), Action::Errno(EPERM))
    }

    /// The calls it names that this architecture does not have.
    pub fn unknown(&self) -> impl Iterator<Item = &'static str> {
        let named = self.all().map(|(names, _)| names).chain(once(self.absent));
        named.flatten().copied().filter(|name| calls::number(name).is_none())
    }

    fn all(&self) -> impl Iterator<Item = (&'static [&'static str], &'static [Test])> {
        let everywhere: [(_, &[Test]); 2] = [(BY_ITSELF, &[]), (MEMORY, NOT_EXECUTABLE)];
        everywhere.into_iter().chain(self.permitted.iter().copied())
    }
}

fn numbers(names: &'static [&'static str]) -> impl Iterator<Item = u32> {
    names.iter().filter_map(|name| calls::number(name))
}

fn rule(call: u32, when: &'static [Test], action: Action) -> FilterRule {
    FilterRule { call, when, action }
}

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// Memory, locks, time and chance; threads' and processes' ends, signals, and what the C library does by itself.
const BY_ITSELF: &[&str] = &[
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "futex",
    "clock_gettime",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "getrandom",
    "sched_yield",
    "exit",
    "exit_group",
    "rt_sigreturn",
    "rt_sigaction",
    "rt_sigprocmask",
    "sigaltstack",
    "restart_syscall",
    "set_robust_list",
    "rseq",
    "membarrier",
    "getpid",
    "gettid",
    "tgkill",
];

/// Memory, unless it is to hold code.
const MEMORY: &[&str] = &["mmap", "mprotect"];
/// `PROT_EXEC` in the third argument is not set.
const NOT_EXECUTABLE: &[Test] = &[Test::Masked(2, 4, 0)];
