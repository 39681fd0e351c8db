//! Where xtask starts processes: every one is named on the terminal or captured whole, and a failure is an error.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use crate::say::say;

/// What a captured process left.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A program to be started, in the workspace's top directory unless told otherwise.
#[expect(clippy::disallowed_methods, reason = "this is xtask's spawn module")]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(crate::workspace()).stdin(Stdio::null());
    command
}

/// `cargo`, the one that started us, with these arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs to the end with our terminal; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    say!("$ {}", shown(command));
    let status = command.status().with_context(|| shown(command))?;
    if !status.success() {
        bail!("{}: {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and keeps the output. The status is the caller's to judge.
pub(crate) fn capture(command: &mut Command) -> Result<Captured> {
    let output = command.output().with_context(|| shown(command))?;
    Ok(Captured {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs to the end, keeps standard output; anything but success is an error that carries standard error.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let captured = capture(command)?;
    if !captured.status.success() {
        bail!("{}: {}\n{}", shown(command), captured.status, captured.stderr);
    }
    Ok(captured.stdout)
}

/// Whether a program is on the PATH.
pub(crate) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| Path::new(&directory).join(program).is_file())
}

fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}
