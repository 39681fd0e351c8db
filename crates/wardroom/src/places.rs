//! Where things live, in user mode, in system mode, and below one directory of the operator's choice (`--base`).

use std::path::{Path, PathBuf};

use wardroom_model::AgentName;
use wardroom_model::exit::Exit;

use crate::failure::Failure;

/// The directories of this installation.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    agents: PathBuf,
    state: PathBuf,
    run: PathBuf,
}

impl Places {
    /// `/etc`, `/var/lib` and `/run` for root; the XDG directories for everybody else; `base` before both.
    pub(crate) fn find(base: Option<&Path>) -> Result<Self, Failure> {
        if let Some(base) = base {
            let base =
                std::path::absolute(base).map_err(|e| Failure::new(Exit::Usage, format!("--base: {e}")))?;
            return Ok(Self {
                agents: base.join("agents"),
                state: base.join("state"),
                run: base.join("run"),
            });
        }
        if rustix::process::geteuid().is_root() {
            return Ok(Self {
                agents: "/etc/wardroom/agents".into(),
                state: "/var/lib/wardroom".into(),
                run: "/run/wardroom".into(),
            });
        }
        let home = home()?;
        let state = xdg("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state")).join("wardroom");
        Ok(Self {
            agents: xdg("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join("wardroom/agents"),
            run: xdg("XDG_RUNTIME_DIR").map_or_else(|| state.join("run"), |dir| dir.join("wardroom")),
            state,
        })
    }

    /// The directory of all policy files.
    pub(crate) fn agents(&self) -> &Path {
        &self.agents
    }

    /// The directory of all agents' state.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// The directory of the keepers' sockets.
    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    /// The host's signing key and its public half.
    pub(crate) fn keys(&self) -> PathBuf {
        self.state.join("keys")
    }

    /// The tag of this host's placeholders. No agent's name begins with a dot.
    pub(crate) fn placeholder_tag(&self) -> PathBuf {
        self.state.join(".placeholder-tag")
    }

    /// The operator's price table, beside the policies' directory.
    pub(crate) fn prices(&self) -> PathBuf {
        self.agents.with_file_name("prices.toml")
    }

    /// What keeps the key of the credential store. The dot keeps it apart from every agent's state.
    pub(crate) fn custody(&self) -> PathBuf {
        self.state.join("custody.d")
    }

    /// What belongs to one agent.
    pub(crate) fn agent(&self, name: &AgentName) -> AgentPlaces {
        let state = self.state.join(name.as_str());
        AgentPlaces {
            policy: self.agents.join(format!("{name}.toml")),
            home: state.join("home/agent"),
            ledger: state.join("ledger"),
            rings: state.join("rings"),
            authority: state.join("authority"),
            trust: state.join("trust"),
            credentials: state.join("credentials"),
            lock: state.join("lock"),
            mark: state.join("mark"),
            counters: state.join("counters"),
            control: self.run.join(format!("{name}.sock")),
            state,
        }
    }
}

/// The paths of one agent.
#[derive(Debug, Clone)]
pub(crate) struct AgentPlaces {
    /// The policy file.
    pub(crate) policy: PathBuf,
    /// Everything below is private to Wardroom, except `home`.
    pub(crate) state: PathBuf,
    /// The agent's home, persistent.
    pub(crate) home: PathBuf,
    /// The ledger, the scribe's own.
    pub(crate) ledger: PathBuf,
    /// Through which records reach the ledger; the keeper's own.
    pub(crate) rings: PathBuf,
    /// The key of its certificate authority; the keeper's own.
    pub(crate) authority: PathBuf,
    /// What its programs are to trust; public.
    pub(crate) trust: PathBuf,
    /// What is this agent's own in the decoys of its home.
    pub(crate) mark: PathBuf,
    /// What its credentials have used.
    pub(crate) counters: PathBuf,
    /// The values of its credentials, encrypted; the broker's own.
    pub(crate) credentials: PathBuf,
    /// Held while the agent runs.
    pub(crate) lock: PathBuf,
    /// Where its keeper listens for the operator.
    pub(crate) control: PathBuf,
}

/// The operator's home directory.
pub(crate) fn home() -> Result<PathBuf, Failure> {
    std::env::home_dir()
        .filter(|home| home.is_absolute())
        .ok_or_else(|| Failure::new(Exit::Usage, "no home directory: set HOME, or say --base DIR"))
}

/// An XDG directory, if it is set to an absolute path (the specification says to ignore relative ones).
fn xdg(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
