//! A policy that changes while its agent runs: a valid new one is recorded and then decides, within a second; an
//! invalid one is refused loudly, and the old one stays.

use crate::failure::let_go;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use anyhow::anyhow;
use sha2::{Digest, Sha256};
use wardroom_model::bytes::Captured;
use wardroom_model::event::PolicyChange;
use wardroom_model::{Event, HostPattern};
use wardroom_policy::{Agent, Files, Isolation, PathRule};

use super::policy_file::{self, Watch};
use super::start::{Crew, in_force, record};
use crate::commands::policy::Source;
use crate::screen;

/// The policy file of a running agent; nothing to watch where the policy came from the command line.
#[derive(Debug)]
pub(super) struct PolicyFile {
    watched: Option<(PathBuf, Watch)>,
    /// What was read last, whether it was a policy or not, so that each text is answered once.
    last: String,
    /// The cell that was built: what of the policy a running cell cannot follow.
    built: String,
    /// The names that the agent's authority may vouch for until the next start.
    inspected: Vec<HostPattern>,
}

impl PolicyFile {
    /// Watches the file that a policy came from.
    pub(super) fn watch(source: &Source) -> anyhow::Result<Self> {
        let watched = match &source.file {
            Some(file) => Some((file.clone(), Watch::on(file)?)),
            None => None,
        };
        let inspected = source.policy.network().inspected();
        Ok(Self { watched, last: source.text.clone(), built: fixed(source), inspected })
    }

    /// Readable when the file may have changed.
    pub(super) fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.watched.as_ref().map(|(_, watch)| watch.as_fd())
    }

    /// Reads the file again, and brings what it says into force if it is a policy.
    pub(super) fn reread(&mut self, crew: &mut Crew) {
        let Some((file, watch)) = &mut self.watched else { return };
        if !watch.changed() {
            return;
        }
        let read = policy_file::read(file);
        if read.is_err() {
            // It may be for want of a descriptor, or for a moment.
            watch.look_again();
        }
        let text = read.as_ref().map_or_else(ToString::to_string, Clone::clone);
        if text == self.last {
            return;
        }
        self.last = text;
        // A line a mistake: nobody waits for this at the terminal, and the record is of one line.
        let parsed = read
            .map_err(|failure| anyhow!("{failure}"))
            .and_then(|text| Source::read(Some(file.clone()), text).map_err(|errors| anyhow!("{errors}")));
        let changed = match parsed {
            Ok(source) if !source.policy.unsupported().is_empty() => {
                Err(anyhow!("it asks for what is not yet supported"))
            }
            Ok(source) => self.enforce(crew, &source),
            Err(error) => Err(error),
        };
        if let Err(error) = changed {
            self.refuse(crew, &format!("{error:#}"));
        }
    }

    /// Recorded first, in force second.
    fn enforce(&self, crew: &mut Crew, source: &Source) -> anyhow::Result<()> {
        record(&crew.handoff, &Event::Policy(in_force(source)))?;
        crew.gate.enforce(source)?;
        crew.broker.enforce(source, &crew.gate)?;
        screen::talk(&format!("wardroom: {} changed; its network rules are in force", source.shown()));
        if fixed(source) != self.built {
            screen::talk(
                "wardroom: what it changed about the cell itself (files, limits, command, new credentials) takes effect at the next start",
            );
        }
        self.tell_what_is_not_inspected_yet(source);
        Ok(())
    }

    /// The authority's certificate and the cell's trust in it were settled at the start.
    fn tell_what_is_not_inspected_yet(&self, source: &Source) {
        let wanted = source.policy.network().inspected();
        let late = wanted.iter().filter(|name| !self.inspected.iter().any(|known| known.covers(name)));
        let late: Vec<_> = late.map(ToString::to_string).collect();
        if !late.is_empty() {
            screen::talk(&format!(
                "wardroom: looking into connections to {} takes effect at the next start; until then they are refused",
                late.join(", ")
            ));
        }
    }

    fn refuse(&self, crew: &Crew, why: &str) {
        let file = self.watched.as_ref().map(|(file, _)| file.display().to_string()).unwrap_or_default();
        screen::talk(&format!(
            "wardroom: {file} changed and is refused; the policy of before stays in force:\n{why}"
        ));
        let change = PolicyChange {
            digest: Sha256::digest(self.last.as_bytes()).into(),
            file: Captured::from(file.as_str()),
            refused: Some(Captured::from(why.replace('\n', "; ").as_str())),
            text: None,
        };
        // A ledger that takes no more has been noticed elsewhere already, and ends the run.
        let_go(record(&crew.handoff, &Event::Policy(change)));
    }
}

/// What of a policy is fixed once its cell stands, wherever in the file it does.
fn fixed(source: &Source) -> String {
    let policy = &source.policy;
    let Agent { command, environment, name: _, role: _, owner: _, hours: _ } = policy.agent();
    let Isolation { kind, memory, cpus, tasks, limits, root, trace_children } = policy.isolation();
    let Files { workspace, read_only, read_write, sensitive, audit_reads, canaries } = policy.files();
    // A credential that comes later has no placeholder before the next start.
    let credentials: Vec<_> = policy.credentials().iter().map(|c| (&c.name, &c.env, &c.host)).collect();
    let given = [root.as_slice(), workspace.as_slice(), read_only, read_write].map(paths);
    let limits = (kind, memory, cpus, tasks, limits, trace_children);
    format!("{:?}", (command, environment, limits, given, sensitive, audit_reads, canaries, credentials))
}

fn paths(rules: &[PathRule]) -> Vec<&str> {
    rules.iter().map(|rule| rule.path.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\ntasks = 9\n[files]\nworkspace = \"/srv/a\"\n";

    #[test]
    fn what_only_moved_in_the_file_is_no_change_of_the_cell() {
        let of = |text: String| fixed(&Source::parse(Some("scout.toml".into()), text).unwrap());
        let before = of(POLICY.to_owned());
        assert_eq!(of(format!("# a comment\n[[network.allow]]\nhost = \"a.net\"\n{POLICY}")), before);
        for (old, new) in
            [("/srv/a", "/srv/b"), ("tasks = 9", "tasks = 8"), ("name =", "command = [\"a\"]\nname =")]
        {
            assert_ne!(of(POLICY.replace(old, new)), before, "{new}");
        }
    }
}
