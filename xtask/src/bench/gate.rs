//! The way out: throughput and latency of connections through the gate, beside the loopback itself.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

use crate::bench::place::Place;
use crate::bench::row::{Goal, Row, Side, at, interleaved, ratio};
use crate::spawn;

const GIBIBYTE: u64 = 1 << 30;
const CONNECTIONS: &str = "1000";

/// One GiB after a TLS handshake's first message.
pub(crate) fn throughput(place: &Place) -> Result<Row> {
    let port = serve(GIBIBYTE)?;
    place.permit(Some(port))?;
    let bytes = GIBIBYTE.to_string();
    let rate =
        |numbers: Vec<f64>| at(numbers, 0.5).map(|nanoseconds| 1e9 / nanoseconds).context("no connection");
    let sides = interleaved(
        5,
        vec![
            Side::new("wardroom", || rate(through_the_gate(place, &bytes, "1")?)),
            Side::new("loopback", || rate(directly(place, port, &bytes, "1")?)),
        ],
    )?;
    let result = ratio(&sides)?;
    let goal = Goal::AtLeast(0.7);
    Ok(Row {
        name: "gate-throughput",
        what: "1 GiB through the gate, TLS passthrough".into(),
        unit: "GiB/s",
        sides,
        result,
        means: "of direct loopback",
        goal,
        reached: goal.holds(result),
    })
}

/// New connections, up to their first byte.
pub(crate) fn latency(place: &Place) -> Result<Row> {
    let port = serve(1)?;
    place.permit(Some(port))?;
    let ours = through_the_gate(place, "1", CONNECTIONS)?;
    let direct = directly(place, port, "1", CONNECTIONS)?;
    let milliseconds =
        |numbers: &Vec<f64>, part| at(numbers.clone(), part).map(|n| n / 1e6).context("no connection");
    let mut sides = Vec::new();
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        sides.push((format!("wardroom {name}"), milliseconds(&ours, part)?));
        sides.push((format!("direct {name}"), milliseconds(&direct, part)?));
    }
    let result = milliseconds(&ours, 0.5)? - milliseconds(&direct, 0.5)?;
    let goal = Goal::AtMost(0.5);
    Ok(Row {
        name: "gate-latency",
        what: "a new connection through the gate".into(),
        unit: "ms",
        sides,
        result,
        means: "ms added at the median",
        goal,
        reached: goal.holds(result),
    })
}

fn through_the_gate(place: &Place, bytes: &str, connections: &str) -> Result<Vec<f64>> {
    let load = ["/usr/bin/python3", "fetch.py", "bench.example", "bench.example", "443", bytes, connections];
    numbers(&spawn::read(&mut place.in_a_cell(&load))?)
}

fn directly(place: &Place, port: u16, bytes: &str, connections: &str) -> Result<Vec<f64>> {
    let port = port.to_string();
    let load = ["/usr/bin/python3", "fetch.py", "bench.example", "127.0.0.1", &port, bytes, connections];
    numbers(&spawn::read(&mut place.in_the_open(&load)?)?)
}

fn numbers(text: &str) -> Result<Vec<f64>> {
    text.lines().map(|line| line.trim().parse().with_context(|| line.to_owned())).collect()
}

/// A service that reads once and then sends so many bytes. It lives as long as xtask.
fn serve(bytes: u64) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            thread::spawn(move || send(stream, bytes));
        }
    });
    Ok(port)
}

fn send(mut stream: TcpStream, bytes: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut hello = [0_u8; 4096];
    if stream.read(&mut hello)? == 0 {
        return Ok(());
    }
    let block = vec![0x17_u8; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        stream.write_all(block.get(..part).unwrap_or_default())?;
        left -= u64::try_from(part).map_err(io::Error::other)?;
    }
    Ok(())
}
