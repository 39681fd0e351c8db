//! The ledger by itself: records appended and verified a second, by an example of the scribe's crate.
//!
//! `cargo run --release -p wardroom-scribe --example throughput` prints lines `append 123456` and `verify 654321`, records a second.

use anyhow::{Context, Result, bail};

use crate::bench::place::Place;
use crate::bench::row::{Goal, Row};
use crate::spawn;

/// Records appended a second.
pub(crate) fn append(_place: &Place) -> Result<Row> {
    measured("ledger-append", "ledger append, one core", "append", 200_000.0)
}

/// Records verified a second.
pub(crate) fn verify(_place: &Place) -> Result<Row> {
    measured("ledger-verify", "ledger verify, one core", "verify", 500_000.0)
}

fn measured(name: &'static str, what: &'static str, word: &str, least: f64) -> Result<Row> {
    if !crate::workspace().join("crates/wardroom-scribe/examples/throughput.rs").is_file() {
        bail!("there is no example `throughput` in wardroom-scribe");
    }
    let arguments = [
        "run",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "wardroom-scribe",
        "--example",
        "throughput",
    ];
    let text = spawn::read(&mut spawn::cargo(&arguments))?;
    let line = text.lines().find_map(|line| line.strip_prefix(word)).with_context(|| text.clone())?;
    let rate: f64 = line.trim().parse().with_context(|| line.to_owned())?;
    let goal = Goal::AtLeast(least);
    Ok(Row {
        name,
        what: what.into(),
        unit: "records/s",
        sides: vec![("wardroom".to_owned(), rate)],
        result: rate,
        means: "records/s",
        goal,
        reached: goal.holds(rate),
    })
}
