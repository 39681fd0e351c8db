//! What the gate costs: connections that it only passes on, and connections that it opens, beside none at all.

use std::fs;

use anyhow::{Context, Result};

use crate::bench::place::Place;
use crate::bench::row::{Goal, Row, Side, at, interleaved, ratio};
use crate::bench::traffic::{Lane, Server, Work};

/// Rounds of each side.
const ROUNDS: usize = 3;
/// Open connections whose memory is measured, where the limit on descriptors has room for them.
const OPEN: usize = 10_000;
/// What a gate holds open besides: its sockets inside, its channels, the ledger's ring, spare pipes. Some 40, and room.
const BESIDES: usize = 100;

/// All rows, with one server.
pub(crate) fn rows(place: &Place, chosen: &dyn Fn(&str) -> bool) -> Result<Vec<Row>> {
    if !NAMES.iter().any(|name| chosen(name)) {
        return Ok(Vec::new());
    }
    let bench = Bench { place, server: Server::start(place)? };
    let mut rows = Vec::new();
    for (name, measure) in NAMES.into_iter().zip(MEASUREMENTS) {
        if !chosen(name) {
            continue;
        }
        match measure(&bench, name) {
            Ok(row) => {
                crate::say::say!("{}", super::table::line(&row));
                rows.push(row);
            }
            Err(error) => crate::say::say!("{name}: not measured: {error:#}"),
        }
    }
    Ok(rows)
}

const NAMES: [&str; 13] = [
    "gateway-trip-passed",
    "gateway-trip-inspected",
    "gateway-trip-bare",
    "gateway-setup-passed",
    "gateway-setup-inspected",
    "gateway-flow",
    "gateway-requests",
    "gateway-requests-bare",
    "gateway-processor",
    "gateway-handshakes",
    "gateway-events",
    "gateway-open-passed",
    "gateway-open-inspected",
];

type Measurement = fn(&Bench<'_>, &'static str) -> Result<Row>;

const MEASUREMENTS: [Measurement; 13] = [
    |bench, name| {
        bench.added(
            (name, "a request on an open connection, passed on", Goal::AtMost(40.0)),
            Lane::Passed,
            TRIPS,
        )
    },
    |bench, name| {
        bench.added(
            (name, "a request on an open connection, inspected", Goal::AtMost(60.0)),
            Lane::Inspected,
            TRIPS,
        )
    },
    |bench, name| {
        bench.added(
            (name, "the same, where client and server parse nothing", Goal::AtMost(60.0)),
            Lane::Bare,
            ("bare-round-trips", 5_000, 1),
        )
    },
    |bench, name| {
        bench.added(
            (name, "a new TLS connection and a request, passed on", Goal::AtMost(150.0)),
            Lane::Passed,
            NEW,
        )
    },
    |bench, name| {
        bench.added(
            (name, "a new TLS connection and a request, inspected", Goal::AtMost(600.0)),
            Lane::Inspected,
            NEW,
        )
    },
    |bench, name| bench.flow(name),
    |bench, name| {
        let row = (name, "inspected HTTPS over 32 connections that stay open", Goal::AtLeast(0.5));
        bench.requests(row, Lane::Inspected, REQUESTS)
    },
    |bench, name| {
        let row = (name, "the same, where client and server parse nothing", Goal::AtLeast(0.5));
        bench.requests(row, Lane::Bare, ("bare-requests", 32_000, 32))
    },
    |bench, name| bench.processor(name),
    |bench, name| bench.handshakes(name),
    |bench, name| {
        bench.added(
            (name, "the first server-sent event, inspected", Goal::AtMost(1000.0)),
            Lane::Inspected,
            EVENTS,
        )
    },
    |bench, name| bench.open((name, "passed on", Goal::AtMost(16.0)), Lane::Passed),
    |bench, name| bench.open((name, "inspected", Goal::AtMost(60.0)), Lane::Inspected),
];

const TRIPS: Work = ("round-trips", 5_000, 1);
const NEW: Work = ("connections", 500, 1);
const EVENTS: Work = ("events", 200, 1);
const REQUESTS: Work = ("requests", 32_000, 32);
/// Within the gate's burst of new connections.
const HANDSHAKES: Work = ("handshakes", 2_000, 16);

/// Name, description and goal of a row.
type Described = (&'static str, &'static str, Goal);

struct Bench<'a> {
    place: &'a Place,
    server: Server,
}

