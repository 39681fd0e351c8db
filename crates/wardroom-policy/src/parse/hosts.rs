//! Hosts, ports and addresses as rules write them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use wardroom_model::name::HostNameError;
use wardroom_model::{HostName, HostPattern};

use super::host_rules::broken_rule;
use super::table::Table;
use super::value;
use crate::diagnose::{At, Diagnostic, Report};
use crate::special::RESOLVER;

/// A host or a wildcard, in canonical form.
pub(crate) fn pattern(text: &At<String>, report: &mut Report) -> Option<At<HostPattern>> {
    match HostPattern::parse(&text.value) {
        Ok(value) => Some(At { value, span: text.span.clone() }),
        Err(error) => {
            let reason = reason(&text.value, &error);
            let title = format!("not a host: {reason}");
            let diagnostic = Diagnostic::new(title, text.span.clone(), "this host");
            report.push(diagnostic.maybe_help(host_help(&text.value, &error)));
            None
        }
    }
}

/// What is wrong with it, as exactly as is known.
fn reason(text: &str, error: &HostNameError) -> String {
    match error {
        HostNameError::Invalid => broken_rule(text).unwrap_or_else(|| error.to_string()),
        HostNameError::Empty | HostNameError::TooLong(_) | HostNameError::Address => error.to_string(),
    }
}

fn host_help(text: &str, error: &HostNameError) -> Option<String> {
    if let Some((_, rest)) = text.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        return literal_help(host).or_else(|| alone_help(host));
    }
    if let Some(help) = literal_help(text) {
        return Some(help);
    }
    match error {
        HostNameError::Address => Some(
            "an address in this notation is read in several ways: write `address = \"a.b.c.d:port\"`"
                .to_owned(),
        ),
        HostNameError::TooLong(_) | HostNameError::Empty => None,
        HostNameError::Invalid => {
            if let Some((host, port)) = with_port(text) {
                return Some(format!("write `host = {host:?}` and `ports = [{port}]`"));
            }
            if text.contains('*') {
                return Some("a `*` stands only at the start, as \"*.example.com\"".to_owned());
            }
            if text.contains('/') {
                return Some("write the host alone; paths go into `paths`".to_owned());
            }
            near(text)
        }
    }
}

/// The host that was probably meant.
fn near(text: &str) -> Option<String> {
    // Elsewhere a dot at the start means every name below.
    let below = text.starts_with('.').then(|| format!("*{text}"));
    let meant = below.unwrap_or_else(|| text.trim().to_owned());
    HostPattern::parse(&meant).is_ok().then(|| format!("did you mean {meant:?}?"))
}

/// What to write for an address, with or without brackets and a port.
fn literal_help(text: &str) -> Option<String> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let bare = || inner.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 443));
    let address = text.parse::<SocketAddr>().ok().or_else(bare)?;
    Some(if address.ip().is_loopback() {
        format!("give the service a name: `host = \"service.internal\"` with `address = \"{address}\"`")
    } else {
        format!("for a literal address, leave `host` out and write `address = \"{address}\"`")
    })
}

/// The host of a URL, and its port where it has one.
fn alone_help(text: &str) -> Option<String> {
    if let Some((host, port)) = with_port(text) {
        return Some(format!("write the host alone: `host = {host:?}` and `ports = [{port}]`"));
    }
    HostPattern::parse(text).is_ok().then(|| format!("write the host alone: `host = {text:?}`"))
}

/// A good host and a port behind it.
fn with_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
    HostPattern::parse(host).is_ok().then_some((host, port))
}

/// Whether a program inside resolves a name without asking: then it means the cell itself.
pub(crate) fn is_the_cell_itself(name: &HostName) -> bool {
    name.as_str() == "localhost" || name.as_str().ends_with(".localhost")
}

