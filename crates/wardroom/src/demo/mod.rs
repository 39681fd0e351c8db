//! `wardroom demo`: a sample agent does its job in a cell, turns overeager, and is stopped; then the record tells it.
//! Everything it needs is in this binary; nothing leaves the machine.

pub(crate) mod agent;
mod service;
mod summary;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use wardroom_model::AgentName;
use wardroom_model::exit::Exit;

use crate::cli;
use crate::commands::policy;
use crate::failure::{Done, Failure, OrExit};
use crate::keeper;
use crate::places::Places;
use crate::{screen, signals};
use service::Service;

/// The sample agent's name.
const NAME: &str = "sample";

/// Shows it. Succeeds only if the agent ran, was refused what it had to be refused, and the ledger verifies.
pub(crate) fn show(asked: &cli::Demo) -> Done {
    // The cell's keeper gets a Ctrl-C as well, and ends; then the stage is taken down.
    let interrupts = signals::heard().or_exit(Exit::Internal)?;
    let stage = Stage::set().or_exit(Exit::Internal)?;
    let done = play(&stage);
    stage.leave(asked.keep);
    if let Some(signal) = signals::first(&interrupts) {
        signals::die_by(signal).or_exit(Exit::Internal)?;
    }
    done
}

fn play(stage: &Stage) -> Done {
    let service = service::start().or_exit(Exit::Internal)?;
    stage.furnish(&service).or_exit(Exit::Internal)?;
    let places = Places::find(Some(stage.path()))?;
    let name = AgentName::parse(NAME).or_exit(Exit::Internal)?;
    let file = places.agent(&name).policy;
    policy::save(&file, &stage.policy(&service))?;
    screen::talk("The agent `sample` starts in its cell. What it says about itself:\n");
    let status = keeper::run_apart(stage.path(), NAME).or_exit(Exit::Internal)?;
    if !status.success() {
        return Err(Failure::new(Exit::Internal, format!("the sample agent failed at its work ({status})")));
    }
    summary::tell(&places, &name)
}

/// The directory in which the demonstration takes place.
struct Stage {
    directory: PathBuf,
}

impl Stage {
    fn set() -> anyhow::Result<Self> {
        let directory = std::env::temp_dir().join(format!("wardroom-demo-{}", std::process::id()));
        fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        // In system mode the scribe and the gate run as users of their own, who must find their way.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o711))?;
        Ok(Self { directory })
    }

    fn path(&self) -> &Path {
        &self.directory
    }

    fn workspace(&self) -> PathBuf {
        self.directory.join("triage")
    }

    /// A small repository, the service's authority, and the sample agent as a program.
    fn furnish(&self, service: &Service) -> anyhow::Result<()> {
        let source = self.workspace().join("src");
        fs::create_dir_all(&source)?;
        fs::write(
            source.join("parser.rs"),
            "// TODO: empty input\nfn parse(text: &str) -> Option<Ast> { first(text) }\n// TODO: spans\n",
        )?;
        fs::write(source.join("main.rs"), "fn main() {\n    // TODO: the new flag\n    run();\n}\n")?;
        fs::write(self.workspace().join("authority.pem"), &service.authority)?;
        let tools = self.directory.join("tools");
        fs::create_dir(&tools)?;
        fs::copy("/proc/self/exe", tools.join("sample-agent")).context("cannot copy the sample agent")?;
        fs::set_permissions(tools.join("sample-agent"), fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn policy(&self, service: &Service) -> String {
        format!(
            "# The demonstration's policy: one service, one workspace, nothing else.\n\n\
             [agent]\nname = \"{NAME}\"\nrole = \"Triages incoming issues\"\nowner = \"you\"\n\
             command = [\"/tools/sample-agent\", \"__role\", \"sample-agent\"]\n\n\
             [isolation]\nkind = \"cell\"\nlimits = \"rlimits-only\"\n\n\
             [files]\nworkspace = {:?}\nread_only = [{:?}]\naudit_reads = \"sensitive\"   # also names that do not exist inside\n\n\
             [[network.allow]]\nhost = \"{}\"\naddress = \"{}\"   # where the name is dialled: the demo's own server\n",
            self.workspace(),
            self.directory.join("tools"),
            service::HOST,
            service.address,
        )
    }

    /// Takes the stage down, or says where it is.
    fn leave(&self, keep: bool) {
        let base = self.directory.display();
        if keep {
            screen::talk(&format!("\nKept. Look around: wardroom --base {base} log {NAME}"));
        } else if let Err(error) = fs::remove_dir_all(&self.directory) {
            screen::talk(&format!("wardroom: {base} could not be removed: {error}"));
        }
    }
}
