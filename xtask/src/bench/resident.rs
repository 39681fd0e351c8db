//! What an idle agent costs in memory: keeper, scribe and gate together. The cell's own processes are not counted.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};

use crate::bench::place::Place;
use crate::bench::row::{Goal, Row};

/// Sums the proportional and the resident memory of the three.
pub(crate) fn resident(place: &Place) -> Result<Row> {
    read_anew(place.binary())?;
    let mut keeper = place.in_a_cell(&["/bin/sleep", "5"]).spawn().context("wardroom run")?;
    thread::sleep(Duration::from_secs(2)); // idle, and everything has started
    let processes = three(keeper.id());
    let memory: Result<Vec<_>> =
        processes.iter().map(|pid| Ok((field(*pid, "Rss:")?, field(*pid, "Pss:")?))).collect();
    keeper.wait()?;
    let memory = memory?;
    ensure!(memory.len() == 3, "found {} of keeper, scribe and gate", memory.len());
    let sum = |pick: fn(&(f64, f64)) -> f64| memory.iter().map(pick).sum::<f64>();
    let rss = sum(|numbers| numbers.0);
    let goal = Goal::AtMost(25.0);
    Ok(Row {
        name: "resident",
        what: "keeper, gate and scribe, idle".into(),
        unit: "MiB",
        sides: vec![("resident".to_owned(), rss), ("proportional".to_owned(), sum(|numbers| numbers.1))],
        result: rss,
        means: "MiB resident together",
        goal,
        reached: goal.holds(rss),
    })
}

/// Has the binary come from the disk again, as after a restart of the machine. Behind its writing it lies in the page cache in large
/// pieces, which count as resident wherever one byte of them is used.
fn read_anew(binary: &Path) -> Result<()> {
    let file = File::open(binary).with_context(|| binary.display().to_string())?;
    file.sync_data()?;
    fadvise(&file, 0, None, Advice::DontNeed).context("taking the binary out of the page cache")
}

/// The keeper and those of its children that run Wardroom's own roles.
fn three(keeper: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap_or_default();
    let roles = children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("__role")
    });
    std::iter::once(keeper).chain(roles).collect()
}

/// A field of `smaps_rollup`, in MiB.
fn field(pid: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| path.clone())?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().context(path)?;
    Ok(kibibytes / 1024.0)
}
