//! Pid 1 of a cell: builds what the plan says around itself, gives up every privilege, then reaps and starts programs.
//!
//! It is a copy of the keeper (a fork without an exec, which saves the time of loading a program) with one descriptor
//! left: the control socket. It parses nothing that an agent wrote, and dies with the keeper.

mod build;
mod serve;

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wardroom_kernel::process;

use crate::build::Fail;
use crate::wire::{self, Reply};

/// How init builds, apart from the plan that it is told.
pub(crate) struct Setup {
    /// The level of Landlock to use.
    pub(crate) landlock: u32,
    pub(crate) fail: Fail,
}

/// Runs init, to the end of the cell.
pub(crate) fn run(setup: &Setup, control: &OwnedFd) -> ! {
    // A panic must not unwind into the copy of the keeper's stack that lies beneath this function.
    let result = catch_unwind(AssertUnwindSafe(|| match build::build(setup, control) {
        Ok(children) => serve::serve(control, &children).is_ok(),
        Err(fault) => {
            // If the keeper is gone too, nobody is left to tell; the end of this process is the answer.
            let told = wire::send(control, &Reply::Failed(fault), &[]);
            told.is_err()
        }
    }));
    process::exit_now(if matches!(result, Ok(true)) { 0 } else { 1 })
}
