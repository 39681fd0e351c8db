//! Builds the test programs and lists them, from cargo's own messages.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::spawn;

/// One test program.
#[derive(Debug)]
pub(crate) struct Program {
    /// The package it belongs to.
    pub(crate) package: String,
    /// The target: the crate's own name, or that of a file under `tests/`.
    pub(crate) target: String,
    /// The executable.
    pub(crate) executable: PathBuf,
    /// The package's directory, in which cargo would start it.
    pub(crate) directory: PathBuf,
}

impl Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.package, self.target)
    }
}

/// Builds the tests of `packages`, or of all members, and lists their programs.
pub(crate) fn build(packages: &[String]) -> Result<Vec<Program>> {
    let mut cargo =
        spawn::cargo(&["test", "--no-run", "--locked", "--message-format=json-render-diagnostics"]);
    select(&mut cargo, packages);
    let output = cargo.stderr(Stdio::inherit()).output().context("cargo test --no-run")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let text = String::from_utf8(output.stdout).context("cargo's messages")?;
    text.lines().filter_map(|line| program(line).transpose()).collect()
}

/// Names the chosen packages to cargo.
pub(crate) fn select(cargo: &mut Command, packages: &[String]) {
    if packages.is_empty() {
        cargo.arg("--workspace");
    }
    for package in packages {
        cargo.args(["--package", package]);
    }
}

/// The test program that a line of cargo's output announces, if it announces one.
fn program(line: &str) -> Result<Option<Program>> {
    let message: Value = serde_json::from_str(line).context("a message of cargo's")?;
    let is_test = message.pointer("/profile/test") == Some(&Value::Bool(true));
    let Some(executable) = text(&message, "/executable").filter(|_| is_test) else {
        return Ok(None);
    };
    let manifest = text(&message, "/manifest_path").context("a test program without a manifest")?;
    let directory = Path::new(manifest).parent().context("a manifest without a directory")?;
    let package = directory.file_name().context("a package without a name")?;
    Ok(Some(Program {
        package: package.to_string_lossy().into_owned(),
        target: text(&message, "/target/name").context("a target without a name")?.to_owned(),
        executable: PathBuf::from(executable),
        directory: directory.to_owned(),
    }))
}

fn text<'a>(message: &'a Value, pointer: &str) -> Option<&'a str> {
    message.pointer(pointer).and_then(Value::as_str)
}
