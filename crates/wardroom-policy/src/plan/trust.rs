//! What the agent's programs trust where the gate looks into TLS: the system's authorities, and the agent's own besides.
//!
//! Each program is told in the way that it listens to: the bundles at their usual places, variables, Java's store. Where
//! nothing is inspected, a cell trusts what the system trusts, and nothing here is used.

use std::path::{Path, PathBuf};

use wardroom_model::plan::Mount;

use super::facts::HostFacts;
use super::system::is_system;

/// What a cell is to trust, in files of the host's that were made for this agent and hold nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The agent's authority alone, PEM.
    pub authority: PathBuf,
    /// The system's authorities and the agent's, PEM.
    pub bundle: PathBuf,
    /// The same as Java reads it; nothing where the system has no Java.
    pub java: Option<PathBuf>,
    /// Which of [`BUNDLES`] the system has, links followed.
    pub bundles: Vec<PathBuf>,
    /// Which of [`JAVA_STORES`] the system has, links followed.
    pub java_stores: Vec<PathBuf>,
    /// Whether the system has [`CERTUTIL`].
    pub certutil: bool,
}

/// What keeps the database of NSS, which Chromium reads beside its own authorities.
pub const CERTUTIL: &str = "/usr/bin/certutil";

/// Where programs look for the system's authorities when nobody tells them (Debian, Fedora, SUSE, Arch, Alpine).
pub const BUNDLES: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// Where a JVM looks, besides `lib/security/cacerts` of its own home, which on most systems is a link to one of these.
pub const JAVA_STORES: [&str; 3] =
    ["/etc/ssl/certs/java/cacerts", "/etc/pki/ca-trust/extracted/java/cacerts", "/etc/pki/java/cacerts"];

/// The authority alone, inside.
const AUTHORITY: &str = "/etc/ssl/wardroom/authority.pem";
/// Everything, inside.
const BUNDLE: &str = "/etc/ssl/wardroom/bundle.pem";
/// Where OpenSSL looks first. A system that has nothing there gets it: so a program without its variables finds it as well.
const OPENSSL: &str = "/etc/ssl/cert.pem";

/// Programs that ask for a file of all authorities: OpenSSL and what is built on it, Python's requests and pip, curl, git,
/// cargo, the AWS tools, Nix.
const ALL: [&str; 8] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
];
/// Programs that bring authorities of their own and ask for more: Node.js, Deno.
const MORE: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// The files, over the system's own.
pub(crate) fn mounts(facts: &HostFacts) -> Vec<Mount> {
    let Some(trust) = &facts.trust else { return Vec::new() };
    let file = |source: &Path, target: &Path| Mount::Bind {
        source: source.to_owned(),
        target: target.to_owned(),
        write: false,
        exec: false,
        owned: false,
        optional: false,
    };
    let mut found =
        vec![file(&trust.authority, Path::new(AUTHORITY)), file(&trust.bundle, Path::new(BUNDLE))];
    // Only over what the cell has of the system: nothing is made up at other places.
    let places = trust.bundles.iter().filter(|place| is_system(place));
    found.extend(places.map(|place| file(&trust.bundle, place)));
    if !facts.system.contains_key(Path::new(OPENSSL)) {
        found.push(file(&trust.bundle, Path::new(OPENSSL)));
    }
    if let Some(java) = &trust.java {
        let places = trust.java_stores.iter().filter(|place| is_system(place));
        found.extend(places.map(|place| file(java, place)));
    }
    found
}

/// The variables. A policy's own come after these, and win.
pub(crate) fn environment(facts: &HostFacts) -> impl Iterator<Item = (String, String)> {
    let named = |names: &'static [&str], file: &'static str| names.iter().map(move |name| (*name, file));
    let all = named(&ALL, BUNDLE).chain(named(&MORE, AUTHORITY));
    let wanted = facts.trust.is_some();
    all.filter(move |_| wanted).map(|(name, file)| (name.to_owned(), file.to_owned()))
}

/// Puts the authority into the agent's NSS database, in place of an earlier one. A program of the cell does it, as the agent:
/// the database lies where the agent writes, so whatever it planted there leads nowhere that it could not go itself.
pub(crate) fn before(facts: &HostFacts) -> Option<Vec<Vec<u8>>> {
    let wanted = facts.trust.as_ref().is_some_and(|trust| trust.certutil);
    let script = format!(
        "umask 077; d=\"$HOME/.pki/nssdb\"; mkdir -p \"$d\"\n\
         [ -e \"$d/cert9.db\" ] || {CERTUTIL} -N -d \"sql:$d\" --empty-password\n\
         {CERTUTIL} -D -d \"sql:$d\" -n wardroom\n\
         exec {CERTUTIL} -A -d \"sql:$d\" -t C,, -n wardroom -i {AUTHORITY}"
    );
    wanted.then(|| vec![b"/bin/sh".to_vec(), b"-c".to_vec(), script.into_bytes()])
}
