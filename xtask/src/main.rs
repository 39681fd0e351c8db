//! The one door: every command that a developer or CI runs, the same at the desk and in CI.
//!
//! A developer's tool, not part of the product: it may print and start compilers. It never installs anything and
//! never reaches the network by itself.

mod bench;
mod checks;
mod clock;
mod say;
mod spawn;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::say::say;

/// Every command that a developer or CI runs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Formats the workspace, or only checks it.
    Fmt {
        /// Change nothing; fail where something would change.
        #[arg(long)]
        check: bool,
    },
    /// Clippy on every target; a warning is an error.
    Lint,
    /// Builds the documentation; a warning is an error.
    Doc,
    /// Every test that this machine can run, as root and as a plain user, and a counted list of what it cannot run.
    Test {
        /// Only these packages.
        #[arg(short, long)]
        package: Vec<String>,
        /// Only tests whose name contains this.
        filter: Option<String>,
    },
    /// The hostile programs of `hostile/`, in a cell and as positive controls.
    Hostile {
        /// Only programs whose id contains this, such as `C5` or `N2`.
        filter: Option<String>,
    },
    /// Measures against bare runs and installed peers.
    Bench(bench::Options),
    /// One of the fuzz targets (`fuzz/`); without a name, the property tests with many more cases.
    Fuzz {
        /// The target.
        target: Option<String>,
        /// How long, in seconds.
        #[arg(long = "for", value_name = "SECONDS", default_value_t = 60)]
        seconds: u64,
        /// Cases a property.
        #[arg(long, default_value_t = 20_000)]
        cases: u32,
    },
    /// What no compiler checks: dependency direction, promises and their tests, forbidden words.
    Tidy,
    /// All that must hold before a change is merged, in the order of cheapness.
    Ci,
}

fn main() -> ExitCode {
    match run(Xtask::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Fmt { check } => checks::fmt(check),
        Command::Lint => checks::lint(),
        Command::Doc => checks::doc(),
        Command::Test { package, filter } => test::test(&package, filter.as_deref()),
        Command::Hostile { filter } => checks::hostile(filter.as_deref()),
        Command::Bench(options) => bench::bench(&options),
        Command::Fuzz { target: Some(target), seconds, .. } => checks::fuzz_target(&target, seconds),
        Command::Fuzz { target: None, cases, .. } => checks::fuzz(cases),
        Command::Tidy => tidy::tidy(),
        Command::Ci => ci(),
    }
}

/// The totals of the tests are the last line.
fn ci() -> Result<()> {
    checks::fmt(true)?;
    tidy::tidy()?;
    checks::lint()?;
    checks::doc()?;
    test::test(&[], None)
}

/// The top directory of the workspace.
fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.clone(), PathBuf::from)
}
