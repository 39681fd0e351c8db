//! The place of one attempt: an operator's home with a secret, an agent with its policy and workspace, a directory for the control.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::hostile::manifest::Program;
use crate::hostile::services::{Services, sockets};

/// The directories of one attempt, gone when it is over.
#[derive(Debug)]
pub(crate) struct Place {
    _top: TempDir,
    /// Wardroom's `--base`.
    pub(crate) base: PathBuf,
    /// The operator's home.
    pub(crate) home: PathBuf,
    /// The operator's key in it.
    pub(crate) secret: PathBuf,
    /// The agent's workspace, as the host sees it.
    pub(crate) workspace: PathBuf,
    /// A directory that the agent may read.
    pub(crate) shared: PathBuf,
    /// Where the control runs.
    pub(crate) control: PathBuf,
    /// The agent's name.
    pub(crate) agent: String,
    /// The file with the real value, for an agent with a credential.
    key: Option<PathBuf>,
}

impl Place {
    /// Makes the place for a program whose executable or script is `executable`.
    pub(crate) fn make(program: &Program, executable: &Path, services: &Services) -> Result<Self> {
        let top = tempfile::Builder::new().prefix("wardroom-hostile-").tempdir()?;
        let at = |name: &str| top.path().join(name);
        let place = Self {
            base: at("base"),
            home: at("home"),
            secret: at("home/.ssh/id_ed25519"),
            workspace: at("workspace"),
            shared: at("shared"),
            control: at("control"),
            agent: program.id.to_ascii_lowercase().replace(['.', '_'], "-"),
            key: program.credential.then(|| at("home/.key-of-a-provider")),
            _top: top,
        };
        for directory in [
            &place.base.join("agents"),
            &place.home.join(".ssh"),
            &place.workspace,
            &place.shared,
            &place.control,
        ] {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        fs::write(&place.secret, "the operator's key\n")?;
        if let Some(key) = &place.key {
            fs::write(key, "sk-real-hostile-0123456789abcdef")?;
        }
        let name = executable.file_name().context("a program without a name")?;
        fs::copy(executable, place.workspace.join(name))?;
        fs::copy(executable, place.control.join(name))?;
        if program.sockets {
            for directory in [&place.workspace, &place.shared] {
                sockets(directory)?;
            }
        }
        place.write_policy(Some(services))?;
        Ok(place)
    }

    /// Writes the policy: one permitted host, pinned to a service here, or none.
    pub(crate) fn write_policy(&self, permitted: Option<&Services>) -> Result<()> {
        let Self { agent, workspace, shared, .. } = self;
        let (workspace, shared) = (workspace.display(), shared.display());
        let mut policy = format!(
            "[agent]\nname = \"{agent}\"\nowner = \"tests@example.com\"\ncommand = [\"/bin/true\"]\n\n\
             [isolation]\nkind = \"cell\"\nmemory = \"768 MiB\"\ntasks = 200\nlimits = \"rlimits-only\"\n\n\
             [files]\nworkspace = \"{workspace}\"\nread_only = [\"{shared}\"]\naudit_reads = \"sensitive\"\n"
        );
        if let Some(services) = permitted {
            let address = services.tcp4;
            policy += &format!("\n[[network.allow]]\nhost = \"allowed.example\"\naddress = \"{address}\"\n");
        }
        if let (Some(services), Some(key)) = (permitted, &self.key) {
            for (host, server) in [("bound", &services.bound), ("unbound", &services.unbound)] {
                let (address, pem) = (server.address, &server.pem);
                policy += &format!(
                    "\n[[network.allow]]\nhost = \"{host}.example\"\ninspect = true\naddress = \"{address}\"\n\
                     ca = \"\"\"\n{pem}\"\"\"\n"
                );
            }
            policy += &format!(
                "\n[[credential]]\nenv = \"BOUND_API_KEY\"\nhost = \"bound.example\"\nheader = \"x-api-key\"\n\
                 source = {{ command = [\"/bin/cat\", {key:?}] }}\n"
            );
        }
        let path = self.base.join(format!("agents/{agent}.toml"));
        let draft = path.with_extension("new");
        fs::write(&draft, policy)?;
        fs::rename(&draft, &path).context("the policy file")
    }
}
