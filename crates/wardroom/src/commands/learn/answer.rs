//! What the operator can answer about one thing, and the edit of the policy's text that an answer is. No answer permits more
//! than it says, and a wildcard is only ever refused.

use std::collections::{BTreeMap, BTreeSet};

use wardroom_model::HostName;
use wardroom_policy::EditError;
use wardroom_policy::edit::{self, Addition, What, is_in_clear};

use super::wanted::{Asked, Item, Thing};

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Exactly this.
    Allow,
    /// This host, every request of which is looked at and recorded.
    Inspect,
    /// This port, with any protocol.
    Raw,
    /// The methods and paths that were seen, and no others.
    AsSeen,
    /// Go through its parts.
    OneByOne,
    /// Refuse it for good.
    Never,
    /// Ask again next time.
    Later,
    /// Ask nothing more.
    Quit,
}

impl Answer {
    /// The answers that a thing has, each with its letter and what it does.
    pub(super) fn choices(thing: &Thing) -> Vec<(char, Self, &'static str)> {
        let mut choices = match thing {
            Thing::Requests(..) => vec![
                ('s', Self::AsSeen, "allow these methods and paths as seen"),
                ('o', Self::OneByOne, "one by one"),
                ('n', Self::Never, "never, and do not ask again"),
            ],
            Thing::Port(_, port) if is_in_clear(*port) => vec![
                ('a', Self::Allow, "allow this port, any protocol"),
                ('n', Self::Never, "never: deny this port"),
            ],
            Thing::Port(..) => vec![
                ('a', Self::Allow, "allow this port, TLS"),
                ('t', Self::Raw, "allow this port, any protocol"),
                ('n', Self::Never, "never: deny this port"),
            ],
            Thing::Program(..) => vec![
                ('a', Self::Allow, "allow it to this program too"),
                ('n', Self::Never, "never, and do not ask again"),
            ],
            Thing::Address(_) => vec![
                ('a', Self::Allow, "allow exactly this address and port, any protocol"),
                ('n', Self::Never, "never, and do not ask again"),
            ],
            Thing::Name(_) => vec![
                ('a', Self::Allow, "allow exactly this host, TLS on port 443"),
                ('i', Self::Inspect, "allow, and look at each request"),
                ('n', Self::Never, "never: deny this host"),
            ],
            Thing::Domain(_) => vec![
                ('o', Self::OneByOne, "one by one"),
                ('n', Self::Never, "never: deny the domain and all below it"),
            ],
        };
        choices.push(('l', Self::Later, "later"));
        choices.push(('q', Self::Quit, "quit asking"));
        choices
    }
}

/// What of an answer is an edit; `None` for one that leaves the policy as it is.
pub(super) fn edit(file: &str, text: &str, item: &Item, answer: Answer) -> Option<Result<String, EditError>> {
    let what = match answer {
        // "Any protocol", the question said, or the rule for other programs does.
        Answer::Allow if matches!(item.thing, Thing::Port(_, port) | Thing::Program(_, port, _) if is_in_clear(port)) => {
            What::Raw
        }
        Answer::Allow => What::Connection,
        Answer::Inspect => What::Inspected,
        Answer::Raw => What::Raw,
        Answer::AsSeen => {
            return as_seen(file, text, item, &item.requests.keys().collect::<Vec<_>>());
        }
        Answer::Never => return never(file, text, &item.thing),
        Answer::OneByOne | Answer::Later | Answer::Quit => return None,
    };
    let addition = |host, port, apps| Addition { host, port, what, apps };
    let edited = match &item.thing {
        Thing::Name(host) => edit::allow(file, text, addition(host.as_str(), None, &[])),
        Thing::Port(host, port) => edit::allow(file, text, addition(host.as_str(), Some(*port), &[])),
        Thing::Program(host, port, program) => {
            let apps = std::slice::from_ref(program);
            edit::allow(file, text, addition(host.as_str(), Some(*port), apps))
        }
        Thing::Address(address) => {
            edit::allow(file, text, addition(&address.ip().to_string(), Some(address.port()), &[]))
        }
        Thing::Requests(..) | Thing::Domain(_) => return None,
    };
    Some(edited)
}

/// Rules for requests exactly as they were seen: paths that were asked for with the same methods share a rule.
pub(super) fn as_seen(
    file: &str,
    text: &str,
    item: &Item,
    requests: &[&Asked],
) -> Option<Result<String, EditError>> {
    let Thing::Requests(host, port) = &item.thing else { return None };
    let mut methods_of: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    for (method, path) in requests.iter().copied() {
        methods_of.entry(path).or_default().insert(method);
    }
    let mut rules: BTreeMap<BTreeSet<&String>, Vec<String>> = BTreeMap::new();
    for (path, methods) in methods_of {
        rules.entry(methods).or_default().push(path.clone());
    }
    let mut edited = text.to_owned();
    for (methods, paths) in rules {
        let methods: Vec<String> = methods.into_iter().cloned().collect();
        let what = What::Requests { methods: &methods, paths: &paths };
        match edit::allow(file, &edited, of(host, *port, what, &item.apps)) {
            Ok(text) => edited = text,
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(edited))
}

fn of<'a>(host: &'a HostName, port: u16, what: What<'a>, apps: &'a [String]) -> Addition<'a> {
    Addition { host: host.as_str(), port: Some(port), what, apps }
}

/// Denials, where a rule can say them. What no rule can deny stays refused because no rule permits it.
fn never(file: &str, text: &str, thing: &Thing) -> Option<Result<String, EditError>> {
    match thing {
        Thing::Name(host) => Some(edit::deny(file, text, host.as_str(), None)),
        Thing::Port(host, port) => Some(edit::deny(file, text, host.as_str(), Some(*port))),
        Thing::Domain(domain) => {
            let whole = edit::deny(file, text, domain, None);
            Some(whole.and_then(|text| edit::deny(file, &text, &format!("*.{domain}"), None)))
        }
        Thing::Requests(..) | Thing::Program(..) | Thing::Address(_) => None,
    }
}
