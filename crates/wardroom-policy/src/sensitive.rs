//! Paths whose every opening is worth a record: keys, tokens, sessions and the places from which a host is taken over.
//!
//! Most of them do not exist inside a cell. An attempt on one says what a program is after, and that is worth knowing.

use std::path::{Path, PathBuf};

use wardroom_model::plan::sensitive_means;

/// A sensitive path, and why it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sensitive {
    /// Below a home where it has no leading `/`; a trailing `/` means everything beneath; a `*` one whole part.
    pub path: &'static str,
    /// What one gains by it.
    pub why: &'static str,
}

/// Every sensitive path of a cell: the built-in ones as seen inside, and the policy's.
#[must_use]
pub fn all(own: &[String]) -> Vec<String> {
    let homes = ["/home/agent/", "/root/"];
    let built_in = BUILT_IN.iter().flat_map(|item| {
        let absolute = item.path.starts_with('/').then(|| item.path.to_owned());
        let below = homes.iter().filter(|_| absolute.is_none()).map(|home| format!("{home}{}", item.path));
        absolute.clone().into_iter().chain(below.collect::<Vec<_>>())
    });
    let mut found: Vec<String> = built_in.chain(own.iter().cloned()).collect();
    found.sort();
    found.dedup();
    found
}

/// Why a path as seen inside (or a host path below a home) is sensitive by the built-in list.
#[must_use]
pub fn why(path: &str) -> Option<&'static str> {
    let below_home = ["/home/agent/", "/root/", "~/"]
        .iter()
        .find_map(|home| path.strip_prefix(home))
        .or_else(|| path.strip_prefix("/home/").and_then(|rest| rest.split_once('/')).map(|(_, rest)| rest));
    let hit = |item: &&Sensitive| {
        let subject = if item.path.starts_with('/') { Some(path) } else { below_home };
        subject.is_some_and(|subject| sensitive_means(item.path, subject.as_bytes()))
    };
    BUILT_IN.iter().find(hit).map(|item| item.why)
}

/// The first directory or file of the operator's secrets on the host that `touches` says is given away.
pub(crate) fn host_secrets(home: &Path, touches: impl Fn(&Path) -> bool) -> Option<(PathBuf, &'static str)> {
    let below = BUILT_IN.iter().filter(|item| !item.path.starts_with('/') && !item.path.contains('*'));
    let mut places = below.map(|item| (home.join(item.path.trim_end_matches('/')), item.why));
    places.find(|(place, _)| touches(place))
}

const fn item(path: &'static str, why: &'static str) -> Sensitive {
    Sensitive { path, why }
}

/// The built-in list.
pub const BUILT_IN: [Sensitive; 66] = [
    item(".ssh/", "SSH keys, and the list of machines they open"),
    item(".gnupg/", "OpenPGP keys"),
    item(".aws/", "AWS keys and sessions"),
    item(".config/gcloud/", "Google Cloud tokens"),
    item(".azure/", "Azure tokens"),
    item(".oci/", "Oracle Cloud keys"),
    item(".kube/", "Kubernetes credentials"),
    item(".docker/config.json", "container registry credentials"),
    item(".config/containers/auth.json", "container registry credentials"),
    item(".netrc", "passwords for hosts"),
    item(".authinfo", "passwords for hosts"),
    item(".authinfo.gpg", "passwords for hosts"),
    item(".git-credentials", "Git passwords and tokens"),
    item(".config/git/credentials", "Git passwords and tokens"),
    item(".config/gh/hosts.yml", "a GitHub token"),
    item(".config/glab-cli/", "a GitLab token"),
    item(".config/hub", "a GitHub token"),
    item(".npmrc", "a package registry token"),
    item(".yarnrc.yml", "a package registry token"),
    item(".pypirc", "a package registry token"),
    item(".config/pip/pip.conf", "a package registry password"),
    item(".cargo/credentials", "a package registry token"),
    item(".cargo/credentials.toml", "a package registry token"),
    item(".gem/credentials", "a package registry token"),
    item(".m2/settings.xml", "a package registry password"),
    item(".gradle/gradle.properties", "signing keys and registry passwords"),
    item(".nuget/NuGet/NuGet.Config", "a package registry token"),
    item(".terraform.d/credentials.tfrc.json", "a Terraform token"),
    item(".vault-token", "a Vault token"),
    item(".config/op/", "a password manager's session"),
    item(".config/Bitwarden CLI/", "a password manager's session"),
    item(".password-store/", "a password store"),
    item(".local/share/keyrings/", "the desktop's keyring"),
    item(".local/share/kwalletd/", "the desktop's keyring"),
    item(".config/sops/age/keys.txt", "age keys"),
    item(".config/age/", "age keys"),
    item(".pgpass", "database passwords"),
    item(".my.cnf", "database passwords"),
    item(".mylogin.cnf", "database passwords"),
    item(".mozilla/firefox/", "browser passwords and sessions"),
    item(".config/google-chrome/", "browser passwords and sessions"),
    item(".config/chromium/", "browser passwords and sessions"),
    item(".config/BraveSoftware/", "browser passwords and sessions"),
    item(".config/microsoft-edge/", "browser passwords and sessions"),
    item(".thunderbird/", "mail and its passwords"),
    item(".config/Signal/", "messages and their keys"),
    item(".local/share/TelegramDesktop/", "messages and their keys"),
    item(".bitcoin/", "a wallet"),
    item(".ethereum/", "a wallet"),
    item(".config/solana/", "a wallet"),
    item(".electrum/", "a wallet"),
    item(".Xauthority", "the right to the operator's screen"),
    item("/etc/shadow", "password hashes"),
    item("/etc/gshadow", "password hashes"),
    item("/etc/sudoers", "who may become root"),
    item("/etc/sudoers.d/", "who may become root"),
    item("/etc/ssh/", "the host's SSH keys"),
    item("/etc/ssl/private/", "the host's TLS keys"),
    item("/etc/kubernetes/", "cluster credentials"),
    item("/etc/wardroom/", "Wardroom's own configuration"),
    item("/var/lib/wardroom/", "Wardroom's own state"),
    item("/root/", "the administrator's home"),
    item("/var/run/docker.sock", "control of the host's containers, and so of the host"),
    item("/run/docker.sock", "control of the host's containers, and so of the host"),
    item("/proc/*/environ", "another process's environment, with its secrets"),
    item("/proc/*/mem", "another process's memory"),
];
