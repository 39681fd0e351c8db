//! What a plan must know of the host. Whoever may look at the host fills this in; this crate never looks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wardroom_model::plan::Identity;

use super::{PlanError, Trust};
use crate::policy::{PathRule, Policy};

/// The host, as far as a plan depends on it.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// How users inside map to users outside; says which mode this is.
    pub identity: Identity,
    /// What `~` means in a policy; `None` where it means nothing (system mode).
    pub operator_home: Option<PathBuf>,
    /// The host directory that becomes `/home/agent`, kept from start to start.
    pub agent_home: PathBuf,
    /// Wardroom's own directories (configuration, state, runtime), real paths: never given to an agent.
    pub own: Vec<PathBuf>,
    /// What there is of [`super::survey`]'s paths, by `lstat`, beneath the system's root. What is absent is not there.
    pub system: BTreeMap<PathBuf, Entry>,
    /// What each of [`wanted_paths`] really is, links followed.
    pub resolved: BTreeMap<PathBuf, Resolved>,
    /// The operator's environment; only [`super::PASSED`] is taken from it.
    pub environment: BTreeMap<String, String>,
    /// The kernel's Landlock ABI; 0 where it has none.
    pub landlock_abi: u32,
    /// The command given to `run`, in place of the policy's.
    pub command: Option<Vec<Vec<u8>>>,
    /// What is trusted besides the system's authorities, where the gate looks into connections.
    pub trust: Option<Trust>,
}

/// One entry of the system's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link, and what it says.
    Symlink(PathBuf),
}

/// A path of the policy's, with every link followed (`realpath`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// A directory, by its real path.
    Directory(PathBuf),
    /// A regular file, by its real path.
    File(PathBuf),
    /// Nothing is there.
    Missing,
    /// It cannot be looked at, or is neither a file nor a directory; the text says why.
    Unusable(String),
}

/// The host paths that a policy names, `~` expanded, for [`HostFacts::resolved`]. One that means nothing here is left out; the
/// plan says so.
#[must_use]
pub fn wanted_paths(policy: &Policy, operator_home: Option<&Path>) -> Vec<PathBuf> {
    let files = &policy.files;
    let rules = files.workspace.iter().chain(&files.read_only).chain(&files.read_write);
    rules.chain(&policy.isolation.root).filter_map(|rule| expand(rule, operator_home).ok()).collect()
}

/// The path that a rule means on this host, links not followed.
pub(crate) fn expand(rule: &PathRule, operator_home: Option<&Path>) -> Result<PathBuf, PlanError> {
    // Collected by components, so that `/a//b/` and `/a/b` are one.
    match rule.path.strip_prefix("~/") {
        Some(rest) => match operator_home {
            Some(home) => Ok(home.join(rest).components().collect()),
            None => Err(PlanError::NoHome { path: rule.path.clone(), at: rule.at.clone() }),
        },
        None => Ok(Path::new(&rule.path).components().collect()),
    }
}
