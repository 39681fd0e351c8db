//! The system call filter of a cell, as data: one line a decision, with its reason. What no line names is refused
//! and put on record. This module decides; `wardroom_kernel::seccomp` compiles and installs, the guard answers.
//!
//! Rules of one call are tried in their order. The walls are elsewhere as well (no capability, no other namespace,
//! Landlock): a refusal here is the first one and the one that is seen.

mod table;

use rustix::io::Errno;
use thiserror::Error;
use wardroom_kernel::calls;
use wardroom_kernel::seccomp::{self, Action, FilterRule, Program, SeccompError, Test};

pub use table::{Answer, Audit, Rule};
pub(crate) use table::{CLONE_NEWTIME, NAMESPACES};

/// What of the policy bears on the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterOptions {
    /// Opens for reading go to the guard as well, which compares them with the sensitive paths.
    pub audit_reads: bool,
    /// The agent may trace its own children (debuggers, strace).
    pub may_trace: bool,
}

/// The filter of one cell: compiled into the kernel, and asked again by the guard, which must give the same answer.
#[derive(Debug)]
pub struct Filter {
    /// By call number.
    calls: Vec<Call>,
}

/// Everything about one call number.
#[derive(Debug, Default)]
struct Call {
    name: Option<&'static str>,
    rules: Vec<&'static Rule>,
}

/// Why there is no filter.
#[derive(Debug, Error)]
pub enum FilterError {
    /// An errno outside the range that seccomp can return.
    #[error("{0} is no errno")]
    Errno(i32),
    /// The rules could not be compiled.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
}

impl Filter {
    /// The filter under these options.
    #[must_use]
    pub fn new(options: FilterOptions) -> Self {
        let reads = if options.audit_reads { table::READS_AUDITED } else { table::READS_FREE };
        let tracing = if options.may_trace { table::TRACING_ALLOWED } else { table::TRACING_REFUSED };
        let mut calls: Vec<Call> = Vec::new();
        for rule in table::RULES.iter().chain(reads).chain(tracing).chain(table::ARCHITECTURE) {
            for name in rule.calls {
                // A name that this architecture does not have needs no rule: it has no number to call it by.
                let Some(number) = calls::number(name) else { continue };
                let Ok(at) = usize::try_from(number) else { continue };
                if calls.len() <= at {
                    calls.resize_with(at + 1, Call::default);
                }
                if let Some(call) = calls.get_mut(at) {
                    call.name = Some(name);
                    call.rules.push(rule);
                }
            }
        }
        Self { calls }
    }

    /// The rule that answers this call; none for a call that no rule names, which is refused.
    #[must_use]
    pub fn rule(&self, number: u32, arguments: &[u64; 6]) -> Option<&'static Rule> {
        let rules = &self.calls.get(usize::try_from(number).ok()?)?.rules;
        rules.iter().find(|rule| rule.when.iter().all(|test| holds(*test, arguments))).copied()
    }

    /// The call's name, for records.
    #[must_use]
    pub fn name(&self, number: u32) -> Option<&'static str> {
        let listed =
            usize::try_from(number).ok().and_then(|at| self.calls.get(at)).and_then(|call| call.name);
        listed.or_else(|| calls::name(number))
    }

    /// The filter as the kernel runs it.
    ///
    /// # Errors
    /// Only for a mistake in the table, which the tests would show.
    pub fn compile(&self) -> Result<Program, FilterError> {
        let mut rules = Vec::new();
        for (number, call) in (0..).zip(&self.calls) {
            for rule in &call.rules {
                rules.push(FilterRule { call: number, when: rule.when, action: action(rule.answer)? });
            }
        }
        Ok(seccomp::compile(&rules, Action::Notify)?)
    }
}

fn action(answer: Answer) -> Result<Action, FilterError> {
    match answer {
        Answer::Allow => Ok(Action::Allow),
        Answer::Audit(_) | Answer::Refuse(_) => Ok(Action::Notify),
        Answer::Moot => Ok(Action::Errno(0)),
        Answer::Absent(errno) => {
            let raw = Errno::raw_os_error(errno);
            u16::try_from(raw).map(Action::Errno).map_err(|_range| FilterError::Errno(raw))
        }
    }
}