/// No rule can be about the cell itself.
pub(crate) fn not_the_cell_itself(pattern: &At<HostPattern>, report: &mut Report) {
    let (HostPattern::Exact(name) | HostPattern::Below(name)) = &pattern.value;
    if is_the_cell_itself(name) {
        let title = format!("`{}` inside a cell is the cell itself", pattern.value);
        let help =
            "give the service a name: `host = \"service.internal\"` with `address = \"127.0.0.1:8080\"`";
        report.push(Diagnostic::new(title, pattern.span.clone(), "can never match").help(help));
    }
}

/// No wildcard over a public suffix: `*.com` or `*.github.io` would be names of anyone at all.
pub(crate) fn no_public_suffix(pattern: &At<HostPattern>, report: &mut Report) {
    let HostPattern::Below(base) = &pattern.value else { return };
    let is_suffix = psl::suffix_str(base.as_str()).is_none_or(|suffix| suffix == base.as_str());
    if is_suffix {
        let title = format!("`{}` is a wildcard over a public suffix", pattern.value);
        let label = format!("anyone can have a name below {base}");
        let help = "name the hosts, or a domain that belongs to one owner";
        report.push(Diagnostic::new(title, pattern.span.clone(), label).help(help));
    }
}

/// `ports`: numbers from 1 to 65535, at least one, none twice.
pub(crate) fn ports(table: &mut Table<'_>, report: &mut Report) -> Option<At<BTreeSet<u16>>> {
    let list = table.list("ports", report)?;
    let mut found = BTreeSet::new();
    for item in &list.value {
        let Some(number) = value::integer("ports", item, 1..65_536, report) else { continue };
        let Ok(port) = u16::try_from(number.value) else { continue };
        if !found.insert(port) {
            report.push(Diagnostic::new(format!("port {port} stands twice"), number.span, "again here"));
        }
    }
    Some(At { value: found, span: list.span })
}

/// `address`: `10.0.0.5:8443` or `[fd00::5]:8443`, in the one canonical notation.
pub(crate) fn address(text: &At<String>, report: &mut Report) -> Option<At<SocketAddr>> {
    let complain =
        |title: String, help: String| Diagnostic::new(title, text.span.clone(), "this address").help(help);
    let Ok(address) = text.value.parse::<SocketAddr>() else {
        let help = match text.value.parse::<IpAddr>() {
            Ok(ip) => format!("an address has its port: `address = \"{}\"`", SocketAddr::new(ip, 443)),
            Err(_) => {
                "write \"10.0.0.5:8443\" or \"[fd00::5]:8443\", in plain decimal or hexadecimal".to_owned()
            }
        };
        report.push(complain(format!("{:?} is no address with a port", text.value), help));
        return None;
    };
    match unusable(address) {
        None => Some(At { value: address, span: text.span.clone() }),
        Some((why, help)) => {
            report.push(complain(format!("`{address}` {why}"), help));
            None
        }
    }
}

/// Addresses that name no place to dial.
fn unusable(address: SocketAddr) -> Option<(&'static str, String)> {
    let ip = address.ip();
    let canonical = ip.to_canonical();
    if canonical != ip {
        let plain = SocketAddr::new(canonical, address.port());
        return Some(("is an IPv4 address in IPv6 clothes", format!("write `{plain}`")));
    }
    if address.port() == 0 {
        return Some(("has port 0", "ports go from 1 to 65535".to_owned()));
    }
    if ip.is_unspecified() || ip.is_multicast() {
        return Some(("is no one machine's address", "name the machine".to_owned()));
    }
    let own = match ip {
        IpAddr::V4(v4) if v4.is_broadcast() => {
            return Some(("is no one machine's address", "name the machine".to_owned()));
        }
        IpAddr::V4(v4) => RESOLVER.contains(&v4),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            return Some((
                "is link-local, and has no interface",
                "use the machine's routable address".to_owned(),
            ));
        }
        IpAddr::V6(_) => false,
    };
    own.then(|| ("belongs to the cell's own resolver (198.18.0.0/15)", "use another address".to_owned()))
}
