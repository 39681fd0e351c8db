//! The direction of dependencies between members: pure floor, then border, then processes, then the binary.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::spawn;
use crate::tidy::Tracked;

/// Who may depend on whom. A member that is not listed is a fault; what is not listed is not permitted.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("wardroom-model", &[]),
    ("wardroom-policy", &["wardroom-model"]),
    ("wardroom-ledger", &["wardroom-model"]),
    ("wardroom-kernel", &[]),
    ("wardroom-scribe", &["wardroom-model", "wardroom-ledger", "wardroom-kernel"]),
    ("wardroom-cell", &["wardroom-model", "wardroom-kernel", "wardroom-scribe"]),
    ("wardroom-gate", &["wardroom-model", "wardroom-policy", "wardroom-kernel", "wardroom-scribe"]),
    ("wardroom-broker", &["wardroom-model", "wardroom-policy", "wardroom-kernel"]),
    (
        "wardroom",
        &[
            "wardroom-model",
            "wardroom-policy",
            "wardroom-ledger",
            "wardroom-kernel",
            "wardroom-scribe",
            "wardroom-cell",
            "wardroom-gate",
            "wardroom-broker",
        ],
    ),
    ("xtask", &[]),
];

/// What the pure crates must not depend on: doors to the clock, the machine, randomness and asynchrony.
const IMPURE: [&str; 7] = ["rustix", "libc", "tokio", "getrandom", "rand", "socket2", "landlock"];
const PURE: [&str; 3] = ["wardroom-model", "wardroom-policy", "wardroom-ledger"];

/// Faults in the direction of dependencies, as cargo reports them.
pub(crate) fn direction() -> Result<Vec<String>> {
    let text = spawn::read(&mut spawn::cargo(&["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let packages = metadata.get("packages").and_then(Value::as_array).context("cargo metadata: packages")?;
    let table: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    let mut faults = Vec::new();
    for package in packages {
        let name = package.get("name").and_then(Value::as_str).context("a package without a name")?;
        let Some(permitted) = table.get(name) else {
            faults
                .push(format!("{name}: not in the table of dependencies in xtask/src/tidy/dependencies.rs"));
            continue;
        };
        for used in uses(package) {
            if table.contains_key(used) && !permitted.contains(&used) {
                faults.push(format!("{name} must not depend on {used}"));
            }
            if PURE.contains(&name) && IMPURE.contains(&used) {
                faults.push(format!("{name} is pure and must not depend on {used}"));
            }
        }
    }
    Ok(faults)
}

/// The names of what a package depends on, tests excepted.
fn uses(package: &Value) -> BTreeSet<&str> {
    let dependencies = package.get("dependencies").and_then(Value::as_array);
    dependencies
        .into_iter()
        .flatten()
        .filter(|dependency| dependency.get("kind").and_then(Value::as_str) != Some("dev"))
        .filter_map(|dependency| dependency.get("name").and_then(Value::as_str))
        .collect()
}

/// Workspace members without their one-line comment.
pub(crate) fn member_comments(tracked: &[Tracked]) -> Vec<String> {
    let Some(manifest) = tracked.iter().find(|file| file.path == "Cargo.toml") else {
        return vec!["Cargo.toml: missing".to_owned()];
    };
    manifest
        .text
        .lines()
        .skip_while(|line| !line.starts_with("members"))
        .skip(1)
        .take_while(|line| !line.starts_with(']'))
        .filter(|line| line.trim_start().starts_with('"') && !line.contains("# "))
        .map(|line| format!("Cargo.toml: a member without a comment: {}", line.trim()))
        .collect()
}
