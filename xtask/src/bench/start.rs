//! How long it takes to run nothing: `/bin/true`, with everything on.

use anyhow::{Result, bail};

use crate::bench::peer;
use crate::bench::place::Place;
use crate::bench::row::{Goal, Row, Side, interleaved, ratio};
use crate::{clock, spawn};

/// Wall time of `wardroom run`, from its start to its end, beside whoever else is installed.
pub(crate) fn start(place: &Place) -> Result<Row> {
    if !spawn::installed("bwrap") {
        bail!("bwrap is not installed, and the goal is a ratio to it");
    }
    let mut sides = vec![
        Side::new("wardroom", || wall(&mut place.in_a_cell(&["/bin/true"]))),
        Side::new("bwrap", || {
            wall(spawn::command("bwrap").args(["--unshare-all", "--ro-bind", "/", "/", "/bin/true"]))
        }),
    ];
    let peers = peer::installed(place, &["/bin/true"]);
    for peer in peers {
        sides.push(Side::new(peer.name, move || wall(&mut peer.running(place, &["/bin/true"]))));
    }
    let sides = interleaved(21, sides)?;
    let result = ratio(&sides)?;
    let goal = Goal::AtMost(2.5);
    Ok(Row {
        name: "start",
        what: "run of /bin/true, wall".into(),
        unit: "ms",
        sides,
        result,
        means: "times bwrap",
        goal,
        reached: goal.holds(result),
    })
}

fn wall(command: &mut std::process::Command) -> Result<f64> {
    let (output, took) = clock::timed(|| spawn::read(command));
    output?;
    Ok(took.as_secs_f64() * 1e3)
}
