//! Where the driver starts processes. Each has a time limit, no terminal and no input.

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Seconds after which a process is ended. The longest attempt waits 30 s for a handshake to time out.
const PATIENCE: &str = "60";

/// The end of a process.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The last line that says something.
    pub(crate) fn last_line(&self) -> &str {
        self.stdout.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim()
    }
}

/// A command under the time limit.
pub(crate) fn limited(program: impl AsRef<OsStr>) -> Command {
    let mut command = plain("timeout");
    command.args(["--kill-after=5", PATIENCE]).arg(program);
    command
}

/// A command without one.
#[expect(clippy::disallowed_methods, reason = "the one place where this test program starts processes")]
pub(crate) fn plain(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Runs to the end.
pub(crate) fn run(command: &mut Command) -> Result<Ended> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    Ok(Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A process that ends with its owner.
#[derive(Debug)]
pub(crate) struct Background(pub(crate) Child);

impl Drop for Background {
    fn drop(&mut self) {
        // Either may fail because it has ended already, which is what is wanted.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
