//! A probe as a row of data: what is attempted, what shows that the attempt works, and which record it must leave.

use super::outcome::Outcome;
use super::scene::Scene;
use super::trace::Trace;

/// One probe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    /// Its id: the line of attacks that it belongs to, a dot, and its own name.
    pub(crate) id: &'static str,
    /// What is attempted, in plain words.
    pub(crate) title: &'static str,
    /// How.
    pub(crate) attempt: Attempt,
    /// What shows that the attempt works.
    pub(crate) control: Control,
    /// What must be on the ledger.
    pub(crate) expect: Expect,
    /// What must come of it.
    pub(crate) aim: Aim,
    /// Seconds after which an attempt counts as hanging.
    pub(crate) seconds: u32,
}

/// An attempt: either one of the common forms, or a function of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attempt {
    /// A row of `wardroom_kernel::probe::calls`.
    Call(&'static str),
    /// A TCP connection to this address.
    Connect(&'static str),
    /// A UDP datagram to this address, and an answer awaited.
    Send(&'static str),
    /// A question of this type to the resolver, over UDP, for a name that no policy permits.
    Ask(u16),
    /// An open for writing of this path, nothing written.
    OpenToWrite(&'static str),
    /// A new file at this path, removed again.
    Create(&'static str),
    /// The first bytes of this file.
    Read(&'static str),
    /// Anything else.
    Run(fn(&Scene) -> Outcome),
}

/// What shows that an attempt works without the containment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Control {
    /// The same attempt by a plain process outside, as whoever runs `verify`.
    Outside,
    /// The same attempt as root of bare namespaces, with an empty and writable file system over these directories,
    /// in which the file that the attempt is about exists.
    Bare(&'static [&'static str]),
}

/// What must come of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// It must be refused, and quickly: an agent must not hang.
    Refused,
    /// It must be refused, however long it takes.
    RefusedInTime,
    /// It must be let through, and be on record.
    Permitted,
    /// It is permitted or not, but it must be on record as what it was.
    OnRecord,
}

/// The record that an attempt must leave.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    /// A refused system call of this name.
    Privilege(&'static str),
    /// A socket call to the attempt's address, and its refusal by the firewall or the gate.
    Destination,
    /// A refused question for the attempt's name.
    Name,
    /// A change of, or a sensitive look at, a path that contains this text.
    Path(&'static str),
    /// A process that ended by this signal.
    Death(u32),
    /// Something else among the records.
    Records(fn(&Trace<'_>, &Scene) -> Result<String, String>),
    /// Only the program that makes the attempt, because of this.
    Program(&'static str),
}

/// A probe that must be refused at once.
pub(super) const fn probe(
    id: &'static str,
    title: &'static str,
    attempt: Attempt,
    control: Control,
    expect: Expect,
) -> Probe {
    Probe { id, title, attempt, control, expect, aim: Aim::Refused, seconds: 10 }
}

impl Probe {
    /// The same, with another aim.
    pub(super) const fn aims(mut self, aim: Aim) -> Self {
        self.aim = aim;
        self
    }

    /// The same, with this much time.
    pub(super) const fn within(mut self, seconds: u32) -> Self {
        self.seconds = seconds;
        self
    }
}

/// Whether an id is meant by what the operator asked for: `N2` means all of N2 and nothing of N20.
pub(crate) fn is_meant(id: &str, only: &str) -> bool {
    let number = only.ends_with(|c: char| c.is_ascii_digit()) && !only.contains('.');
    id.strip_prefix(only).is_some_and(|rest| !(number && rest.starts_with(|c: char| c.is_ascii_digit())))
}

/// The number of the line of attacks that an id belongs to; 0 for a service.
pub(crate) fn line_number(id: &str) -> u32 {
    let digits: String = id.chars().skip(1).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// The groups of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// What the policy permits works.
    Services,
    /// N: nothing leaves but what the policy names.
    Network,
    /// C: nothing of the host is within reach.
    Cell,
    /// L: the record holds.
    Ledger,
}

impl Layer {
    /// By the first letter of an id.
    pub(crate) fn of(id: &str) -> Self {
        match id.bytes().next() {
            Some(b'N') => Self::Network,
            Some(b'C') => Self::Cell,
            Some(b'L') => Self::Ledger,
            Some(_) | None => Self::Services,
        }
    }

    /// The heading in the table.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Services => "services: what the policy permits is reachable",
            Self::Network => "network: nothing leaves but what the policy names",
            Self::Cell => "cell: nothing of the host is within reach",
            Self::Ledger => "ledger: the record holds",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_not_the_beginning_of_another() {
        assert!(
            is_meant("N2.literal-v4", "N2") && is_meant("N2.literal-v4", "N2.lit") && is_meant("N2.x", "N")
        );
        assert!(!is_meant("N20.narrowed", "N2") && !is_meant("C2.usr", "N2"));
    }
}
