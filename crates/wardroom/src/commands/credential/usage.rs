//! `credential usage`: what an agent's credentials have used of their limits, from the counters that its gate keeps. Nothing
//! need be unlocked, and the agent may run.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use serde_json::json;
use wardroom_broker::clock;
use wardroom_gate::{Counters, Usage};
use wardroom_model::exit::Exit;
use wardroom_policy::{Credential, CredentialLimits};

use crate::cli;
use crate::commands::{agent_name, policy};
use crate::failure::{Done, Failure, OrExit};
use crate::places::Places;
use crate::screen;

/// Seconds of a day of UTC.
const DAY: u64 = 86_400;

pub(super) fn usage(places: &Places, asked: &cli::CredentialList) -> Done {
    let name = agent_name(&asked.name)?;
    let agent = places.agent(&name);
    let source = policy::load(&agent.policy)?;
    let counters = counters(&agent.counters)?;
    let mut any = false;
    for credential in source.policy.credentials() {
        let used = match &counters {
            Some(counters) => {
                let used = counters.used(&credential.name);
                used.map_err(|error| damaged(&agent.counters, &error.to_string()))?
            }
            None => NOTHING,
        };
        for row in rows(&credential.limits, &used) {
            any = true;
            if !screen::data(&if asked.json { row.json(credential) } else { row.line(credential) }) {
                return Ok(0);
            }
        }
    }
    if !any {
        screen::talk(&format!("no credential of {name} has limits"));
    }
    Ok(0)
}

const NOTHING: Usage = Usage { requests: 0, bytes: 0, tokens: 0, micro_usd: 0 };

/// None where nothing was ever counted.
fn counters(path: &Path) -> Result<Option<Counters>, Failure> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    match OpenOptions::new().read(true).write(true).custom_flags(nofollow).open(path) {
        Ok(file) => Counters::open(&file).map(Some).map_err(|error| damaged(path, &error.to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).or_exit(Exit::Credentials),
    }
}

fn damaged(path: &Path, why: &str) -> Failure {
    let remedy = "while they are damaged, every limited request is refused. To begin at nothing, stop the agent and remove the file";
    Failure::new(Exit::Credentials, format!("{}: {why}; {remedy}", path.display()))
}

/// One limit of a credential.
struct Row {
    limit: &'static str,
    used: f64,
    of: f64,
    /// Digits behind the point.
    digits: usize,
}

fn rows(limits: &CredentialLimits, used: &Usage) -> Vec<Row> {
    let CredentialLimits { requests_per_minute, bytes_per_day, tokens_per_day, usd_per_day } = *limits;
    let Usage { requests, bytes, tokens, micro_usd } = *used;
    let whole = |limit, used, of: Option<u64>| {
        of.map(|of| Row { limit, used: number(used), of: number(of), digits: 0 })
    };
    let dollars = |of| Row { limit: "usd_per_day", used: number(micro_usd) / 1e6, of, digits: 2 };
    [
        whole("requests_per_minute", requests, requests_per_minute),
        whole("bytes_per_day", bytes, bytes_per_day),
        whole("tokens_per_day", tokens, tokens_per_day),
        usd_per_day.map(dollars),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// For display alone: exact up to 2^53.
fn number(count: u64) -> f64 {
    count.to_string().parse().unwrap_or(f64::INFINITY)
}

impl Row {
    fn line(&self, credential: &Credential) -> String {
        let Self { limit, used, of, digits } = self;
        let percent = used / of * 100.0;
        format!(
            "{:<20} {limit:<20} {used:>14.digits$} of {of:>14.digits$}  {percent:>5.1} %",
            credential.name
        )
    }

    fn json(&self, credential: &Credential) -> String {
        let today = clock::unix() / DAY;
        let resets = self.limit.ends_with("_per_day").then_some((today + 1) * DAY);
        json!({
            "name": credential.name,
            "host": credential.host.as_str(),
            "limit": self.limit,
            "used": self.used,
            "of": self.of,
            "resets_at": resets,
        })
        .to_string()
    }
}
