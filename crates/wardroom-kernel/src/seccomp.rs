//! The seccomp filter: rules in, a BPF program out, installed with a listener. It never decides what a rule says;
//! `wardroom-cell`'s filter table does.
//!
//! A program checks the architecture first: a call from another one (ia32) or of the x32 table kills the process,
//! for their numbers mean other calls. A balanced tree then finds the rules of the call; a call that has none gets
//! the answer for the unknown. Calls whose answer never depends on arguments are additionally answered by the kernel
//! from a bitmap (Linux 5.11), without running the program.
#![expect(unsafe_code, reason = "seccomp(2) and prctl(2) for it have no safe wrapper")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use libc::sock_filter;
use thiserror::Error;

/// What becomes of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    Allow,
    /// The guard is asked.
    Notify,
    /// It fails with this errno.
    Errno(u16),
    /// The whole process dies with SIGSYS.
    KillProcess,
}

/// A condition on one argument. The kernel itself reads flags and options as 32 bits, so these do too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// The argument is this value.
    Is(u8, u32),
    /// The argument is one of these values.
    OneOf(u8, &'static [u32]),
    /// The argument's bits under the mask (second) are this value (third).
    Masked(u8, u32, u32),
    /// At least one of these bits is set.
    AnyBit(u8, u32),
    /// The argument, all 64 bits of it, is not zero.
    NonNull(u8),
}

/// One rule. Rules of one call are tried in their order, and the first whose tests all hold answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterRule {
    /// The call's number.
    pub call: u32,
    /// What must hold; nothing means always.
    pub when: &'static [Test],
    /// What then becomes of the call.
    pub action: Action,
}

/// Why there is no filter.
#[derive(Debug, Error)]
pub enum SeccompError {
    /// A rule tests an argument that does not exist, or with more values than a jump reaches.
    #[error("the rule for system call {call} cannot be compiled: {why}")]
    Rule {
        /// The call's number.
        call: u32,
        /// What is wrong.
        why: &'static str,
    },
    /// No rule at all: a filter that was meant to be one.
    #[error("an empty filter is no filter")]
    Empty,
    /// The program is longer than the kernel takes.
    #[error("the filter has {0} instructions, the kernel takes 4096")]
    TooLong(usize),
    /// This architecture has no table.
    #[error("no system call filter exists for this architecture")]
    Architecture,
    /// `no_new_privs` is not set, so that a set-id program could be confused by the filter.
    #[error("no_new_privs must be set before the filter")]
    NewPrivileges,
    /// The kernel refused.
    #[error("the kernel refused the filter (seccomp with listener and WAIT_KILLABLE_RECV, Linux 5.19): {0}")]
    Kernel(io::Error),
    /// The kernel took the filter, and says that there is none.
    #[error("the kernel reports seccomp mode {0} after the filter was installed")]
    NotInForce(i32),
}

/// A compiled filter.
#[derive(Clone)]
pub struct Program(Vec<sock_filter>);

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Program({} instructions)", self.0.len())
    }
}

impl Program {
    /// The number of instructions.
    #[must_use]
    pub fn instructions(&self) -> usize {
        self.0.len()
    }
}

/// Compiles rules; a call without a rule gets `otherwise`.
///
/// # Errors
/// A rule that cannot be expressed, no rules, or too many.
pub fn compile(rules: &[FilterRule], otherwise: Action) -> Result<Program, SeccompError> {
    let mut calls: BTreeMap<u32, Vec<FilterRule>> = BTreeMap::new();
    for rule in rules {
        calls.entry(rule.call).or_default().push(*rule);
    }
    if calls.is_empty() {
        return Err(SeccompError::Empty);
    }
    let tree = tree(&intervals(&calls, otherwise)?);
    let mut program = vec![
        load(ARCH_OFFSET),
        jump(JEQ, NATIVE_ARCH.ok_or(SeccompError::Architecture)?, 1, 0),
        ret(Action::KillProcess),
        load(NR_OFFSET),
    ];
    if cfg!(target_arch = "x86_64") {
        program.extend([jump(JGE, X32_BIT, 0, 1), ret(Action::KillProcess)]);
    }
    program.extend(tree);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(SeccompError::TooLong(program.len()));
    }
    Ok(Program(program))
}

