//! What a plan must know of this host. Looked up here, decided in the policy crate.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use wardroom_model::exit::Exit;
use wardroom_model::plan::{CellPlan, Identity};
use wardroom_policy::plan::{Entry, PASSED, PlanError, Resolved, Trust, survey, wanted_paths};
use wardroom_policy::{HostFacts, Policy};

use super::{metering, state};
use crate::failure::{Failure, OrExit};
use crate::places::{self, AgentPlaces, Places};

/// Plans an agent's cell for this host.
pub(super) fn plan(
    places: &Places,
    agent: &AgentPlaces,
    policy: &Policy,
    request: Asked,
) -> Result<CellPlan, Failure> {
    let facts = gather(places, agent, policy, request)?;
    wardroom_policy::plan(policy, &facts).or_exit(Exit::Policy)
}

/// An agent that never ran, and would not be planned, leaves no directories: it may never come again, as those of `--here`.
pub(super) fn refuse_before_it_begins(
    places: &Places,
    agent: &AgentPlaces,
    policy: &Policy,
) -> Result<(), Failure> {
    if agent.ledger.exists() {
        return Ok(());
    }
    let command = Some(vec![b"true".to_vec()]);
    let tried = plan(places, agent, policy, Asked { identity: state::any_identity(), command, trust: None })
        .map(drop);
    if tried.is_err() {
        state::forget_directory(agent);
    }
    tried
}

/// What keeps a policy from being run here as it stands. What is made for it is a control group, for a moment.
#[derive(Debug)]
pub(crate) struct Obstacles {
    /// Why there is no plan.
    pub(crate) plan: Vec<PlanError>,
    /// What this machine does not give, each with the code that `run` ends with.
    pub(crate) here: Vec<Failure>,
}

/// Looks for what would keep a policy from being run.
pub(crate) fn rehearse(places: &Places, policy: &Policy) -> Result<Obstacles, Failure> {
    let identity = state::any_identity();
    let asked = Asked { identity, command: Some(vec![b"true".to_vec()]), trust: None };
    let facts = gather(places, &places.agent(policy.name()), policy, asked)?;
    let mut here = Vec::new();
    if metering::counts(policy) {
        here.extend(metering::prices(&places.prices()).or_exit(Exit::Policy).err());
    }
    let planned = wardroom_policy::plan(policy, &facts);
    if let Ok(plan) = &planned {
        here.extend(wardroom_cell::rehearse_limits(plan).or_exit(Exit::CannotContain).err());
    }
    Ok(Obstacles { plan: planned.err().into_iter().flatten().collect(), here })
}

fn gather(
    places: &Places,
    agent: &AgentPlaces,
    policy: &Policy,
    request: Asked,
) -> Result<HostFacts, Failure> {
    let operator_home = operator_home(request.identity)?;
    let wanted = wanted_paths(policy, operator_home.as_deref());
    Ok(HostFacts {
        identity: request.identity,
        agent_home: agent.home.clone(),
        own: own(places),
        system: system(&root_of(policy, operator_home.as_deref())),
        resolved: wanted.into_iter().map(|path| (path.clone(), resolve(&path))).collect(),
        environment: environment(),
        landlock_abi: wardroom_kernel::landlock::level(),
        command: request.command,
        trust: request.trust,
        operator_home,
    })
}

/// What a run adds to its policy.
#[derive(Debug)]
pub(super) struct Asked {
    /// The users of the cell.
    pub(super) identity: Identity,
    /// The command in place of the policy's.
    pub(super) command: Option<Vec<Vec<u8>>>,
    /// What its programs trust besides the system's authorities.
    pub(super) trust: Option<Trust>,
}

/// The root directory of the system that an agent sees.
pub(super) fn root(policy: &Policy, identity: Identity) -> Result<PathBuf, Failure> {
    Ok(root_of(policy, operator_home(identity)?.as_deref()))
}

/// What `~` means in a policy; nothing in system mode.
fn operator_home(identity: Identity) -> Result<Option<PathBuf>, Failure> {
    match identity {
        Identity::Operator { .. } => places::home().map(Some),
        Identity::Range { .. } => Ok(None),
    }
}

/// Wardroom's own directories: never given to an agent.
fn own(places: &Places) -> Vec<PathBuf> {
    [places.agents(), places.state(), places.run()]
        .into_iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .collect()
}

/// The policy's, or this host's.
fn root_of(policy: &Policy, operator_home: Option<&Path>) -> PathBuf {
    let Some(rule) = &policy.isolation().root else { return PathBuf::from("/") };
    match (rule.path.strip_prefix("~/"), operator_home) {
        (Some(rest), Some(home)) => home.join(rest),
        (Some(_), None) | (None, _) => PathBuf::from(&rule.path),
    }
}

/// What there is beneath a system's root of all that a plan may use.
fn system(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let etc = fs::read_dir(root.join("etc")).into_iter().flatten().flatten();
    let names = etc.filter_map(|entry| entry.file_name().into_string().ok());
    let beneath = |path: &Path| entry(&root.join(path.strip_prefix("/").unwrap_or(path)));
    survey(names).into_iter().filter_map(|path| Some((path.clone(), beneath(&path)?))).collect()
}

fn entry(path: &Path) -> Option<Entry> {
    let found = fs::symlink_metadata(path).ok()?;
    match found.file_type() {
        kind if kind.is_dir() => Some(Entry::Directory),
        kind if kind.is_file() => Some(Entry::File),
        kind if kind.is_symlink() => fs::read_link(path).ok().map(Entry::Symlink),
        _ => None,
    }
}

fn resolve(path: &Path) -> Resolved {
    let readable = || rustix::fs::access(path, Access::READ_OK).map_err(std::io::Error::from);
    let looked = fs::canonicalize(path).and_then(|real| fs::metadata(&real).map(|found| (real, found)));
    match looked {
        Ok(_) if let Err(error) = readable() => Resolved::Unusable(format!("cannot be read: {error}")),
        Ok((real, found)) if found.is_dir() => Resolved::Directory(real),
        Ok((real, found)) if found.is_file() => Resolved::File(real),
        Ok(_) => Resolved::Unusable("it is neither a file nor a directory".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Resolved::Missing,
        Err(error) => Resolved::Unusable(error.to_string()),
    }
}

/// What of the operator's environment may come along. A value that is not text stays behind.
fn environment() -> BTreeMap<String, String> {
    PASSED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect()
}
