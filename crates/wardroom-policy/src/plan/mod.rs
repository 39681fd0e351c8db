//! A policy and the facts of a host to a [`CellPlan`]: everything a cell is made from, decided before anything is done.
//!
//! Nothing is looked up here, and nothing is left to whoever carries the plan out. What would give an agent more than
//! its policy says (Wardroom's own directories, the operator's keys) is refused, whatever the policy says.

mod describe;
mod environment;
mod facts;
mod generated;
mod given;
mod shown;
mod system;
mod trust;

use std::path::{Path, PathBuf};

use thiserror::Error;
use wardroom_model::RuleRef;
use wardroom_model::plan::{Access, CellPlan, LandlockRule, Limits, Mount};

use crate::policy::{Policy, Unsupported};
use crate::{canary, sensitive};

pub use describe::describe;
pub use environment::PASSED;
pub use facts::{Entry, HostFacts, Resolved, wanted_paths};
pub use shown::in_text;
pub use system::survey;
pub use trust::{BUNDLES, CERTUTIL, JAVA_STORES, Trust};

pub(crate) use generated::is_generated;
pub(crate) use system::{is_system, normal};

/// Why no cell can be planned from this policy on this host.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The policy asks for what this version does not do.
    #[error("not yet supported: {}", list(.0))]
    Unsupported(Vec<Unsupported>),
    /// There is nothing to run.
    #[error("no command: give one after `--`, or write `command = [\"...\"]` under `[agent]` in {0}")]
    NoCommand(String),
    /// The kernel's Landlock is too old, or absent.
    #[error(
        "this kernel has Landlock ABI {have}, and a cell needs at least {need} (Linux 6.2): update the kernel, or add `landlock` to its `lsm=` parameter"
    )]
    Landlock {
        /// What the kernel has.
        have: u32,
        /// What a cell needs.
        need: u32,
    },
    /// `~` in a policy of system mode.
    #[error("{at}: {path:?}: there is no operator's home directory in system mode: write the path in full")]
    NoHome {
        /// The path as written.
        path: String,
        /// Where.
        at: RuleRef,
    },
    /// A path that is not there, or not what it must be.
    #[error("{at}: {path:?} {problem}")]
    Path {
        /// The path as written.
        path: String,
        /// What is wrong and what to do.
        problem: String,
        /// Where.
        at: RuleRef,
    },
    /// A path that would give the agent something no agent gets.
    #[error("{at}: {path:?} would give the agent {what}: give it a directory of its own, as ~/work/NAME")]
    Exposes {
        /// The path as written.
        path: String,
        /// What it would get.
        what: String,
        /// Where.
        at: RuleRef,
    },
    /// Two paths that cannot both be seen inside.
    #[error("{at}: {path:?} would be seen as {target}, which {taken}: rename it, or leave one of them out")]
    Collision {
        /// The path as written.
        path: String,
        /// Where it would be seen.
        target: PathBuf,
        /// What is there.
        taken: String,
        /// Where.
        at: RuleRef,
    },
    /// A program in `apps` by a path that the kernel never reports.
    #[error("{at}: {app:?} lies behind a link, so no program ever runs by that name: write {write:?}")]
    AppBehindLink {
        /// The path as written.
        app: String,
        /// The path to write.
        write: String,
        /// Where.
        at: RuleRef,
    },
    /// The system's root has no `/usr`.
    #[error("{0} has no /usr: it is no system's root directory")]
    NoSystem(PathBuf),
}

fn list(items: &[Unsupported]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join("; ")
}

/// Everything that keeps a cell from being planned, so that one attempt finds it all. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", one_a_line(.0))]
pub struct PlanErrors(Vec<PlanError>);