/// Installs the filter for the calling thread and all its children, for good, and returns the listener on which
/// the guard is asked. `no_new_privs` must be set. Call it last: the caller's own calls are filtered from here on.
///
/// A process that waits for the guard can be killed but not otherwise interrupted (`WAIT_KILLABLE_RECV`), so that no
/// call is announced twice.
///
/// # Errors
/// Any refusal by the kernel. Nothing is in force then, and the cell must not start.
pub fn install_with_listener(program: &Program) -> Result<OwnedFd, SeccompError> {
    if prctl(libc::PR_GET_NO_NEW_PRIVS) != 1 {
        return Err(SeccompError::NewPrivileges);
    }
    let length =
        u16::try_from(program.0.len()).map_err(|_too_long| SeccompError::TooLong(program.0.len()))?;
    let raw = libc::sock_fprog { len: length, filter: program.0.as_ptr().cast_mut() };
    // SAFETY: seccomp(SET_MODE_FILTER) reads `len` instructions at `filter`, which live in `program` until after the
    // call, and writes nothing.
    let got = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
            &raw const raw,
        )
    };
    let Ok(fd @ 0..) = i32::try_from(got) else {
        return Err(SeccompError::Kernel(io::Error::last_os_error()));
    };
    // SAFETY: the kernel just made this descriptor, close-on-exec, and nothing else owns it.
    let listener = unsafe { OwnedFd::from_raw_fd(fd) };
    match prctl(libc::PR_GET_SECCOMP) {
        SECCOMP_MODE_FILTER => Ok(listener),
        mode => Err(SeccompError::NotInForce(mode)),
    }
}

/// Installs a filter that asks nobody, for the calling thread and all its children: for our own processes, to hold
/// them to what they need. No answer may be [`Action::Notify`].
///
/// # Errors
/// As [`install_with_listener`].
pub fn install(program: &Program) -> Result<(), SeccompError> {
    if prctl(libc::PR_GET_NO_NEW_PRIVS) != 1 {
        return Err(SeccompError::NewPrivileges);
    }
    let length =
        u16::try_from(program.0.len()).map_err(|_too_long| SeccompError::TooLong(program.0.len()))?;
    let raw = libc::sock_fprog { len: length, filter: program.0.as_ptr().cast_mut() };
    // SAFETY: as above.
    let got =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0_u64, &raw const raw) };
    if got != 0 {
        return Err(SeccompError::Kernel(io::Error::last_os_error()));
    }
    match prctl(libc::PR_GET_SECCOMP) {
        SECCOMP_MODE_FILTER => Ok(()),
        mode => Err(SeccompError::NotInForce(mode)),
    }
}

fn prctl(option: i32) -> i32 {
    // SAFETY: both options used here take no pointer; unused arguments must be zero.
    unsafe { libc::prctl(option, 0, 0, 0, 0) }
}

/// The number line cut into intervals of one answer each: first number, and the code that answers.
fn intervals(
    calls: &BTreeMap<u32, Vec<FilterRule>>,
    otherwise: Action,
) -> Result<Vec<(u32, Vec<sock_filter>)>, SeccompError> {
    let unknown = vec![ret(otherwise)];
    let mut cut: Vec<(u32, Vec<sock_filter>)> = Vec::new();
    let mut next = 0;
    let mut push = |start: u32, code: Vec<sock_filter>| {
        if cut.last().is_none_or(|(_, last)| !same(last, &code)) {
            cut.push((start, code));
        }
    };
    for (&call, rules) in calls {
        if call > next {
            push(next, unknown.clone());
        }
        push(call, answer(rules, otherwise)?);
        next = call.saturating_add(1);
    }
    push(next, unknown);
    Ok(cut)
}

