//! A stage for tests that run the real binary: one directory with policies, state and a workspace, removed at the end.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of this module, which drives the real binary"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// The binary under test.
pub(crate) const WARDROOM: &str = env!("CARGO_BIN_EXE_wardroom");

/// One installation below a directory of its own.
#[derive(Debug)]
pub(crate) struct Stage {
    directory: TempDir,
}

impl Stage {
    /// An empty stage. Its directory can be entered by the users that the scribe and the gate run as.
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("wardroom-test-").tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let stage = Self { directory };
        fs::create_dir_all(stage.workspace()).unwrap();
        fs::create_dir_all(stage.base().join("agents")).unwrap();
        stage
    }

    /// Where everything is.
    pub(crate) fn base(&self) -> &Path {
        self.directory.path()
    }

    /// The agents' workspace.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.base().join("workspace")
    }

    /// The policy file of an agent.
    pub(crate) fn policy_file(&self, agent: &str) -> PathBuf {
        self.base().join("agents").join(format!("{agent}.toml"))
    }

    /// Writes a policy that permits nothing but the workspace, and what `more` adds.
    pub(crate) fn agent(&self, name: &str, more: &str) {
        let text = format!(
            "[agent]\nname = \"{name}\"\nrole = \"a test\"\nowner = \"tests\"\ncommand = [\"true\"]\n\n\
             [isolation]\nkind = \"cell\"\nlimits = \"rlimits-only\"\n\n\
             [files]\nworkspace = {:?}\n\n{more}",
            self.workspace()
        );
        fs::write(self.policy_file(name), text).unwrap();
    }

    /// The binary, about to be called on this stage.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(WARDROOM);
        command.arg("--base").arg(self.base()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Calls the binary.
    pub(crate) fn call(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).output().unwrap())
    }

    /// Runs a shell line in an agent's cell.
    pub(crate) fn sh(&self, agent: &str, line: &str) -> Said {
        self.call(&["run", agent, "--", "sh", "-c", line])
    }

    /// Starts a shell line in an agent's cell, without waiting for its end.
    pub(crate) fn start(&self, agent: &str, line: &str) -> Child {
        self.command(&["run", agent, "--", "sh", "-c", line])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// What is on an agent's record, as JSON lines.
    pub(crate) fn records(&self, agent: &str, filters: &[&str]) -> Vec<serde_json::Value> {
        let said = self.call(&[&["log", agent, "--json"], filters].concat());
        assert_eq!(said.code, 0, "{said:?}");
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// What a call of the binary said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Waits for something to become true, within reason.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what} never happened");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Runs a shell line outside, which must succeed.
pub(crate) fn shell(line: &str) {
    assert!(Command::new("sh").args(["-c", line]).status().unwrap().success(), "{line}");
}
