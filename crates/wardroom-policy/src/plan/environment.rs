//! The agent's environment, complete: nothing is inherited but what says how a terminal or a language looks.

use std::collections::BTreeMap;
use std::path::Path;

use super::HOME;
use super::facts::{Entry, HostFacts};
use crate::policy::Policy;

/// Variables of the operator's that are passed on: they describe the terminal, the language and the time zone.
pub const PASSED: [&str; 12] = [
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_COLLATE",
    "LC_MESSAGES",
    "LC_NUMERIC",
    "LC_TIME",
    "TZ",
];

/// The user's runtime directory inside (XDG base directory specification).
pub(crate) const RUNTIME: &str = "/run/user/1000";

pub(crate) fn environment(policy: &Policy, facts: &HostFacts) -> BTreeMap<String, String> {
    let passed = PASSED.iter().filter_map(|name| {
        let value = facts.environment.get(*name)?;
        is_plain(value).then(|| ((*name).to_owned(), value.clone()))
    });
    let mut found: BTreeMap<String, String> = passed.collect();
    found.entry("LANG".to_owned()).or_insert_with(|| "C.UTF-8".to_owned());
    found.extend(super::trust::environment(facts));
    found.extend(policy.agent.environment.clone());
    let fixed = [
        ("HOME", HOME),
        ("USER", "agent"),
        ("LOGNAME", "agent"),
        ("SHELL", shell(facts)),
        ("PATH", PATH),
        ("TMPDIR", "/tmp"),
        ("XDG_RUNTIME_DIR", RUNTIME),
        ("WARDROOM_AGENT", policy.agent.name.as_str()),
    ];
    found.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    found
}

/// The best shell that the system has.
pub(crate) fn shell(facts: &HostFacts) -> &'static str {
    let there =
        |path: &&&str| matches!(facts.system.get(Path::new(path)), Some(Entry::File | Entry::Symlink(_)));
    SHELLS.iter().find(there).copied().unwrap_or("/bin/sh")
}

/// Shells that are better than `/bin/sh`, which every system has.
pub(crate) const SHELLS: [&str; 2] = ["/bin/bash", "/usr/bin/bash"];

/// A value of the operator's environment goes to an agent only if it is short and printable: a terminal's name is.
fn is_plain(value: &str) -> bool {
    value.len() <= 128 && !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic())
}

/// Read-only directories alone (attack C16): what an agent installs at home, it calls by its path.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