/// The calls of one kind of audit, for the guard's tests.
#[cfg(test)]
pub(crate) fn audited(kind: Audit) -> impl Iterator<Item = &'static str> {
    let rules = table::RULES.iter().chain(table::READS_AUDITED).chain(table::ARCHITECTURE);
    rules.filter(move |rule| rule.answer == Answer::Audit(kind)).flat_map(|rule| rule.calls).copied()
}

/// Whether a test holds, exactly as the compiled program decides it.
fn holds(test: Test, arguments: &[u64; 6]) -> bool {
    let whole = |arg: u8| arguments.get(usize::from(arg)).copied();
    let low = |arg: u8| whole(arg).and_then(|value| u32::try_from(value & 0xffff_ffff).ok());
    match test {
        Test::Is(arg, value) => low(arg) == Some(value),
        Test::OneOf(arg, values) => low(arg).is_some_and(|low| values.contains(&low)),
        Test::Masked(arg, mask, value) => low(arg).is_some_and(|low| low & mask == value),
        Test::AnyBit(arg, mask) => low(arg).is_some_and(|low| low & mask != 0),
        Test::NonNull(arg) => whole(arg).is_some_and(|value| value != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: FilterOptions = FilterOptions { audit_reads: false, may_trace: false };

    fn answer(options: FilterOptions, name: &str, args: [u64; 6]) -> Option<Answer> {
        let number = calls::number(name).unwrap_or_else(|| panic!("{name}"));
        Filter::new(options).rule(number, &args).map(|rule| rule.answer)
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_name_in_the_table_is_a_system_call() {
        let all = [
            table::RULES,
            table::READS_AUDITED,
            table::READS_FREE,
            table::TRACING_ALLOWED,
            table::TRACING_REFUSED,
            table::ARCHITECTURE,
        ];
        for name in all.concat().iter().flat_map(|rule| rule.calls) {
            assert!(calls::number(name).is_some(), "{name}");
        }
    }

    #[test]
    fn no_rule_stands_behind_one_that_always_answers() {
        for (audit_reads, may_trace) in [(false, false), (true, true)] {
            for call in Filter::new(FilterOptions { audit_reads, may_trace }).calls {
                let always = call.rules.iter().position(|rule| rule.when.is_empty());
                assert!(always.is_none_or(|at| at + 1 == call.rules.len()), "{:?}", call.name);
            }
        }
    }

    #[test]
    fn what_the_table_does_not_know_has_no_rule() {
        assert_eq!(Filter::new(PLAIN).rule(600, &[0; 6]), None);
        assert_eq!(Filter::new(PLAIN).rule(u32::MAX, &[0; 6]), None);
        assert_eq!(answer(PLAIN, "nfsservctl", [0; 6]), None);
    }

    #[test]
    fn sockets_are_unix_tcp_udp_and_route_netlink_only() {
        let socket = |family, kind, protocol| answer(PLAIN, "socket", [family, kind, protocol, 0, 0, 0]);
        for (family, kind, protocol) in
            [(1, 1, 0), (1, 5, 0), (2, 1, 0), (2, 0x80801, 6), (10, 2, 17), (10, 2, 0), (16, 0x80003, 0)]
        {
            assert_eq!(socket(family, kind, protocol), Some(Answer::Allow), "{family} {kind} {protocol}");
        }
        for (family, kind, protocol) in [
            (1, 2, 0),   // Unix datagrams
            (1, 3, 0),   // the same by another name
            (2, 3, 255), // raw
            (2, 2, 1),   // ping
            (10, 2, 58), // ICMPv6
            (2, 1, 262), // MPTCP
            (2, 1, 132), // SCTP
            (2, 5, 132), // SCTP
            (2, 6, 33),  // DCCP
            (16, 3, 15), // uevents
            (16, 3, 12), // netfilter
            (17, 3, 0),  // packet
            (31, 5, 0),  // Bluetooth
            (33, 2, 0),  // RxRPC
            (38, 5, 0),  // AF_ALG
            (40, 1, 0),  // vsock
            (44, 3, 0),  // XDP
        ] {
            let got = socket(family, kind, protocol);
            assert!(matches!(got, Some(Answer::Refuse(_))), "{family} {kind} {protocol}: {got:?}");
        }
    }

    #[test]
    fn high_halves_of_32_bit_arguments_do_not_hide_them() {
        // The kernel reads a socket's family, an open's flags and an ioctl's command as 32 bits.
        assert!(matches!(
            answer(PLAIN, "socket", [17 | 1 << 32, 3, 0, 0, 0, 0]),
            Some(Answer::Refuse(Errno::AFNOSUPPORT))
        ));
        assert!(matches!(answer(PLAIN, "openat", [0, 0, 1 | 1 << 32, 0, 0, 0]), Some(Answer::Audit(_))));
        assert!(matches!(answer(PLAIN, "ioctl", [0, 0x5412 | 1 << 63, 0, 0, 0, 0]), Some(Answer::Refuse(_))));
    }

    #[test]
    fn threads_and_forks_pass_and_new_namespaces_do_not() {
        assert_eq!(answer(PLAIN, "clone", [0x3d0f00, 0, 0, 0, 0, 0]), Some(Answer::Allow));
        assert_eq!(answer(PLAIN, "clone", [0x11, 0, 0, 0, 0, 0]), Some(Answer::Allow));
        for namespace in
            [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
        {
            for call in ["clone", "unshare"] {
                let got = answer(PLAIN, call, [namespace | 0x11, 0, 0, 0, 0, 0]);
                assert_eq!(got, Some(Answer::Refuse(Errno::PERM)), "{call} {namespace:#x}");
            }
        }
        assert_eq!(answer(PLAIN, "unshare", [0x80, 0, 0, 0, 0, 0]), Some(Answer::Refuse(Errno::PERM)));
        assert_eq!(answer(PLAIN, "clone3", [0; 6]), Some(Answer::Audit(Audit::Clone3)));
    }

    #[test]
    fn no_file_gets_a_set_id_bit_however_it_is_made() {
        let refused = Some(Answer::Refuse(Errno::PERM));
        for bit in [0o4000, 0o2000, 0o6000] {
            let mode = 0o755 | bit;
            for (call, args) in [
                ("chmod", [0, mode, 0, 0, 0, 0]),
                ("fchmod", [0, mode | 1 << 40, 0, 0, 0, 0]),
                ("fchmodat", [0, 0, mode, 0, 0, 0]),
                ("fchmodat2", [0, 0, mode, 0, 0, 0]),
                ("creat", [0, mode, 0, 0, 0, 0]),
                ("open", [0, 0o101, mode, 0, 0, 0]),
                ("openat", [0, 0, 0o100, mode, 0, 0]),
                ("openat", [0, 0, 0o20_200_002, mode, 0, 0]),
                ("mknod", [0, 0o100_000 | mode, 0, 0, 0, 0]),
                ("mknodat", [0, 0, 0o10_000 | mode, 0, 0, 0]),
            ] {
                assert_eq!(answer(PLAIN, call, args), refused, "{call} {mode:o}");
            }
        }
        // What the kernel would not read as a mode is none.
        assert!(matches!(answer(PLAIN, "openat", [0, 0, 1, 0o6755, 0, 0]), Some(Answer::Audit(_))));
        assert!(matches!(answer(PLAIN, "chmod", [0, 0o1777, 0, 0, 0, 0]), Some(Answer::Audit(_))));
        // Its mode lies in memory.
        assert_eq!(answer(PLAIN, "openat2", [0; 6]), Some(Answer::Absent(Errno::NOSYS)));
    }

    #[test]
    fn ids_may_be_set_to_what_they_are() {
        let keep = u64::from(u32::MAX);
        assert_eq!(answer(PLAIN, "setresuid", [1000, keep, 1000, 0, 0, 0]), Some(Answer::Allow));
        assert_eq!(answer(PLAIN, "setresuid", [1000, 0, 1000, 0, 0, 0]), Some(Answer::Refuse(Errno::PERM)));
        assert_eq!(answer(PLAIN, "setuid", [0; 6]), Some(Answer::Refuse(Errno::PERM)));
        assert_eq!(answer(PLAIN, "setgid", [1000, 0, 0, 0, 0, 0]), Some(Answer::Allow));
    }

    #[test]
    fn reads_are_asked_about_only_when_the_policy_says_so() {
        let audit_reads = FilterOptions { audit_reads: true, may_trace: false };
        assert_eq!(answer(PLAIN, "openat", [0, 0, 0o2_000_000, 0, 0, 0]), Some(Answer::Allow));
        assert!(matches!(answer(audit_reads, "openat", [0; 6]), Some(Answer::Audit(_))));
        // What would not wait for a canary's lease, unless it can only be a directory.
        let directory: u64 = if cfg!(target_arch = "x86_64") { 0o200_000 } else { 0o40_000 };
        assert!(matches!(answer(PLAIN, "openat", [0, 0, 0o4000, 0, 0, 0]), Some(Answer::Audit(_))));
        assert_eq!(answer(PLAIN, "openat", [0, 0, 0o4000 | directory, 0, 0, 0]), Some(Answer::Allow));
    }

    #[test]
    fn init_s_limits_and_scheduling_are_its_own_and_cores_stay_off() {
        let refused = Some(Answer::Refuse(Errno::PERM));
        for (call, args) in [
            ("prlimit64", [1, 7, 0xbeef, 0, 0, 0]),
            ("prlimit64", [1 | 1 << 32, 4, 0xbeef, 0, 0, 0]),
            ("sched_setaffinity", [1, 8, 0xbeef, 0, 0, 0]),
            ("sched_setscheduler", [1, 5, 0xbeef, 0, 0, 0]),
            ("setpriority", [0, 1, 19, 0, 0, 0]),
            ("setpriority", [2, 1000, 19, 0, 0, 0]),
            ("ioprio_set", [3, 1000, 0, 0, 0, 0]),
        ] {
            assert_eq!(answer(PLAIN, call, args), refused, "{call} {args:?}");
        }
        assert_eq!(answer(PLAIN, "prlimit64", [0, 4, 0xbeef, 0, 0, 0]), Some(Answer::Moot));
        assert_eq!(answer(PLAIN, "setrlimit", [4, 0xbeef, 0, 0, 0, 0]), Some(Answer::Moot));
        for (call, args) in [
            ("prlimit64", [0, 4, 0, 0xbeef, 0, 0]),
            ("prlimit64", [0, 7, 0xbeef, 0, 0, 0]),
            ("setpriority", [0, 0, 19, 0, 0, 0]),
            ("fcntl", [3, 6, 0xbeef, 0, 0, 0]),
        ] {
            assert_eq!(answer(PLAIN, call, args), Some(Answer::Allow), "{call} {args:?}");
        }
        assert_eq!(answer(PLAIN, "fcntl", [3, 1024, 0, 0, 0, 0]), Some(Answer::Refuse(Errno::INVAL)));
    }

    #[test]
    fn no_key_of_an_encrypted_directory_is_added_or_removed() {
        // FS_IOC_ADD_ENCRYPTION_KEY, FS_IOC_REMOVE_ENCRYPTION_KEY, FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS
        for request in [0xc050_6617, 0xc040_6618, 0xc040_6619] {
            let got = answer(PLAIN, "ioctl", [3, request, 0xbeef, 0, 0, 0]);
            assert_eq!(got, Some(Answer::Refuse(Errno::OPNOTSUPP)), "{request:#x}");
        }
    }

    #[test]
    fn huge_pages_are_as_on_a_machine_without() {
        for (call, args, plain) in [
            ("mmap", [0, 0x20_0000, 3, 0x4_0022, 0, 0], [0, 0x20_0000, 3, 0x22, 0, 0]),
            ("memfd_create", [0xbeef, 5, 0, 0, 0, 0], [0xbeef, 3, 0, 0, 0, 0]),
            ("shmget", [0, 0x20_0000, 0o5600, 0, 0, 0], [0, 0x20_0000, 0o1600, 0, 0, 0]),
        ] {
            assert_eq!(answer(PLAIN, call, args), Some(Answer::Absent(Errno::NOMEM)), "{call}");
            assert_eq!(answer(PLAIN, call, plain), Some(Answer::Allow), "{call}");
        }
    }

    #[test]
    fn tracing_is_refused_unless_the_policy_says_so() {
        let may_trace = FilterOptions { audit_reads: false, may_trace: true };
        for call in ["ptrace", "process_vm_readv", "process_vm_writev"] {
            assert_eq!(answer(PLAIN, call, [0; 6]), Some(Answer::Refuse(Errno::PERM)));
            assert_eq!(answer(may_trace, call, [0; 6]), Some(Answer::Allow));
        }
    }

    #[test]
    fn the_filter_compiles() {
        for (audit_reads, may_trace) in [(false, false), (true, false), (false, true)] {
            Filter::new(FilterOptions { audit_reads, may_trace }).compile().unwrap();
        }
    }
}
