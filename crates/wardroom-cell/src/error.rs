//! What can go wrong with a cell, split by whose fault it is, each with its remedy.

use std::io;
use std::path::PathBuf;

use minicbor::{Decode, Encode};
use rustix::io::Errno;
use thiserror::Error;

/// Why there is no cell. Nothing is left behind when one of these is returned.
#[derive(Debug, Error)]
pub enum CellError {
    /// The kernel lacks something that a cell cannot do without.
    #[error("this kernel has no {feature}; {remedy}")]
    Missing {
        /// What it lacks.
        feature: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The kernel has user namespaces and does not let this user make one.
    #[error("this host does not let an unprivileged user build a cell: {why}; {remedy}")]
    NamespacesForbidden {
        /// Which switch forbids it.
        why: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The plan asks for what no cell may be.
    #[error("the plan cannot be carried out: {0}")]
    Plan(String),
    /// A directory or file of the host that the plan names cannot be used.
    #[error("cannot use {}: {}", path.display(), explain(*errno))]
    Source {
        /// The path outside.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The limits that the policy asks for cannot be enforced here.
    #[error("cannot enforce the policy's limits: {why}; {remedy}")]
    Limits {
        /// What is missing.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A step of the building failed.
    #[error("building the cell failed at {step}: {what}{}", suffix(*errno))]
    Step {
        /// The step.
        step: Step,
        /// What was being done.
        what: String,
        /// The kernel's answer, where it was the kernel that refused.
        errno: Option<Errno>,
    },
    /// What the kernel says is in force is not what was asked.
    #[error("{name} is not in force as asked: asked {asked}, got {got}")]
    NotInForce {
        /// The mechanism.
        name: String,
        /// What was asked.
        asked: String,
        /// What the kernel says.
        got: String,
    },
    /// The cell's init ended before it had said that it was ready, or said something else.
    #[error("the cell's init ended while it was being built")]
    InitEnded,
    /// The conversation with the cell's init failed.
    #[error("the conversation with the cell's init failed")]
    Control(#[from] io::Error),
}

/// Where in the building something failed. Tests make each of them fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
#[expect(missing_docs, reason = "the text of each is in its Display")]
pub enum Step {
    #[n(0)]
    Cgroup,
    #[n(1)]
    Clone,
    #[n(2)]
    Identity,
    #[n(3)]
    Source,
    #[n(4)]
    Mount,
    #[n(5)]
    Proc,
    #[n(6)]
    Dev,
    #[n(7)]
    Root,
    #[n(8)]
    Isolation,
    #[n(9)]
    Network,
    #[n(10)]
    Limits,
    #[n(11)]
    Privileges,
    #[n(12)]
    Landlock,
    #[n(13)]
    Check,
    #[n(14)]
    Filter,
    #[n(15)]
    Handover,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 16] = [
        Self::Cgroup,
        Self::Clone,
        Self::Identity,
        Self::Source,
        Self::Mount,
        Self::Proc,
        Self::Dev,
        Self::Root,
        Self::Isolation,
        Self::Network,
        Self::Limits,
        Self::Privileges,
        Self::Landlock,
        Self::Check,
        Self::Filter,
        Self::Handover,
    ];
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cgroup => "the control group",
            Self::Clone => "the namespaces",
            Self::Identity => "the mapping of users",
            Self::Source => "the host's directories",
            Self::Mount => "the mounts",
            Self::Proc => "/proc",
            Self::Dev => "/dev",
            Self::Root => "the new root",
            Self::Isolation => "the isolation of names and keys",
            Self::Network => "the network",
            Self::Limits => "the resource limits",
            Self::Privileges => "the dropping of privileges",
            Self::Landlock => "Landlock",
            Self::Check => "the check of what is in force",
            Self::Filter => "the system call filter",
            Self::Handover => "the hand-over to the keeper",
        })
    }
}

/// What init reports when a step fails.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Fault {
    #[n(0)]
    pub(crate) step: Step,
    #[n(1)]
    pub(crate) what: String,
    #[n(2)]
    pub(crate) errno: Option<i32>,
}

impl Fault {
    pub(crate) fn new(step: Step, what: impl Into<String>, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self { step, what: what.into(), errno: Some(errno) },
            None => Self { step, what: format!("{}: {error}", what.into()), errno: None },
        }
    }

    pub(crate) fn said(step: Step, what: impl Into<String>) -> Self {
        Self { step, what: what.into(), errno: None }
    }
}

/// Adds the step and what was being done to a failed call.
pub(crate) trait At<T> {
    fn at(self, step: Step, what: impl Into<String>) -> Result<T, Fault>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step, what: impl Into<String>) -> Result<T, Fault> {
        self.map_err(|error| Fault::new(step, what, &error))
    }
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, step: Step, what: impl Into<String>) -> Result<T, Fault> {
        self.map_err(|errno| Fault::new(step, what, &errno.into()))
    }
}

impl From<Fault> for CellError {
    fn from(Fault { step, what, errno }: Fault) -> Self {
        let errno = errno.map(Errno::from_raw_os_error);
        match (step, errno) {
            (Step::Source, Some(errno)) => Self::Source { path: PathBuf::from(what), errno },
            (step, errno) => Self::Step { step, what, errno },
        }
    }
}

fn suffix(errno: Option<Errno>) -> String {
    errno.map_or_else(String::new, |errno| format!(" ({errno})"))
}

fn explain(errno: Errno) -> String {
    match errno {
        Errno::LOOP => {
            "a symbolic link stands in the path, and where an agent writes none is followed; name the real path".into()
        }
        Errno::NOENT => "it does not exist".into(),
        Errno::ACCESS => "you have no permission to use it".into(),
        Errno::INVAL => {
            "its file system cannot map owners (id-mapped mounts), so it cannot be given to an agent that root starts".into()
        }
        Errno::NOTDIR => "a part of the path is not a directory".into(),
        other => other.to_string(),
    }
}
