//! Running the attempts in a cell of the agent's own policy, and reading back what they left on its ledger.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{MemfdFlags, memfd_create};
use wardroom_ledger::Query;
use wardroom_model::event::SessionStart;
use wardroom_model::exit::Exit;
use wardroom_model::plan::Mount;
use wardroom_scribe::records;

use super::outcome::Report;
use super::trace::Seen;
use crate::called::wardroom;
use crate::commands::policy::Source;
use crate::commands::run::command_line;
use crate::failure::{Failure, OrExit};
use crate::keeper::{self, RunRequest, Streams};
use crate::places::{AgentPlaces, Places};
use crate::signals;

/// Where our own program is found inside.
const INSIDE: &str = "/run/wardroom/probe";

/// Whether a session on record was one of ours: by the command that only we give to a cell.
pub(crate) fn is_of_probes(start: &SessionStart) -> bool {
    start.command.shown().starts_with(&[INSIDE, "__role", "probe"].join("\0").into_bytes())
}

/// Where a directory of the host's is found inside, as if the policy shared it: not among the places where services keep
/// their sockets, for there must be none in those.
pub(super) const SHARED: &str = "/wardroom-verify";

/// How the probes end when the operator wants no more of them: by SIGHUP, SIGINT, SIGQUIT or SIGTERM.
const BROKEN_OFF: [u8; 4] = [129, 130, 131, 143];

/// Runs these probes in a cell of this policy, one after the other. `shared` is a directory that it sees as well.
pub(super) fn attempts(
    places: &Places,
    source: Source,
    shared: &Path,
    fixtures: &str,
    ids: &[&str],
) -> Result<Vec<Report>, Failure> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let output = memory("wardroom-verify").or_exit(Exit::Internal)?;
    let mut read_back = output.try_clone().or_exit(Exit::Internal)?;
    let words = [INSIDE, "__role", "probe", "all", fixtures].into_iter().chain(ids.iter().copied());
    let request = RunRequest {
        passphrase: keeper::Passphrase::Never,
        source,
        command: words.map(|word| word.as_bytes().to_vec()).collect(),
        mounts: vec![ourselves().or_exit(Exit::Internal)?, read_only(shared.to_owned(), SHARED, false)],
        streams: Streams::Given(streams(output).or_exit(Exit::Internal)?),
        action: command_line(),
    };
    let status = keeper::run(places, request)?;
    // The signals were the cell's while it stood.
    signals::deadly().or_exit(Exit::Internal)?;
    if BROKEN_OFF.contains(&status) {
        return Err(Failure::new(Exit::CouldNotTest, "it was broken off, and nothing is known"));
    }
    let mut text = String::new();
    read_back.rewind().and_then(|()| read_back.read_to_string(&mut text)).or_exit(Exit::Internal)?;
    let reports = Report::all_in(&text);
    if reports.is_empty() {
        let why = format!(
            "the cell ran no probe (status {status}); try `{} run` with a command of your own",
            wardroom()
        );
        return Err(Failure::new(Exit::CouldNotTest, why));
    }
    Ok(reports)
}

/// Our own program, read-only, for the agent to start.
fn ourselves() -> std::io::Result<Mount> {
    Ok(read_only(fs::canonicalize("/proc/self/exe")?, INSIDE, true))
}

fn read_only(source: PathBuf, target: &str, exec: bool) -> Mount {
    Mount::Bind { source, target: PathBuf::from(target), write: false, exec, owned: false, optional: false }
}

/// A file in memory: it has no name that an attempt could find, and no reader that could keep it waiting.
fn memory(name: &str) -> std::io::Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC)?))
}

fn streams(output: File) -> std::io::Result<[OwnedFd; 3]> {
    let null = || File::options().read(true).write(true).open("/dev/null");
    Ok([null()?.into(), output.into(), null()?.into()])
}

/// How many records the ledger has; none where there is no ledger yet.
pub(super) fn size(agent: &AgentPlaces) -> Result<u64, Failure> {
    Ok(since(agent, 0)?.last().map_or(0, |seen| seen.sequence + 1))
}

/// The records from this one on, in their order.
pub(super) fn since(agent: &AgentPlaces, from: u64) -> Result<Vec<Seen>, Failure> {
    if !agent.ledger.exists() {
        return Ok(Vec::new());
    }
    let query = Query { from, ..Query::default() };
    let mut found = Vec::new();
    for record in records(&agent.ledger, query).context("the ledger cannot be read").or_exit(Exit::Ledger)? {
        let record = record.context("the ledger cannot be read").or_exit(Exit::Ledger)?;
        if let Some(event) = record.event {
            found.push(Seen { sequence: record.head.sequence, event });
        }
    }
    Ok(found)
}