impl Bench<'_> {
    /// Our lane and the direct one, and those of mitmproxy and squid where they do the same.
    fn sides(&self, lane: Lane, work: Work) -> Result<Vec<(String, f64)>> {
        let direct = match lane {
            Lane::Plain | Lane::PlainDirect => Lane::PlainDirect,
            Lane::Bare | Lane::BareDirect => Lane::BareDirect,
            Lane::Direct | Lane::Passed | Lane::Inspected | Lane::Mitmproxy | Lane::Squid => Lane::Direct,
        };
        let number = |lane| move || self.server.number(self.place, lane, work);
        let mut sides = vec![Side::new("wardroom", number(lane)), Side::new("direct", number(direct))];
        if self.server.has_mitmproxy() && matches!(lane, Lane::Inspected) {
            sides.push(Side::new("mitmproxy", number(Lane::Mitmproxy)));
        }
        if self.server.has_squid() && matches!(lane, Lane::Inspected) {
            sides.push(Side::new("squid", number(Lane::Squid)));
        }
        interleaved(ROUNDS, sides)
    }

    /// Microseconds that a lane adds.
    fn added(&self, row: Described, lane: Lane, work: Work) -> Result<Row> {
        let sides = self.sides(lane, work)?;
        let [(_, ours), (_, direct), ..] = sides.as_slice() else { anyhow::bail!("nothing measured") };
        let result = ours - direct;
        Ok(row_of(row, ("us", "us added"), sides, result))
    }

    fn flow(&self, name: &'static str) -> Result<Row> {
        let mut sides = self.sides(Lane::Plain, ("flow", 1 << 30, 1))?;
        for (_, bytes) in &mut sides {
            *bytes /= 1024.0 * 1024.0 * 1024.0;
        }
        let result = ratio(&sides)?;
        let row = (name, "1 GiB of plain TCP, one flow", Goal::AtLeast(0.75));
        Ok(row_of(row, ("GiB/s", "of direct"), sides, result))
    }

    fn requests(&self, row: Described, lane: Lane, work: Work) -> Result<Row> {
        let sides = self.sides(lane, work)?;
        let result = ratio(&sides)?;
        Ok(row_of(row, ("requests/s", "of direct"), sides, result))
    }

    /// The gate's own time for each of these requests.
    fn processor(&self, name: &'static str) -> Result<Row> {
        let (_, count, _) = REQUESTS;
        let mut each = Vec::new();
        for _ in 0..ROUNDS {
            let mut load = self.server.load(self.place, Lane::Inspected, REQUESTS)?;
            let gate = load.gate()?;
            let before = processor_time(gate)?;
            load.work()?;
            each.push((processor_time(gate)? - before) * 1e6 / f64::from(u32::try_from(count)?));
        }
        let result = at(each, 0.5).context("no rounds")?;
        let row = (name, "the gate's processor time for an inspected request", Goal::AtMost(30.0));
        Ok(row_of(row, ("us", "us a request"), vec![("wardroom".to_owned(), result)], result))
    }

    fn handshakes(&self, name: &'static str) -> Result<Row> {
        let sides = self.sides(Lane::Inspected, HANDSHAKES)?;
        let result = sides.first().context("nothing measured")?.1;
        let row = (name, "new inspected TLS connections, a request each", Goal::AtLeast(1_500.0));
        Ok(row_of(row, ("a second", "a second"), sides, result))
    }

    /// What an open connection takes of the gate's memory: of as many as there is room for.
    fn open(&self, (name, how, goal): Described, lane: Lane) -> Result<Row> {
        let count = OPEN.min(room()?);
        let mut load = self.server.load(self.place, lane, ("open", count, 1))?;
        let gate = load.gate()?;
        let before = resident(gate)?;
        load.work()?;
        let each = (resident(gate)? - before) / f64::from(u32::try_from(count)?);
        let row = row_of((name, "", goal), ("KiB", "KiB each"), vec![("wardroom".to_owned(), each)], each);
        let most = if count < OPEN { ", as many as the limit on descriptors permits" } else { "" };
        Ok(Row { what: format!("{count} open connections{most}, {how}").into(), ..row })
    }
}

/// Connections that a gate can hold open: two descriptors each, of as many as the hard limit permits.
fn room() -> Result<usize> {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let most = most.map_or(Ok(usize::MAX), usize::try_from)?;
    Ok(most.saturating_sub(BESIDES) / 2)
}

fn row_of(
    (name, what, goal): Described,
    (unit, means): (&'static str, &'static str),
    sides: Vec<(String, f64)>,
    result: f64,
) -> Row {
    Row { name, what: what.into(), unit, sides, result, means, goal, reached: goal.holds(result) }
}

/// Seconds of user and system time of a process.
fn processor_time(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no stat")?;
    // Fields 14 and 15 of proc(5), in ticks of a hundredth of a second; these are counted from the third.
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

/// Resident KiB of a process.
fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
