//! The canaries' thread: it puts the decoys into the agent's home while the helpers start, and watches them while the
//! agent runs. When it ends, for whatever reason, nobody sees who opens a decoy, and the cell is ended.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use anyhow::{Context, anyhow};
use rustix::process::Pid;
use wardroom_cell::canary::{Canaries, CanaryError, Lookout, Mark};
use wardroom_model::event::Mechanism;
use wardroom_model::exit::Exit;
use wardroom_model::plan::CellPlan;
use wardroom_scribe::Handoff;

use super::state::{random, whole};
use super::worker::Worker;
use crate::failure::{Failure, OrExit};
use crate::places::AgentPlaces;

/// Decoys that are being put in their places.
#[derive(Debug)]
pub(super) struct Arming {
    armed: Receiver<Result<Mechanism, CanaryError>>,
    begin: Sender<Task>,
    thread: CanaryThread,
}

/// What the thread needs once there is a cell.
struct Task {
    handoff: Arc<Handoff>,
    init: Pid,
}

/// The watch.
#[derive(Debug)]
pub(super) struct CanaryThread(Worker<Result<(), CanaryError>>);

impl Arming {
    /// Begins, in a thread of its own. None where the plan has no decoys.
    pub(super) fn begin(
        agent: &AgentPlaces,
        plan: &CellPlan,
        trusted: Vec<PathBuf>,
    ) -> Result<Option<Self>, Failure> {
        if plan.canaries.is_empty() {
            return Ok(None);
        }
        let mark = mark(&agent.mark).or_exit(Exit::CannotContain)?;
        let (tell, armed) = mpsc::channel();
        let (begin, task) = mpsc::channel();
        let plan = plan.clone();
        let watch = move |stop: BorrowedFd<'_>| {
            let canaries = match Canaries::arm(&plan, &mark, &trusted) {
                Ok(canaries) => canaries,
                Err(error) => {
                    // Whoever started this may have given up meanwhile.
                    crate::failure::let_go(tell.send(Err(error)));
                    return Ok(());
                }
            };
            crate::failure::let_go(tell.send(canaries.mechanism()));
            task.recv().map_or(Ok(()), |Task { handoff, init }| {
                canaries.watch(&Lookout { handoff: &handoff, init, stop })
            })
        };
        let thread = Worker::start("canaries", watch).map(CanaryThread).or_exit(Exit::Internal)?;
        Ok(Some(Self { armed, begin, thread }))
    }

    /// Waits until every decoy is under its lease, asks back, and lets the watch begin.
    pub(super) fn finish(
        self,
        handoff: &Arc<Handoff>,
        init: Pid,
    ) -> Result<(Mechanism, CanaryThread), Failure> {
        let Self { armed, begin, thread } = self;
        let armed = armed.recv().context("the canaries' thread ended").or_exit(Exit::CannotContain)?;
        let mechanism = armed.or_exit(Exit::CannotContain)?;
        if mechanism.asked != mechanism.got {
            let Mechanism { name, asked, got } = mechanism;
            let why = format!("{name} are not in force as asked: asked {asked}, got {got}");
            return Err(Failure::new(Exit::CannotContain, why));
        }
        let task = Task { handoff: Arc::clone(handoff), init };
        begin.send(task).ok().context("the canaries' thread ended").or_exit(Exit::CannotContain)?;
        Ok((mechanism, thread))
    }
}

impl CanaryThread {
    /// Readable (hung up) once the watch has ended.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        self.0.ended()
    }

    /// Asks it to stop, without waiting.
    pub(super) fn stop(&mut self) {
        self.0.stop();
    }

    /// Stops it, and says how it ended. Once only.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        match self.0.finish() {
            Some(Ok(Ok(()))) | None => Ok(()),
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(_panic)) => Err(anyhow!("the canaries' thread panicked")),
        }
    }
}

/// What is this agent's own in its decoys, made at its first start.
fn mark(file: &Path) -> anyhow::Result<Mark> {
    match fs::read_to_string(file) {
        Ok(text) => Mark::parse(text.trim())
            .with_context(|| format!("{} holds no mark; remove it, and the decoys too", file.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => make_mark(file),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn make_mark(file: &Path) -> anyhow::Result<Mark> {
    let mark = Mark::new(random()?);
    // Half a mark would be none.
    whole(file, 0o600, |mut file| Ok(writeln!(file, "{}", mark.as_str())?))?;
    Ok(mark)
}
