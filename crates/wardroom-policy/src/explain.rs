//! What a policy means, in plain sentences, for the human who answers for it.

mod credential;

use std::path::Path;

use wardroom_model::plan::LimitsBy;

use crate::network::{AllowRule, HostTarget, HttpRule, Target, TlsExpectation};
use crate::parse::authorities;
use crate::policy::{Files, Isolation, IsolationKind, Outside, Policy, Retention};

/// The policy as sentences, in the order of the file's sections. What is not yet supported is said as if it were; see
/// [`Policy::unsupported`].
#[must_use]
pub fn explain(policy: &Policy) -> Vec<String> {
    let mut said = vec![who(policy)];
    said.extend(command(policy));
    said.extend(hours(policy));
    said.extend(isolation(&policy.isolation));
    said.extend(files(&policy.files));
    said.extend(network(policy));
    said.extend(policy.credentials.iter().flat_map(credential::sentences));
    said.extend(policy.model_apis.iter().map(|api| {
        format!("What requests for {} on {} use of a model is counted ({}).", api.path, api.host, api.at)
    }));
    said.push(match &policy.retention {
        Retention::Forever => "Its ledger is kept for good.".to_owned(),
        Retention::Longest { seconds, rule } => format!(
            "Its ledger is kept for {}; older parts are removed once they are complete, on record ({rule}).",
            span(*seconds)
        ),
    });
    said
}

fn who(policy: &Policy) -> String {
    let agent = &policy.agent;
    let role = agent.role.as_ref().map(|role| format!(": {role}")).unwrap_or_default();
    let owner = match &agent.owner {
        Some(owner) => format!("{owner} answers for it"),
        None => "nobody is named to answer for it".to_owned(),
    };
    format!("Agent `{}`{role}; {owner}.", agent.name)
}

fn command(policy: &Policy) -> Option<String> {
    let words = policy.agent.command.as_ref()?;
    let shown: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    Some(format!("It runs {}.", shown.join(" ")))
}

fn hours(policy: &Policy) -> Option<String> {
    let hours = policy.agent.hours.as_ref()?;
    let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let days: Vec<_> =
        names.iter().zip(hours.days).filter(|(_, works)| *works).map(|(name, _)| *name).collect();
    let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let outside = match hours.outside {
        Outside::Alert => "outside of these an alert is raised",
        Outside::Pause => "outside of these it is paused",
        Outside::Refuse => "outside of these the network is refused",
    };
    let (from, to) = (clock(hours.from), clock(hours.to));
    Some(format!("It works {} from {from} to {to} ({}); {outside}.", days.join(", "), hours.zone))
}

fn isolation(isolation: &Isolation) -> Vec<String> {
    let kind = match isolation.kind {
        IsolationKind::Cell => "It runs in a cell: no privileges, no devices, no other processes in sight.",
        IsolationKind::Vm => "It runs in a virtual machine inside a cell.",
    };
    let mut said = vec![kind.to_owned(), limits(isolation)];
    if let Some(root) = &isolation.root {
        said.push(format!("Its system is the one in {}, read-only ({}).", root.path, root.at));
    }
    if isolation.trace_children {
        said.push("It may trace the programs that it starts itself.".to_owned());
    }
    said
}

fn limits(isolation: &Isolation) -> String {
    let asked = [
        isolation.memory.map(|memory| format!("{} of memory", size(memory))),
        isolation.cpus.map(|cpus| format!("{cpus} processors")),
        isolation.tasks.map(|tasks| format!("{tasks} tasks")),
    ];
    let asked: Vec<_> = asked.into_iter().flatten().collect();
    if asked.is_empty() {
        return "Nothing limits its memory, processor time or number of tasks but the machine.".to_owned();
    }
    let by = match isolation.limits {
        LimitsBy::Cgroup => "by control group; without one it does not start",
        LimitsBy::RlimitsOnly => {
            "by resource limits alone, which count for each process and not for all together"
        }
    };
    format!("It has at most {} ({by}).", asked.join(", "))
}

fn files(files: &Files) -> Vec<String> {
    let mut said = Vec::new();
    match &files.workspace {
        Some(rule) => {
            said.push(format!("It reads and writes {}, seen as /workspace ({}).", rule.path, rule.at));
        }
        None => said.push("It has no workspace, and writes only to its own home and to memory.".to_owned()),
    }
    for (rules, does) in [(&files.read_write, "reads and writes"), (&files.read_only, "only reads")] {
        said.extend(rules.iter().map(|rule| {
            let name = Path::new(&rule.path).file_name().unwrap_or_default().display();
            format!("It {does} {}, seen as /{name} ({}).", rule.path, rule.at)
        }));
    }
    said.push("No other file of yours exists inside.".to_owned());
    said.push(looks(files));
    said
}

/// What is seen of it when the agent only looks.
fn looks(files: &Files) -> String {
    let decoys =
        "Its home holds decoys (keys and passwords that open nothing); whoever opens one is on record";
    match (files.canaries, files.audit_reads) {
        (true, true) => format!("{decoys}, and so is every attempt to read a sensitive path."),
        (true, false) => {
            format!(
                "{decoys}. Other attempts to read sensitive paths leave no record (`audit_reads` is off)."
            )
        }
        (false, true) => {
            "Every attempt to read a sensitive path is on record; no decoys lie in its home.".to_owned()
        }
        (false, false) => {
            "Attempts to read sensitive paths leave no record (`canaries` and `audit_reads` are off)."
                .to_owned()
        }
    }
}

