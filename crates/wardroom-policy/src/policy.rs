//! A policy: everything that its text says, as values that are valid because they exist.
//!
//! Nothing here has a default for a security setting: where the text is silent, the field says that it is.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use wardroom_model::plan::LimitsBy;
use wardroom_model::{AgentName, RuleRef};

use crate::credential::{Credential, ModelApi};
use crate::network::NetworkPolicy;

/// One agent's policy.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) file: String,
    pub(crate) agent: Agent,
    pub(crate) isolation: Isolation,
    pub(crate) files: Files,
    pub(crate) network: NetworkPolicy,
    pub(crate) credentials: Vec<Credential>,
    pub(crate) model_apis: Vec<ModelApi>,
    pub(crate) retention: Retention,
    pub(crate) unsupported: Vec<Unsupported>,
}

/// `[agent]`: who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub name: AgentName,
    /// What it is for.
    pub role: Option<String>,
    /// Whom to ask.
    pub owner: Option<String>,
    /// The command that `run` starts when it is given none. Never empty where present.
    pub command: Option<Vec<String>>,
    /// Variables added to its environment.
    pub environment: BTreeMap<String, String>,
    /// When it works.
    pub hours: Option<Hours>,
}

/// `hours`: when an agent works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// Working days, Monday first.
    pub days: [bool; 7],
    /// Minutes since midnight.
    pub from: u16,
    /// Minutes since midnight, later than `from`.
    pub to: u16,
    /// An IANA time zone, as `Europe/Berlin`.
    pub zone: String,
    /// What happens outside of them.
    pub outside: Outside,
}

/// What happens outside an agent's hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// It goes on, and an alert is raised.
    Alert,
    /// It is paused.
    Pause,
    /// The network is refused.
    Refuse,
}

/// `[isolation]`: what it is contained by.
#[derive(Debug, Clone, PartialEq)]
pub struct Isolation {
    /// The kind of walls.
    pub kind: IsolationKind,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processors' worth of time.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// What enforces these limits.
    pub limits: LimitsBy,
    /// A directory whose system is used in place of the host's, as the policy writes it.
    pub root: Option<PathRule>,
    /// Whether the agent may trace its own children.
    pub trace_children: bool,
}

/// The kind of walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationKind {
    /// Namespaces of the host's kernel.
    Cell,
    /// A virtual machine inside the cell.
    Vm,
}

/// `[files]`: what of the host it sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Read and write, seen as `/workspace`.
    pub workspace: Option<PathRule>,
    /// Read only, each seen as `/<last part of its name>`.
    pub read_only: Vec<PathRule>,
    /// Read and write, each seen as `/<last part of its name>`.
    pub read_write: Vec<PathRule>,
    /// Paths inside whose opening is recorded, besides the built-in ones.
    pub sensitive: Vec<String>,
    /// Whether opens for reading are watched for sensitive paths.
    pub audit_reads: bool,
    /// Whether decoys lie in the agent's home.
    pub canaries: bool,
}

/// A host path as the policy writes it (absolute, or below `~/`), and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// The path as written.
    pub path: String,
    /// Where it stands.
    pub at: RuleRef,
}

/// `[ledger] retention`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retention {
    /// Nothing is ever removed.
    Forever,
    /// Sealed segments older than this are removed, with a record.
    Longest {
        /// The age of a segment's last record.
        seconds: u64,
        /// The line that says so.
        rule: RuleRef,
    },
}

/// Something that a policy asks for and this version does not do yet: a run refuses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Where it stands.
    pub at: RuleRef,
    /// What is asked.
    pub what: String,
}

impl Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.at)
    }
}

impl Policy {
    /// The file, as the operator knows it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Who it is.
    #[must_use]
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The agent's name.
    #[must_use]
    pub fn name(&self) -> &AgentName {
        &self.agent.name
    }

    /// What it is contained by.
    #[must_use]
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// What of the host it sees.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// What it reaches.
    #[must_use]
    pub fn network(&self) -> &NetworkPolicy {
        &self.network
    }

    /// The secrets that it uses and never holds.
    #[must_use]
    pub fn credentials(&self) -> &[Credential] {
        &self.credentials
    }

    /// The APIs of models that it declares, besides the ones that are known.
    #[must_use]
    pub fn model_apis(&self) -> &[ModelApi] {
        &self.model_apis
    }

    /// How long its ledger is kept.
    #[must_use]
    pub fn retention(&self) -> &Retention {
        &self.retention
    }

    /// What the policy asks for and this version does not do yet. `run` refuses a policy for which this is not empty.
    #[must_use]
    pub fn unsupported(&self) -> &[Unsupported] {
        &self.unsupported
    }
}
