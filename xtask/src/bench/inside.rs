//! Storms: the audited system calls, as fast as a program can make them.

use std::fs;

use anyhow::{Context, Result};

use crate::bench::peer;
use crate::bench::place::{Place, seconds};
use crate::bench::row::{Goal, Row, Side, interleaved, ratio};
use crate::spawn;

/// 2,000 times fork and exec.
pub(crate) fn exec_storm(place: &Place) -> Result<Row> {
    compare(place, &["./exec_storm", "2000"], 5, ("exec-storm", "2,000 fork + exec", Goal::AtMost(1.4)))
}

/// 20,000 files through their whole life.
pub(crate) fn file_storm(place: &Place) -> Result<Row> {
    let row = ("file-storm", "create, write, close, rename, unlink 20,000 files", Goal::AtMost(2.5));
    compare(place, &["./file_storm", "20000"], 5, row)
}

/// Name, description and goal of a row.
pub(crate) type Described = (&'static str, &'static str, Goal);

/// A load in a cell and in the open; what it prints counts, not how long the cell took to start.
pub(crate) fn compare(place: &Place, load: &[&str], rounds: usize, row: Described) -> Result<Row> {
    let (name, what, goal) = row;
    let mut sides = vec![
        Side::new("wardroom", || seconds(&mut place.in_a_cell(load))),
        Side::new("bare", || seconds(&mut place.in_the_open(load)?)),
    ];
    let peers = peer::installed(place, load);
    for peer in peers {
        sides.push(Side::new(peer.name, move || seconds(&mut peer.running(place, load))));
    }
    let sides = interleaved(rounds, sides)?;
    let result = ratio(&sides)?;
    Ok(Row {
        name,
        what: what.into(),
        unit: "s",
        sides,
        result,
        means: "times bare",
        goal,
        reached: goal.holds(result),
    })
}

/// A million opens for writing from 8 threads, and as many records.
pub(crate) fn opens(place: &Place) -> Result<Row> {
    let took = seconds(&mut place.in_a_cell(&["./opens", "8", "125000"]))?;
    let mut counted = 0;
    for number in 0..8 {
        let name = format!("counted-open-{number}");
        counted += place.records("file", &format!("/workspace/{name}"))?;
        fs::remove_file(place.workspace().join(name))?;
    }
    spawn::read(&mut place.wardroom(&["ledger", "verify", "bench"]))
        .context("the ledger of a million records")?;
    let counted = f64::from(u32::try_from(counted)?);
    let goal = Goal::Exactly(1e6);
    Ok(Row {
        name: "opens",
        what: "a million opens for writing from 8 threads".into(),
        unit: "s",
        sides: vec![("wardroom".to_owned(), took)],
        result: counted,
        means: "records",
        goal,
        reached: goal.holds(counted),
    })
}
