//! How a refused thing is told: to people in lines, to programs in JSON. What an agent chose is escaped before it gets here.

use serde_json::{Value, json};
use wardroom_model::{AgentName, HostName};
use wardroom_policy::{RequestLine, allow_arguments};

use super::super::log::local_time;
use super::seen::Seen;
use super::wanted::{Item, MOST_NAMES, Thing};
use crate::called::wardroom;

/// Requests or names of one thing that are listed on screen; the rest is counted, and an edit shows every one.
const LISTED: usize = 10;
/// Characters of a path on screen.
const WIDTH: usize = 160;

/// What it is, in a line.
pub(super) fn title(item: &Item) -> String {
    match &item.thing {
        Thing::Requests(host, port) => {
            let kinds = item.requests.len();
            let requests = if kinds == 1 { "a request".to_owned() } else { format!("{kinds} requests") };
            format!("{requests} to {host}{}, which is permitted for other ones", port_shown(*port))
        }
        Thing::Port(host, port) => format!("port {port} of {host}"),
        Thing::Program(host, port, program) => {
            format!("{host}{}, which is permitted to other programs than {program}", port_shown(*port))
        }
        Thing::Address(address) => format!("the address {address}, without a name"),
        Thing::Name(host) => format!("the host {host}"),
        Thing::Domain(domain) => {
            let more = if item.names.len() < MOST_NAMES { "" } else { " and more" };
            format!("{}{more} hosts below {domain}", item.names.len())
        }
    }
}

fn port_shown(port: u16) -> String {
    if port == 443 { String::new() } else { format!(":{port}") }
}

/// How often, by which program, first and last.
pub(super) fn when(seen: &Seen) -> String {
    let second = |wall| local_time(wall).split('.').next().unwrap_or_default().to_owned();
    let (first, last) = (second(seen.first), second(seen.last));
    let times = match seen.count {
        0 | 1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    if first == last {
        return format!("{times}, by {}, {first}", seen.by());
    }
    format!("{times}, by {}, first {first}, last {last}", seen.by())
}

/// Its parts, a line each.
pub(super) fn parts(item: &Item) -> Vec<String> {
    let requests = item.requests.iter().map(|((method, path), seen)| {
        let times = if seen.count == 1 { String::new() } else { format!(" ({} times)", seen.count) };
        format!("{method} {}{times}", short(path))
    });
    let names = item.names.iter().map(|(name, _)| name.to_string());
    let mut lines: Vec<String> = requests.chain(names).take(LISTED + 1).collect();
    let all = item.requests.len() + item.names.len();
    if lines.len() > LISTED {
        lines.truncate(LISTED);
        lines.push(format!("and {} more", all - LISTED));
    }
    lines
}

/// A path that fits on a screen.
pub(super) fn short(text: &str) -> String {
    let cut: String = text.chars().take(WIDTH).collect();
    if cut.len() < text.len() { format!("{cut}… ({} bytes)", text.len()) } else { cut }
}

/// One object.
pub(super) fn json(agent: &AgentName, item: &Item) -> Value {
    let (kind, host, port, command) = match &item.thing {
        Thing::Requests(host, port) => ("requests", host.to_string(), Some(*port), None),
        Thing::Port(host, port) => {
            ("port", host.to_string(), Some(*port), allow_command(agent, host, *port, None))
        }
        Thing::Program(host, port, _) => ("program", host.to_string(), Some(*port), None),
        Thing::Address(address) => {
            let (ip, port) = (address.ip(), address.port());
            let command = format!("{} allow {agent} {ip} --port {port}", wardroom());
            ("address", ip.to_string(), Some(port), Some(command))
        }
        Thing::Name(host) => ("name", host.to_string(), None, allow_command(agent, host, 443, None)),
        Thing::Domain(domain) => ("domain", domain.clone(), None, None),
    };
    let requests = item.requests.iter().map(|((method, path), seen)| {
        let line = RequestLine::new(method, path);
        let command = match &item.thing {
            Thing::Requests(host, port) => allow_command(agent, host, *port, Some(&line)),
            Thing::Port(..) | Thing::Program(..) | Thing::Address(_) | Thing::Name(_) | Thing::Domain(_) => {
                None
            }
        };
        json!({ "method": method, "path": path, "seen": times(seen), "command": command })
    });
    let requests: Vec<Value> = requests.collect();
    let names: Vec<&str> = item.names.iter().map(|(name, _)| name.as_str()).collect();
    json!({
        "kind": kind, "host": host, "port": port, "names": names, "requests": requests,
        "seen": times(&item.seen), "command": command,
    })
}

/// The command that permits a connection or a request, where one does, as it is typed here.
fn allow_command(
    agent: &AgentName,
    host: &HostName,
    port: u16,
    line: Option<&RequestLine>,
) -> Option<String> {
    let arguments = allow_arguments(agent.as_str(), host, port, line)?;
    Some(format!("{} {arguments}", wardroom()))
}

fn times(seen: &Seen) -> Value {
    let time = |wall: u64| wardroom_ledger::show::utc(wall);
    json!({
        "count": seen.count, "programs": seen.programs, "other_programs": seen.others,
        "first": time(seen.first), "last": time(seen.last),
    })
}
