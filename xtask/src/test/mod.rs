//! Runs every test that this machine can run, and says what it could not.
//!
//! The test programs are started directly, not through `cargo test`: a harness that hides the output of passing tests would
//! hide the lines `SKIPPED: <test>: <why>` as well. Started by root, the programs of every crate that touches the
//! kernel run a second time under a plain uid, because user mode is the first-class mode.

mod halves;
mod programs;
mod tally;

use anyhow::{Result, bail};

use crate::clock;
use crate::say::say;
use crate::spawn;
use crate::test::halves::Half;
use crate::test::programs::Program;
use crate::test::tally::{Tally, Totals};

/// Runs the tests and prints the totals as the last line, always of the form `N passed, N failed, N skipped`.
pub(crate) fn test(packages: &[String], filter: Option<&str>) -> Result<()> {
    let programs = programs::build(packages)?;
    let mut totals = Totals::default();
    for half in halves::of_this_machine(&mut totals)? {
        for program in programs.iter().filter(|program| half.takes(program)) {
            let tally = run(&half, program, filter)?;
            totals.add(program, &tally);
        }
    }
    if filter.is_none() {
        totals.add_doctests(&doctests(packages)?);
    }
    totals.report();
    if totals.failed() > 0 {
        bail!("{} tests failed", totals.failed());
    }
    Ok(())
}

fn run(half: &Half, program: &Program, filter: Option<&str>) -> Result<Tally> {
    let mut command = half.command(program);
    command.args(filter).arg("--nocapture");
    let (captured, took) = clock::timed(|| spawn::capture(&mut command));
    let captured = captured?;
    let tally = Tally::read(&captured);
    say!("{half}{program}: {tally} ({:.1} s)", took.as_secs_f64());
    if tally.failed > 0 {
        say!("{}\n{}", captured.stdout.trim_end(), captured.stderr.trim_end());
    }
    Ok(tally)
}

fn doctests(packages: &[String]) -> Result<Tally> {
    let mut cargo = spawn::cargo(&["test", "--doc", "--locked"]);
    programs::select(&mut cargo, packages);
    let captured = spawn::capture(&mut cargo)?;
    let tally = Tally::read(&captured);
    say!("documentation: {tally}");
    if tally.failed > 0 {
        say!("{}\n{}", captured.stdout.trim_end(), captured.stderr.trim_end());
    }
    Ok(tally)
}
