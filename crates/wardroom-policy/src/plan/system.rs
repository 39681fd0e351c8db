//! The system that an agent sees: the host's programs and libraries, read-only, and a chosen minimum of `/etc`.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use wardroom_model::plan::Mount;

use super::facts::{Entry, HostFacts, Resolved, expand};
use super::{HOME, PlanError};
use crate::policy::Policy;

/// The paths that a plan may use of a system, for `lstat` (see [`HostFacts::system`]). `etc_names` are the names in the
/// system's `/etc`.
pub fn survey(etc_names: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<PathBuf> {
    let etc_root = Path::new("/etc");
    let versioned = etc_names
        .into_iter()
        .map(|name| PathBuf::from(name.as_ref()))
        .filter(|name| has_prefix(name))
        .map(|name| etc_root.join(name));
    let fixed = SYSTEM.iter().map(PathBuf::from).chain(ETC.iter().map(|name| etc_root.join(name)));
    let shells = super::environment::SHELLS.iter().map(PathBuf::from);
    fixed.chain(versioned).chain(shells).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The read-only system, in the order in which it is built: directories first, then what lies in `/etc`.
pub(crate) fn mounts(policy: &Policy, facts: &HostFacts) -> Result<Vec<Mount>, PlanError> {
    let root = root(policy, facts)?;
    if facts.system.get(Path::new("/usr")) != Some(&Entry::Directory) {
        return Err(PlanError::NoSystem(root));
    }
    let wanted: Vec<&PathBuf> = facts.system.keys().filter(|path| is_wanted(path)).collect();
    let mut found = Vec::new();
    for path in wanted {
        match facts.system.get(path) {
            Some(Entry::Symlink(to)) if is_visible(&resolve_link(path, to), facts) => {
                found.push(Mount::Symlink { target: path.clone(), to: to.clone() });
            }
            Some(Entry::Symlink(_)) | None => {}
            // Updates replace such files by others of the same name, which a bound one would not follow either.
            Some(Entry::File) if path.starts_with("/etc") => {
                found.push(Mount::Copy { source: beneath(&root, path), target: path.clone() });
            }
            Some(Entry::Directory | Entry::File) => found.push(Mount::Bind {
                source: beneath(&root, path),
                target: path.clone(),
                write: false,
                exec: !path.starts_with("/etc"),
                owned: false,
                // Between the survey and the mount an update may replace a file of /etc; /usr must be there.
                optional: path.starts_with("/etc"),
            }),
        }
    }
    Ok(found)
}

/// What the agent may write: its home, and memory.
pub(crate) fn writable(policy: &Policy, facts: &HostFacts) -> Vec<Mount> {
    let size = policy.isolation.memory.map_or(SCRATCH, |memory| memory / 2);
    let tmpfs = |target: &str, size, mode, exec| Mount::Tmpfs { target: target.into(), size, mode, exec };
    vec![
        Mount::Proc,
        Mount::Dev,
        tmpfs("/tmp", size, 0o1777, true),
        tmpfs("/var/tmp", size, 0o1777, true),
        tmpfs("/run", RUN, 0o755, false),
        tmpfs(super::environment::RUNTIME, RUN, 0o700, false),
        Mount::Bind {
            source: facts.agent_home.clone(),
            target: HOME.into(),
            write: true,
            exec: true,
            owned: false,
            optional: false,
        },
    ]
}

/// The system's root directory outside.
fn root(policy: &Policy, facts: &HostFacts) -> Result<PathBuf, PlanError> {
    let Some(rule) = &policy.isolation.root else { return Ok(PathBuf::from("/")) };
    let path = expand(rule, facts.operator_home.as_deref())?;
    match facts.resolved.get(&path) {
        Some(Resolved::Directory(real)) => Ok(real.clone()),
        Some(Resolved::File(_) | Resolved::Missing | Resolved::Unusable(_)) | None => Err(PlanError::Path {
            path: rule.path.clone(),
            problem: "is no directory, and `root` is the root directory of a system".to_owned(),
            at: rule.at.clone(),
        }),
    }
}

/// Where a link leads, by its text alone.
pub(crate) fn resolve_link(link: &Path, to: &Path) -> PathBuf {
    normal(&link.parent().unwrap_or(Path::new("/")).join(to))
}

/// A path without `.`, `..` and doubled slashes, by its text alone.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            // `..` of the root is the root, and pop leaves it.
            Component::ParentDir => {
                resolved.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    resolved
}

/// Whether a link's goal is part of what the agent sees; a link that leads elsewhere is left out.
fn is_visible(goal: &Path, facts: &HostFacts) -> bool {
    let shown = |path: &PathBuf, entry: &Entry| {
        let real = matches!(entry, Entry::Directory | Entry::File);
        real && goal.starts_with(path) && is_wanted(path)
    };
    facts.system.iter().any(|(path, entry)| shown(path, entry))
}

/// Whether a path is part of the read-only system that a cell can have.
pub(crate) fn is_system(path: &Path) -> bool {
    path.ancestors().any(is_wanted)
}

/// Facts may say more than was asked; only what is on the lists is used.
fn is_wanted(path: &Path) -> bool {
    // Compared as text in its plainest form: comparing paths part by part some thousand times took half a millisecond.
    let plain: PathBuf = path.components().collect();
    let Some(text) = plain.to_str() else { return false };
    SYSTEM.contains(&text)
        || text.strip_prefix("/etc/").is_some_and(|name| ETC.contains(&name) || has_prefix(Path::new(name)))
}

fn has_prefix(name: &Path) -> bool {
    let single = name.components().count() == 1;
    let text = name.to_str().unwrap_or_default();
    single && ETC_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

fn beneath(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Programs and libraries.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What programs read of `/etc` to start, resolve, verify TLS, show times and texts. Nothing here says anything about the
/// host's users, secrets or services. `passwd`, `group`, `hosts`, `resolv.conf` and `nsswitch.conf` are generated.
const ETC: [&str; 51] = [
    "alternatives",
    "bash.bashrc",
    "bash_completion",
    "bash_completion.d",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "default/locale",
    "emacs",
    "fonts",
    "gai.conf",
    "groff",
    "host.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "magic.mime",
    "mailcap",
    "manpath.config",
    "matplotlibrc",
    // Not the directory: settings.xml holds passwords of repositories.
    "maven/logging",
    "maven/m2.conf",
    "mime.types",
    "nanorc",
    "netconfig",
    "networks",
    "os-release",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "profile",
    "protocols",
    "rpc",
    "services",
    "shells",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "vim",
    "xdg",
];

/// Configuration of language runtimes, whose directories carry versions in their names. Not php: an ini file of a server
/// may hold passwords of databases.
const ETC_PREFIXES: [&str; 5] = ["java", "jvm", "perl", "python", "ruby"];

/// `/tmp` and `/var/tmp` each, where the policy limits no memory: room for a build of a mid-size project.
const SCRATCH: u64 = 1 << 30;

/// Sockets and locks under `/run`.
const RUN: u64 = 16 << 20;
