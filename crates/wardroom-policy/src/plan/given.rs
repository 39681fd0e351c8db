//! The directories that a policy gives to its agent, checked on their real paths: a link in a policy leads where it leads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wardroom_model::plan::{Identity, Mount};

use super::facts::{HostFacts, Resolved, expand};
use super::{PlanError, WORKSPACE};
use crate::policy::{PathRule, Policy};
use crate::sensitive;

/// One thing given.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) mount: Mount,
    source: PathBuf,
    target: PathBuf,
    write: bool,
}

impl Given {
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }
}

pub(crate) fn given(policy: &Policy, facts: &HostFacts, errors: &mut Vec<PlanError>) -> Vec<Given> {
    let files = &policy.files;
    let workspace = files.workspace.iter().map(|rule| (rule, Some(WORKSPACE), true));
    let shared = files.read_write.iter().map(|rule| (rule, None, true));
    let read = files.read_only.iter().map(|rule| (rule, None, false));
    let mut found: Vec<(Given, &PathRule)> = Vec::new();
    for (rule, target, write) in workspace.chain(shared).chain(read) {
        match one(rule, target, write, facts) {
            Ok(given) => found.push((given, rule)),
            Err(error) => errors.push(error),
        }
    }
    errors.extend(collisions(&found));
    found.into_iter().map(|(given, _)| given).collect()
}

/// A path as its rule means it, if it may be given at all.
fn one(rule: &PathRule, target: Option<&str>, write: bool, facts: &HostFacts) -> Result<Given, PlanError> {
    let path = expand(rule, facts.operator_home.as_deref())?;
    let problem = |problem: String| PlanError::Path { path: rule.path.clone(), problem, at: rule.at.clone() };
    let source = match facts.resolved.get(&path) {
        Some(Resolved::Directory(real)) => real.clone(),
        Some(Resolved::File(real)) if target.is_none() => real.clone(),
        Some(Resolved::File(_)) => {
            return Err(problem("is a file, and a workspace is a directory".to_owned()));
        }
        Some(Resolved::Missing) => {
            return Err(problem(format!("does not exist: `mkdir -p {}`", path.display())));
        }
        Some(Resolved::Unusable(why)) => return Err(problem(format!("cannot be used: {why}"))),
        None => return Err(problem("was not looked at, so it is not given".to_owned())),
    };
    if let Some(what) = exposes(&source, write, facts) {
        return Err(PlanError::Exposes { path: rule.path.clone(), what, at: rule.at.clone() });
    }
    let target = match target {
        Some(target) => PathBuf::from(target),
        None => seen_as(rule, &path)?,
    };
    let owned = write && matches!(facts.identity, Identity::Range { .. });
    let (from, to) = (source.clone(), target.clone());
    let mount = Mount::Bind { source: from, target: to, write, exec: true, owned, optional: false };
    Ok(Given { mount, source, target, write })
}

/// What no policy can give, whatever it says.
fn exposes(source: &Path, write: bool, facts: &HostFacts) -> Option<String> {
    let touches = |other: &Path| source.starts_with(other) || other.starts_with(source);
    if source == Path::new("/") {
        return Some("the whole file system".to_owned());
    }
    if let Some(home) = facts.operator_home.as_ref().filter(|home| home.starts_with(source)) {
        return Some(format!("{}, your home directory with your keys in it", home.display()));
    }
    let homes = Path::new("/home");
    if source == homes || source.parent() == Some(homes) || source == Path::new(ROOT_HOME) {
        return Some("a user's whole home directory, with the keys in it".to_owned());
    }
    if let Some(own) = facts.own.iter().find(|own| touches(own)) {
        return Some(format!("{}, which is Wardroom's own", own.display()));
    }
    if touches(&facts.agent_home) {
        return Some("its own home a second time, under another name".to_owned());
    }
    if let Some((path, what)) = secrets(facts, touches) {
        return Some(format!("{} ({what})", path.display()));
    }
    let never =
        NEVER.iter().find(|(place, _)| source.starts_with(place) || Path::new(place).starts_with(source));
    if let Some((place, what)) = never {
        return Some(format!("{place}: {what}"));
    }
    let system = SYSTEM
        .iter()
        .find(|place| write && (source.starts_with(place) || Path::new(place).starts_with(source)));
    system.map(|place| format!("the right to change the system's {place}"))
}

/// The keys of the operator and of the administrator, where `touches` says that one of them is given away.
fn secrets(facts: &HostFacts, touches: impl Fn(&Path) -> bool) -> Option<(PathBuf, &'static str)> {
    let homes = facts.operator_home.iter().map(PathBuf::as_path).chain([Path::new(ROOT_HOME)]);
    homes.filter_map(|home| sensitive::host_secrets(home, &touches)).next()
}

/// `/<last part>`: short names inside, and nothing about where it lies outside.
fn seen_as(rule: &PathRule, path: &Path) -> Result<PathBuf, PlanError> {
    let name = path.file_name().unwrap_or_default();
    let target = Path::new("/").join(name);
    let reserved = RESERVED.iter().any(|reserved| Path::new(reserved) == Path::new(name));
    if name.is_empty() || reserved {
        let (path, at) = (rule.path.clone(), rule.at.clone());
        return Err(PlanError::Collision { path, target, taken: "is part of every cell".to_owned(), at });
    }
    Ok(target)
}

/// Two at one place inside, and one that is written through another.
fn collisions(found: &[(Given, &PathRule)]) -> Vec<PlanError> {
    let mut targets: BTreeMap<&Path, &PathRule> = BTreeMap::new();
    let mut errors = Vec::new();
    for (index, (given, rule)) in found.iter().enumerate() {
        let mut collision = |taken| {
            errors.push(PlanError::Collision {
                path: rule.path.clone(),
                target: given.target.clone(),
                taken,
                at: rule.at.clone(),
            });
        };
        if let Some(other) = targets.insert(&given.target, rule) {
            collision(format!("is {:?} already ({})", other.path, other.at));
            continue;
        }
        let nested = found.iter().take(index).find(|(other, _)| {
            given.write != other.write
                && (given.source.starts_with(&other.source) || other.source.starts_with(&given.source))
        });
        if let Some((_, other)) = nested {
            collision(format!("overlaps {:?} ({}), one of them writable and one not", other.path, other.at));
        }
    }
    errors
}

/// Names at the top of every cell.
const RESERVED: [&str; 23] = [
    "bin",
    "boot",
    "dev",
    "etc",
    "home",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "lost+found",
    "media",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var",
    "workspace",
];

/// The administrator's home. Work below it is as good as work below any home; its keys and its whole are not.
const ROOT_HOME: &str = "/root";

/// Places of the host that are given to no agent, not even to read.
const NEVER: [(&str, &str); 7] = [
    ("/boot", "the host's kernel"),
    ("/dev", "the host's devices"),
    ("/etc", "the host's configuration and password hashes; the cell has the part of it that programs need"),
    ("/proc", "the host's processes"),
    ("/run", "the host's control sockets"),
    ("/sys", "the host's kernel interfaces"),
    ("/var/run", "the host's control sockets"),
];

/// Places that are given to read, and never to write.
const SYSTEM: [&str; 8] = ["/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr", "/var/lib"];