fn one_a_line(errors: &[PlanError]) -> String {
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl IntoIterator for PlanErrors {
    type Item = PlanError;
    type IntoIter = std::vec::IntoIter<PlanError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Plans an agent's cell.
///
/// # Errors
/// Whatever keeps a cell from being exactly what the policy says; nothing is planned around.
pub fn plan(policy: &Policy, facts: &HostFacts) -> Result<CellPlan, PlanErrors> {
    if !policy.unsupported.is_empty() {
        return Err(PlanErrors(vec![PlanError::Unsupported(policy.unsupported.clone())]));
    }
    let mut errors = Vec::new();
    if facts.landlock_abi < LANDLOCK_ABI {
        errors.push(PlanError::Landlock { have: facts.landlock_abi, need: LANDLOCK_ABI });
    }
    let command = command(policy, facts).map_err(|error| errors.push(error));
    errors.extend(apps_behind_links(policy, facts));
    let given = given::given(policy, facts, &mut errors);
    let system = system::mounts(policy, facts).map_err(|error| errors.push(error));
    match (command, system) {
        (Ok(command), Ok(system)) if errors.is_empty() => {
            Ok(assemble(policy, facts, command, system, &given))
        }
        (Ok(_) | Err(()), Ok(_) | Err(())) => Err(PlanErrors(errors)),
    }
}

fn assemble(
    policy: &Policy,
    facts: &HostFacts,
    command: Vec<Vec<u8>>,
    system: Vec<Mount>,
    given: &[given::Given],
) -> CellPlan {
    let mut mounts = system;
    mounts.extend(trust::mounts(facts));
    mounts.extend(generated::files(&policy.agent.name, facts));
    mounts.extend(system::writable(policy, facts));
    mounts.extend(given.iter().map(|given| given.mount.clone()));
    let workspace = given.iter().any(|given| given.target() == Path::new(WORKSPACE));
    CellPlan {
        agent: policy.agent.name.clone(),
        identity: facts.identity,
        landlock: landlock(&mounts, given),
        mounts,
        limits: limits(policy),
        environment: environment::environment(policy, facts),
        before: trust::before(facts),
        command,
        directory: PathBuf::from(if workspace { WORKSPACE } else { HOME }),
        sensitive: sensitive::all(&policy.files.sensitive),
        audit_reads: policy.files.audit_reads,
        canaries: if policy.files.canaries { canary::all() } else { Vec::new() },
        may_trace: policy.isolation.trace_children,
        literals: policy.network.literals(),
    }
}

fn command(policy: &Policy, facts: &HostFacts) -> Result<Vec<Vec<u8>>, PlanError> {
    let own = policy.agent.command.as_ref();
    let own = own.map(|words| words.iter().map(|word| word.clone().into_bytes()).collect::<Vec<_>>());
    let command = facts.command.clone().or(own).filter(|command| !command.is_empty());
    command.ok_or_else(|| PlanError::NoCommand(policy.file.clone()))
}

/// On a merged-usr system `/bin/gh` runs as `/usr/bin/gh`; a rule for the former would never match.
fn apps_behind_links(policy: &Policy, facts: &HostFacts) -> Vec<PlanError> {
    let apps = policy.network.allow().flat_map(|rule| rule.apps.iter().map(move |app| (app, &rule.at)));
    let behind = apps.filter_map(|(app, at)| {
        facts.system.iter().find_map(|(link, entry)| {
            let Entry::Symlink(to) = entry else { return None };
            let rest = Path::new(app).strip_prefix(link).ok()?;
            let write = system::resolve_link(link, to).join(rest).display().to_string();
            Some(PlanError::AppBehindLink { app: app.clone(), write, at: at.clone() })
        })
    });
    behind.collect()
}

/// Landlock as a second wall behind the mount table: it holds even where a mount is not what it should be.
fn landlock(mounts: &[Mount], given: &[given::Given]) -> Vec<LandlockRule> {
    let rule = |beneath: &Path, access| LandlockRule { beneath: beneath.to_owned(), access };
    let mut rules = vec![
        rule(Path::new("/"), Access::List),
        rule(Path::new("/etc"), Access::Read),
        // Programs write to files of their own there (/proc/self/oom_score_adj, comm); masks and modes do the rest.
        rule(Path::new("/proc"), Access::Device),
        rule(Path::new("/dev"), Access::Device),
        rule(Path::new("/dev/shm"), Access::ReadWriteExecute),
    ];
    for mount in mounts {
        match mount {
            Mount::Bind { target, write: false, exec: true, .. } if !target.starts_with("/etc") => {
                rules.push(rule(target, Access::ReadExecute));
            }
            Mount::Bind { target, write: true, .. } | Mount::Tmpfs { target, .. } => {
                rules.push(rule(target, Access::ReadWriteExecute));
            }
            Mount::Bind { .. }
            | Mount::Copy { .. }
            | Mount::File { .. }
            | Mount::Directory { .. }
            | Mount::Symlink { .. }
            | Mount::Proc
            | Mount::Dev => {}
        }
    }
    debug_assert!(given.iter().all(|given| rules.iter().any(|rule| rule.beneath == given.target())));
    rules
}

fn limits(policy: &Policy) -> Limits {
    let isolation = &policy.isolation;
    Limits {
        by: isolation.limits,
        memory: isolation.memory,
        cpus: isolation.cpus,
        tasks: isolation.tasks,
        descriptors: DESCRIPTORS,
        file_size: Some(FILE_SIZE),
    }
}

/// The home inside.
pub(crate) const HOME: &str = "/home/agent";

/// The workspace inside.
pub(crate) const WORKSPACE: &str = "/workspace";

/// ABI 3 (Linux 6.2) is the first that governs truncation; without it a file opened for reading elsewhere can be emptied.
const LANDLOCK_ABI: u32 = 3;

/// Open files of one process. Node's and Chromium's own wishes end at 8,192 to 16,384. A cell takes fewer where those of all its
/// tasks would be more than a quarter of the machine's (`fs.file-max`).
const DESCRIPTORS: u64 = 16_384;

/// The largest file, 64 GiB: above any model or image that an agent has reason to keep, below a disk.
const FILE_SIZE: u64 = 64 << 30;

#[cfg(test)]
pub(crate) mod tests;
