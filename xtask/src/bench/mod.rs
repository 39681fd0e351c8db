//! Measurements against bare runs and installed peers.
//!
//! Every row is a ratio within one run: its sides take turns, round by round, and the medians are compared. What cannot be measured here is
//! said and left out; it is never a number.

mod gate;
mod gateway;
mod inside;
mod ledger;
mod peer;
mod place;
mod projects;
mod resident;
mod row;
mod squid;
mod start;
mod table;
mod traffic;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::bench::place::Place;
use crate::bench::row::Row;
use crate::say::say;
use crate::spawn;

/// What to measure, and where the numbers go.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only the rows whose name contains this.
    pub(crate) name: Option<String>,
    /// Write the numbers as JSON.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Write the table into docs/performance.md.
    #[arg(long)]
    pub(crate) write: bool,
    /// Measure this binary instead of building a release.
    #[arg(long)]
    pub(crate) binary: Option<PathBuf>,
}

/// One row: its name, and the function that measures it.
type Measurement = (&'static str, fn(&Place) -> Result<Row>);

const ROWS: [Measurement; 12] = [
    ("start", start::start),
    ("exec-storm", inside::exec_storm),
    ("file-storm", inside::file_storm),
    ("build", projects::build),
    ("git-clone", projects::clone),
    ("imports", projects::imports),
    ("gate-throughput", gate::throughput),
    ("gate-latency", gate::latency),
    ("ledger-append", ledger::append),
    ("ledger-verify", ledger::verify),
    ("opens", inside::opens),
    ("resident", resident::resident),
];

/// Measures, shows the table, and writes it where it was asked for.
pub(crate) fn bench(options: &Options) -> Result<()> {
    let place = Place::make(binary(options)?)?;
    let chosen = |name: &str| options.name.as_deref().is_none_or(|part| name.contains(part));
    let mut rows = Vec::new();
    for (name, measure) in ROWS.into_iter().filter(|(name, _)| chosen(name)) {
        match measure(&place) {
            Ok(row) => {
                say!("{}", table::line(&row));
                rows.push(row);
            }
            Err(error) => say!("{name}: not measured: {error:#}"),
        }
    }
    let inspected = gateway::rows(&place, &chosen)?;
    if rows.is_empty() && inspected.is_empty() {
        bail!("nothing was measured");
    }
    if let Some(path) = &options.json {
        let all: Vec<_> = rows.iter().chain(&inspected).collect();
        let text = serde_json::to_string_pretty(&all)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    if options.write {
        table::write("bench", &rows)?;
        table::write("bench gate", &inspected)?;
    }
    Ok(())
}

fn binary(options: &Options) -> Result<PathBuf> {
    if let Some(binary) = &options.binary {
        return std::path::absolute(binary).context("the binary");
    }
    spawn::run(&mut spawn::cargo(&["build", "--release", "--locked", "--package", "wardroom"]))?;
    Ok(crate::workspace().join("target/release/wardroom"))
}