fn network(policy: &Policy) -> Vec<String> {
    let network = &policy.network;
    let mut said: Vec<_> = network.allow().map(|rule| allow(policy, rule)).collect();
    if said.is_empty() {
        return vec!["It reaches nothing on the network.".to_owned()];
    }
    said.extend(network.deny().iter().map(|rule| {
        let ports = rule.ports().map(|ports| format!(" on port {}", numbers(ports))).unwrap_or_default();
        format!("It never reaches {}{ports}, whatever else is permitted ({}).", rule.pattern(), rule.at())
    }));
    said.push(format!(
        "It reaches nothing else, neither by name nor by address, and has at most {} connections open at once.",
        network.connections()
    ));
    said
}

fn allow(policy: &Policy, rule: &AllowRule) -> String {
    let what = match &rule.target {
        Target::Host(host) => self::host(host),
        Target::Literal(address) => format!("the address {address}, with any protocol over TCP"),
    };
    let apps =
        if rule.apps.is_empty() { String::new() } else { format!(", with {} alone", rule.apps.join(" or ")) };
    let http = rule.http.as_ref().map_or_else(|| bound(policy, rule), looked_at);
    let vouched = vouched(rule, &http);
    format!("It reaches {what}{apps}{http}{vouched} ({}).", rule.at)
}

/// Who vouches for the server, where it is not the machine's authorities; `http` is what is said of requests.
fn vouched(rule: &AllowRule, http: &str) -> String {
    let Target::Host(HostTarget { authorities: Some(pem), .. }) = &rule.target else { return String::new() };
    let own = match authorities::count(pem) {
        0 | 1 => "the policy's own certificate vouches".to_owned(),
        several => format!("the policy's own {several} certificates vouch"),
    };
    // Without a look inside, the agent's program is who verifies the server, and knows nothing of the policy.
    let when = if http.is_empty() { "where the gate opens TLS, " } else { "" };
    format!("; {when}{own} for this host, in place of the machine's authorities")
}

/// What a credential for one of a rule's hosts makes of it.
fn bound(policy: &Policy, rule: &AllowRule) -> String {
    let Target::Host(target) = &rule.target else { return String::new() };
    let bound = policy.credentials.iter().filter(|credential| target.pattern.matches(&credential.host));
    let hosts: std::collections::BTreeSet<_> = bound.map(|credential| credential.host.as_str()).collect();
    if hosts.is_empty() || target.tls == TlsExpectation::Raw {
        return String::new();
    }
    let hosts: Vec<_> = hosts.into_iter().collect();
    format!(
        "; for {}, which has a credential, the gate opens TLS and records every request",
        hosts.join(" and ")
    )
}

fn host(host: &HostTarget) -> String {
    let ports = numbers(&host.ports);
    let how = match host.tls {
        TlsExpectation::Name | TlsExpectation::Inspect => format!("by TLS on port {ports}"),
        TlsExpectation::Raw => format!("with any protocol over TCP on port {ports}"),
    };
    let pin = host.pin.map(|pin| format!(", dialled at {pin}")).unwrap_or_default();
    let networks: Vec<_> = host.networks.iter().map(ToString::to_string).collect();
    let special = if networks.is_empty() {
        String::new()
    } else {
        format!(", even where it leads into {}", networks.join(" or "))
    };
    format!("{} {how}{pin}{special}", host.pattern)
}

/// What requests a rule is for.
pub(crate) fn requests(rule: &HttpRule) -> String {
    let paths: Vec<_> = rule.paths().iter().map(ToString::to_string).collect();
    match (rule.methods(), &*paths) {
        ([], []) => "every request".to_owned(),
        (methods, []) => format!("{} requests", methods.join(" and ")),
        ([], paths) => format!("requests for {}", paths.join(" or ")),
        (methods, paths) => format!("{} requests for {}", methods.join(" and "), paths.join(" or ")),
    }
}

/// What of requests is looked at, in words behind a host.
fn looked_at(rule: &HttpRule) -> String {
    let kept = if rule.keep_query() { ", with the values of their queries" } else { "" };
    format!("; the gate opens TLS, permits {} there, and records each{kept}", requests(rule))
}

fn numbers(ports: &std::collections::BTreeSet<u16>) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}

pub(crate) fn size(bytes: u64) -> String {
    let units = [(40_u32, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let exact = units.iter().find(|(shift, _)| bytes.is_multiple_of(1 << shift) && bytes >> shift > 0);
    exact.map_or_else(|| format!("{bytes} bytes"), |(shift, unit)| format!("{} {unit}", bytes >> shift))
}

pub(crate) fn span(seconds: u64) -> String {
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute")];
    let exact = units.iter().find(|(length, _)| seconds.is_multiple_of(*length));
    let (count, unit) = exact.map_or((seconds, "second"), |(length, unit)| (seconds / length, unit));
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}
