//! The table of measurements, for people.

use std::fs;

use anyhow::{Context, Result};

use crate::bench::row::{Goal, Row};
use crate::{say::say, spawn};

const PAGE: &str = "docs/performance.md";

/// One row as a line of a Markdown table.
pub(crate) fn line(row: &Row) -> String {
    let sides: Vec<_> =
        row.sides.iter().map(|(name, number)| format!("{name} {} {}", short(*number), row.unit)).collect();
    let goal = match row.goal {
        Goal::AtMost(most) => format!("≤ {}", short(most)),
        Goal::AtLeast(least) => format!("≥ {}", short(least)),
        Goal::Exactly(value) => format!("= {}", short(value)),
    };
    let reached = if row.reached { "reached" } else { "**missed**" };
    format!(
        "| {} | {} | {} {} | {goal} | {reached} |",
        row.what,
        sides.join(", "),
        short(row.result),
        row.means
    )
}

/// Writes a table into the page on performance, between the marks of its name. Rows that were not measured this time leave
/// theirs as it is.
pub(crate) fn write(name: &str, rows: &[Row]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let path = crate::workspace().join(PAGE);
    let page = fs::read_to_string(&path).context(PAGE)?;
    let (before, rest) = page.split_once(&begin).with_context(|| format!("no {begin} in {PAGE}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no {end} in {PAGE}"))?;
    let lines: Vec<_> = rows.iter().map(line).collect();
    let table = format!(
        "{begin}\n{}\n\n| what | medians | result | goal | |\n|---|---|---|---|---|\n{}\n{end}",
        machine(),
        lines.join("\n")
    );
    fs::write(&path, format!("{before}{table}{after}")).context(PAGE)?;
    say!("written to {PAGE}");
    Ok(())
}

/// The machine in one sentence.
fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let commit =
        spawn::read(spawn::command("git").args(["rev-parse", "--short", "HEAD"])).unwrap_or_default();
    let user = if rustix::process::geteuid().is_root() { "root" } else { "a plain user" };
    format!(
        "Linux {}, {count} × {}, started by {user}, commit {}.",
        kernel.trim(),
        model.trim_start_matches([' ', '\t', ':']).trim(),
        commit.trim()
    )
}

/// Three digits that matter.
fn short(number: f64) -> String {
    match number.abs() {
        n if n >= 1000.0 => format!("{number:.0}"),
        n if n >= 100.0 => format!("{number:.1}"),
        n if n >= 1.0 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}
