//! System calls that no agent needs, as data: one row a call, with arguments that harm nothing if they are let
//! through, and the answers that show that the kernel looked at the request itself.

#![expect(unsafe_code, reason = "raw system calls with the arguments of a table")]

use std::ffi::CStr;

use rustix::io::Errno;

mod table;

pub use table::CALLS;

/// One attempt.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// What the probe table calls it: the system call's name, with a variant after a dot.
    pub name: &'static str,
    number: libc::c_long,
    arguments: &'static [Argument],
    reached: &'static [Errno],
}

/// An argument. None of them lets the kernel write to memory of ours, except [`Argument::Scratch`].
#[derive(Debug, Clone, Copy)]
enum Argument {
    /// A number.
    Number(usize),
    /// A number below zero, such as a descriptor that cannot be.
    Negative(isize),
    /// A path or another text.
    Text(&'static CStr),
    /// A structure of 64-bit words that the kernel reads.
    Words(&'static [u64]),
    /// [`SCRATCH_BYTES`] zeroed bytes that the kernel may read and write.
    Scratch,
}

/// More than any structure that a call of the table fills (`struct io_uring_params` has 120 bytes).
const SCRATCH_BYTES: usize = 512;

/// What the kernel, or whoever stands before it, answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The call was carried out.
    Done,
    /// The kernel considered the request, and declined it for what it says and not for who asks.
    Reached(Errno),
    /// Refused.
    Refused(Errno),
}

impl Call {
    /// The row of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        CALLS.iter().find(|call| call.name == name)
    }

    /// Makes the call. What it opens stays open, and what it changes in this process stays changed: it is meant
    /// for a process that ends right after.
    #[must_use]
    pub fn make(&self) -> Answer {
        let mut scratch = [0_u8; SCRATCH_BYTES];
        let mut words = [0_usize; 6];
        for (word, argument) in words.iter_mut().zip(self.arguments) {
            *word = match argument {
                Argument::Number(number) => *number,
                Argument::Negative(number) => number.cast_unsigned(),
                Argument::Text(text) => text.as_ptr().expose_provenance(),
                Argument::Words(structure) => structure.as_ptr().expose_provenance(),
                Argument::Scratch => scratch.as_mut_ptr().expose_provenance(),
            };
        }
        let [a, b, c, d, e, f] = words;
        // SAFETY: syscall(2) requires that pointers among the arguments suit the call. The table is the only source
        // of rows: texts are NUL-terminated and static, structures have the length that the row states, and the one
        // writable argument outlives the call and is larger than what any row's call writes.
        let returned = unsafe { libc::syscall(self.number, a, b, c, d, e, f) };
        if returned >= 0 {
            return Answer::Done;
        }
        let errno = super::process::last_errno();
        if self.reached.contains(&errno) { Answer::Reached(errno) } else { Answer::Refused(errno) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = CALLS.iter().map(|call| call.name).collect();
        assert_eq!(names.len(), CALLS.len());
    }

    #[test]
    fn no_row_counts_a_refusal_for_lack_of_privilege_as_reaching_the_kernel() {
        for call in CALLS {
            assert!(!call.reached.contains(&Errno::PERM), "{}", call.name);
        }
    }

    #[test]
    fn a_call_that_everybody_may_make_is_done() {
        let call = Call { name: "getpid", number: libc::SYS_getpid, arguments: &[], reached: &[] };
        assert_eq!(call.make(), Answer::Done);
    }
}