/// A balanced search tree over intervals. The accumulator holds the call's number.
fn tree(intervals: &[(u32, Vec<sock_filter>)]) -> Vec<sock_filter> {
    let (left, right) = intervals.split_at(intervals.len() / 2);
    let Some((pivot, code)) = right.first() else { return Vec::new() };
    if left.is_empty() {
        return code.clone();
    }
    let (left, right) = (tree(left), tree(right));
    let mut out = match u8::try_from(left.len()) {
        Ok(over) => vec![jump(JGE, *pivot, over, 0)],
        Err(_far) => {
            let over = u32::try_from(left.len()).unwrap_or(u32::MAX);
            vec![jump(JGE, *pivot, 0, 1), instruction(JA, over)]
        }
    };
    out.extend(left);
    out.extend(right);
    out
}

/// The code that answers one call: its rules in order, then the answer for the unknown.
fn answer(rules: &[FilterRule], otherwise: Action) -> Result<Vec<sock_filter>, SeccompError> {
    let mut out = Vec::new();
    for rule in rules {
        let mut code = Vec::new();
        for test in rule.when {
            code.extend(condition(*test, rule.call)?);
        }
        code.push(ret(rule.action));
        let length = code.len();
        for (at, instruction) in code.iter_mut().enumerate() {
            let over = u8::try_from(length - at - 1)
                .ok()
                .filter(|over| *over < FAILED)
                .ok_or(SeccompError::Rule { call: rule.call, why: "too many tests" })?;
            if instruction.jt == FAILED {
                instruction.jt = over;
            }
            if instruction.jf == FAILED {
                instruction.jf = over;
            }
        }
        out.extend(code);
        if rule.when.is_empty() {
            return Ok(out);
        }
    }
    out.push(ret(otherwise));
    Ok(out)
}

/// The code of one test: falls through when it holds, and jumps to [`FAILED`] when not.
fn condition(test: Test, call: u32) -> Result<Vec<sock_filter>, SeccompError> {
    let low = |arg: u8| match arg {
        0..6 => Ok(load(ARGS_OFFSET + u32::from(arg) * 8)),
        _ => Err(SeccompError::Rule { call, why: "a system call has six arguments" }),
    };
    Ok(match test {
        Test::Is(arg, value) => vec![low(arg)?, jump(JEQ, value, 0, FAILED)],
        Test::Masked(arg, mask, value) => {
            vec![low(arg)?, instruction(AND, mask), jump(JEQ, value, 0, FAILED)]
        }
        Test::AnyBit(arg, mask) => vec![low(arg)?, jump(JSET, mask, 0, FAILED)],
        Test::NonNull(arg) => {
            let high = sock_filter { k: low(arg)?.k + 4, ..low(arg)? };
            vec![low(arg)?, jump(JEQ, 0, 0, 2), high, jump(JEQ, 0, FAILED, 0)]
        }
        Test::OneOf(arg, values) => {
            let mut code = vec![low(arg)?];
            for (at, value) in values.iter().enumerate() {
                let rest = u8::try_from(values.len() - at - 1)
                    .ok()
                    .filter(|rest| *rest < FAILED)
                    .ok_or(SeccompError::Rule { call, why: "too many values" })?;
                code.push(jump(JEQ, *value, rest, if rest == 0 { FAILED } else { 0 }));
            }
            code
        }
    })
}

fn same(a: &[sock_filter], b: &[sock_filter]) -> bool {
    let parts = |code: &[sock_filter]| -> Vec<(u16, u8, u8, u32)> {
        code.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect()
    };
    parts(a) == parts(b)
}

fn load(offset: u32) -> sock_filter {
    instruction(LD_ABS, offset)
}

fn ret(action: Action) -> sock_filter {
    instruction(
        RET,
        match action {
            Action::Allow => libc::SECCOMP_RET_ALLOW,
            Action::Notify => libc::SECCOMP_RET_USER_NOTIF,
            Action::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
            Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        },
    )
}

fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Stands for "this test does not hold" until the rule's length is known.
const FAILED: u8 = u8::MAX;

// Offsets in `struct seccomp_data`; both supported architectures are little endian, so the low half comes first.
const NR_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
const ARGS_OFFSET: u32 = 16;

