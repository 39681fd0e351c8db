//! Where measurements happen: an agent with a workspace, a bare directory beside it, and the compiled loads in both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::spawn;

const AGENT: &str = "bench";

/// The place, gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    top: TempDir,
    binary: PathBuf,
}

impl Place {
    /// Makes the directories and the policy, and compiles the loads.
    pub(crate) fn make(binary: PathBuf) -> Result<Self> {
        let top = tempfile::Builder::new().prefix("wardroom-bench-").tempdir()?;
        let place = Self { top, binary };
        fs::create_dir_all(place.base().join("agents"))?;
        for directory in [place.workspace(), place.bare()] {
            fs::create_dir_all(&directory)?;
        }
        place.permit(None)?;
        place.compile()?;
        Ok(place)
    }

    /// The binary that is measured.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    fn base(&self) -> PathBuf {
        self.top.path().join("base")
    }

    /// The agent's workspace, as the host sees it.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.top.path().join("workspace")
    }

    /// The directory of the bare side, on the same file system.
    pub(crate) fn bare(&self) -> PathBuf {
        self.top.path().join("bare")
    }

    /// Writes the policy; the host `bench.example` may be permitted and leads to this port of the loopback.
    pub(crate) fn permit(&self, port: Option<u16>) -> Result<()> {
        let rule =
            |port| format!("\n[[network.allow]]\nhost = \"bench.example\"\naddress = \"127.0.0.1:{port}\"\n");
        self.write("", &port.map(rule).unwrap_or_default())
    }

    /// Writes the policy, with these tables besides, and few enough tasks for each to have many descriptors.
    pub(crate) fn permit_more(&self, tables: &str) -> Result<()> {
        self.write("tasks = 32\n", tables)
    }

    fn write(&self, isolation: &str, tables: &str) -> Result<()> {
        let workspace = self.workspace();
        let policy = format!(
            "[agent]\nname = \"{AGENT}\"\nowner = \"bench@example.com\"\ncommand = [\"/bin/true\"]\n\n\
             [isolation]\nkind = \"cell\"\n{isolation}\n[files]\nworkspace = \"{}\"\n{tables}",
            workspace.display()
        );
        let path = self.base().join(format!("agents/{AGENT}.toml"));
        fs::write(&path, policy).with_context(|| path.display().to_string())
    }

    fn compile(&self) -> Result<()> {
        let loads = crate::workspace().join("bench/loads");
        for entry in fs::read_dir(&loads)? {
            let source = entry?.path();
            let name = source.file_stem().context("a load without a name")?;
            for directory in [self.bare(), self.workspace()] {
                if source.extension().is_some_and(|extension| extension == "c") {
                    let mut cc = spawn::command("cc");
                    cc.args(["-O2", "-pthread", "-o"]).arg(directory.join(name)).arg(&source);
                    spawn::read(&mut cc)?;
                } else {
                    fs::copy(&source, directory.join(entry_name(&source)?))?;
                }
            }
        }
        Ok(())
    }

    /// `wardroom` with these arguments.
    pub(crate) fn wardroom(&self, arguments: &[&str]) -> Command {
        let mut command = spawn::command(&self.binary);
        command.arg("--base").arg(self.base()).args(arguments);
        command
    }

    /// A command in a cell, its working directory the workspace.
    pub(crate) fn in_a_cell(&self, arguments: &[&str]) -> Command {
        let mut command = self.wardroom(&["run", AGENT, "--"]);
        command.args(arguments);
        command
    }

    /// The same command without a cell.
    pub(crate) fn in_the_open(&self, arguments: &[&str]) -> Result<Command> {
        let (program, rest) = arguments.split_first().context("no command")?;
        let mut command = spawn::command(program);
        command.args(rest).current_dir(self.bare());
        Ok(command)
    }

    /// Records of the agent of one kind that concern a path inside, counted.
    pub(crate) fn records(&self, kind: &str, path: &str) -> Result<usize> {
        let text =
            spawn::read(&mut self.wardroom(&["log", AGENT, "--json", "--kind", kind, "--path", path]))?;
        Ok(text.lines().count())
    }
}

fn entry_name(path: &Path) -> Result<PathBuf> {
    path.file_name().map(PathBuf::from).context("a load without a name")
}

/// The last line of a load's output: the nanoseconds of its work, as seconds.
pub(crate) fn seconds(command: &mut Command) -> Result<f64> {
    let text = spawn::read(command)?;
    let Some(line) = text.lines().last() else {
        bail!("the load said nothing");
    };
    Ok(line.trim().parse::<f64>().with_context(|| line.to_owned())? / 1e9)
}
