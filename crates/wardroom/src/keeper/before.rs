//! What runs in the cell before the agent's command: as the agent, behind all walls and on record, and not for long. That it
//! fails is said and stops nothing: without it a program trusts less, never more.

use std::fs::File;
use std::time::Duration;

use wardroom_cell::{Cell, CellEvent, Spawn};
use wardroom_model::exit::Exit;
use wardroom_model::plan::CellPlan;

use super::processes::wait_readable;
use super::streams::environment;
use crate::clock::Deadline;
use crate::failure::{Failure, OrExit};
use crate::screen;

/// How long it may take. Making an NSS database takes a tenth of a second; a disk that is slow, some.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs it, where the plan has something, and waits for its end.
pub(super) fn run(cell: &mut Cell, plan: &CellPlan) -> Result<(), Failure> {
    let Some(argv) = &plan.before else { return Ok(()) };
    let nothing = || File::options().read(true).write(true).open("/dev/null").or_exit(Exit::Internal);
    let spawn = Spawn {
        argv: argv.clone(),
        env: environment(plan, None),
        directory: "/".into(),
        stdio: [nothing()?.into(), nothing()?.into(), nothing()?.into()],
        terminal: false,
    };
    let id = cell.spawn(spawn).or_exit(Exit::CannotContain)?;
    let deadline = Deadline::after(PATIENCE);
    while wait_readable(cell.events(), deadline).or_exit(Exit::Internal)? {
        match cell.next_event().or_exit(Exit::Internal)? {
            CellEvent::Exited { id: ended, status: 0 } if ended == id => return Ok(()),
            CellEvent::Exited { .. } => break,
            CellEvent::SpawnFailed { .. } => {}
            CellEvent::Ended => {
                return Err(Failure::new(Exit::Supervision, "the cell ended before its command began"));
            }
        }
    }
    screen::talk(
        "wardroom: the agent's NSS database could not be made ready: a browser in the cell refuses inspected hosts",
    );
    Ok(())
}
