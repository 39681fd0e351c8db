//! `hostile/manifest.toml`, as values.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One hostile program and what must come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    /// Its name, such as `C5.mount`.
    pub(crate) id: String,
    /// The line of the threat model.
    #[serde(rename = "attack")]
    _attack: String,
    /// The source below `hostile/`.
    pub(crate) file: PathBuf,
    /// Arguments in a cell.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// The word of the last line in a cell.
    #[serde(default = "blocked")]
    pub(crate) expect: String,
    /// Records that must be there afterwards.
    #[serde(default)]
    pub(crate) seen: Vec<Seen>,
    /// Whether the agent has a credential, with a host to which it is bound and one to which it is not.
    #[serde(default)]
    pub(crate) credential: bool,
    /// Whether services of the host's have Unix sockets in the workspace and in a read-only directory.
    #[serde(default)]
    pub(crate) sockets: bool,
    /// Where the control runs.
    pub(crate) control: Control,
    /// Arguments of the control, where they differ.
    pub(crate) control_args: Option<Vec<String>>,
    /// What the test does meanwhile.
    pub(crate) during: Option<During>,
}

/// A record that must be on the ledger.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seen {
    /// One of these kinds, as `wardroom log --kind` takes them.
    pub(crate) kind: String,
    /// With this in its JSON.
    pub(crate) contains: String,
}

/// Where a control runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Control {
    /// As a plain process of whoever runs the tests.
    Host,
    /// As root of bare namespaces: no filter, no Landlock, no firewall, every capability.
    Userns,
}

/// What the test does while the program holds a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum During {
    /// Takes the permission out of the policy file.
    #[serde(rename = "narrow the policy")]
    NarrowThePolicy,
    /// SIGKILL for the gate.
    #[serde(rename = "kill the gate")]
    KillTheGate,
}

fn blocked() -> String {
    "BLOCKED".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    program: Vec<Program>,
}

/// `hostile/` in the checkout.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../hostile")
}

/// Every entry, in order.
pub(crate) fn read() -> Result<Vec<Program>> {
    let path = directory().join("manifest.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let manifest: Manifest = toml::from_str(&text).context("hostile/manifest.toml")?;
    Ok(manifest.program)
}