/// `BPF_MAXINSNS` of `linux/bpf_common.h`.
const MAX_INSTRUCTIONS: usize = 4096;
/// `__X32_SYSCALL_BIT`: from here on, x32's numbers.
const X32_BIT: u32 = 0x4000_0000;
/// `SECCOMP_MODE_FILTER` as `PR_GET_SECCOMP` returns it.
const SECCOMP_MODE_FILTER: i32 = 2;
/// `AUDIT_ARCH_*` of `linux/audit.h`: the ELF machine, 64 bit, little endian.
const NATIVE_ARCH: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};

// Classic BPF, `linux/bpf_common.h`.
const LD_ABS: u16 = 0x20;
const AND: u16 = 0x54;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would, on one call.
    fn run(program: &Program, arch: u32, nr: u32, args: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            NR_OFFSET => nr,
            ARCH_OFFSET => arch,
            _ => {
                let arg = args[usize::try_from((offset - ARGS_OFFSET) / 8).unwrap()];
                u32::try_from(if offset.is_multiple_of(8) { arg & 0xffff_ffff } else { arg >> 32 }).unwrap()
            }
        };
        let (mut at, mut a) = (0, 0);
        loop {
            let i = program.0[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
            match i.code {
                LD_ABS => a = word(i.k),
                AND => a &= i.k,
                JA => at += usize::try_from(i.k).unwrap(),
                JEQ => at += jump(a == i.k),
                JGE => at += jump(a >= i.k),
                JSET => at += jump(a & i.k != 0),
                RET => return i.k,
                code => panic!("{code}"),
            }
        }
    }

    fn rule(call: u32, when: &'static [Test], action: Action) -> FilterRule {
        FilterRule { call, when, action }
    }

    #[test]
    fn every_call_gets_the_answer_of_its_first_matching_rule_and_the_unknown_theirs() {
        // Enough conditional rules that jumps pass 255 instructions.
        let mut rules = Vec::new();
        for call in 0..400 {
            if call % 7 != 3 {
                rules.push(rule(call, &[Test::AnyBit(1, 0x41), Test::Is(0, 9)], Action::Errno(1)));
                rules.push(rule(call, &[Test::OneOf(2, &[5, 6, 7])], Action::Notify));
                rules.push(rule(call, &[Test::Masked(3, 0xf, 2), Test::NonNull(4)], Action::Allow));
            }
        }
        let program = compile(&rules, Action::Errno(38)).unwrap();
        let arch = NATIVE_ARCH.unwrap();
        for call in 0..420 {
            let known = call < 400 && call % 7 != 3;
            let expect = |action: Action, args| {
                let action = if known { action } else { Action::Errno(38) };
                assert_eq!(run(&program, arch, call, args), ret(action).k, "{call} {args:?}");
            };
            expect(Action::Errno(1), [9, 0x40, 5, 0, 0, 0]);
            expect(Action::Notify, [9, 0x2, 5, 0, 0, 0]);
            expect(Action::Notify, [8, 0x1, 7, 0, 0, 0]);
            expect(Action::Allow, [8, 0x1, 8, 0xf2, 1 << 40, 0]);
            expect(Action::Allow, [8, 0x1, 8, 0xf2, 1, 0]);
            expect(Action::Errno(38), [8, 0x1, 8, 0xf2, 0, 0]);
            expect(Action::Errno(38), [8, 0x1, 8, 0xf3, 1, 0]);
        }
    }

    #[test]
    fn calls_of_other_architectures_and_x32_kill_the_process() {
        let program = compile(&[rule(0, &[], Action::Allow)], Action::Notify).unwrap();
        let arch = NATIVE_ARCH.unwrap();
        assert_eq!(run(&program, arch, 0, [0; 6]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(run(&program, 0x4000_0003, 0, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(run(&program, arch, X32_BIT, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
            assert_eq!(run(&program, arch, u32::MAX, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }

    #[test]
    fn an_empty_filter_is_an_error() {
        assert!(matches!(compile(&[], Action::Notify), Err(SeccompError::Empty)));
    }

    #[test]
    fn a_test_of_a_seventh_argument_is_an_error() {
        let rules = [rule(1, &[Test::Is(6, 0)], Action::Allow)];
        assert!(matches!(compile(&rules, Action::Notify), Err(SeccompError::Rule { call: 1, .. })));
    }
}
