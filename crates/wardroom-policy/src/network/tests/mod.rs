mod requests;

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
use wardroom_model::event::Program;
use wardroom_model::{Captured, HostName, Reason, Verdict};

use super::{Decision, NetworkPolicy, Permit, TlsExpectation};
use crate::Policy;

fn network(rules: &str) -> NetworkPolicy {
    let text = format!("[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\n{rules}");
    Policy::parse("scout.toml", &text)
        .unwrap_or_else(|errors| panic!("{}", errors.render(false)))
        .network()
        .clone()
}

fn host(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

fn program(path: &str, trusted: bool) -> Program {
    Program { path: Captured::from(path), trusted }
}

fn permit(decision: Decision) -> Permit {
    match decision {
        Decision::Permit(permit) => permit,
        Decision::Denial(verdict) => panic!("refused: {verdict}"),
    }
}

fn denial(decision: Decision) -> Verdict {
    match decision {
        Decision::Permit(permit) => panic!("permitted: {permit:?}"),
        Decision::Denial(verdict) => verdict,
    }
}

const RULES: &str = r#"
[[network.allow]]
host = "api.example.com"

[[network.allow]]
host = "*.example.com"
ports = [443, 8443]

[[network.allow]]
host = "git.example.net"
ports = [22]
protocol = "tcp"
apps = ["/usr/bin/ssh"]

[[network.allow]]
host = "db.internal"
ports = [5432]
protocol = "tcp"
networks = ["10.1.0.0/16", "fd00::/8"]

[[network.allow]]
host = "svc.internal"
address = "127.0.0.1:8443"

[[network.allow]]
address = "192.0.2.7:9000"

[[network.deny]]
host = "bad.example.com"

[[network.deny]]
host = "*.half.example.com"
ports = [443]
"#;

#[test]
fn what_no_rule_names_is_refused() {
    let network = network(RULES);
    for name in ["example.com", "evil.net", "api.example.com.evil.net", "badexample.com"] {
        assert_eq!(network.may_resolve(&host(name)).reason, Reason::NoRule, "{name}");
        assert_eq!(denial(network.decide(&host(name), 443, None)).reason, Reason::NoRule, "{name}");
    }
}

#[test]
fn every_verdict_carries_its_line() {
    let network = network(RULES);
    let line = |verdict: &Verdict| verdict.rule.as_ref().map(|rule| rule.to_string());
    assert_eq!(
        line(permit(network.decide(&host("api.example.com"), 443, None)).verdict()).unwrap(),
        "scout.toml:7"
    );
    let wider = permit(network.decide(&host("api.example.com"), 8443, None));
    assert_eq!(line(wider.verdict()).unwrap(), "scout.toml:10");
    let denied = denial(network.decide(&host("bad.example.com"), 443, None));
    assert_eq!(
        (denied.reason.clone(), line(&denied).unwrap().as_str()),
        (Reason::RuleDenies, "scout.toml:33")
    );
    let port = denial(network.decide(&host("api.example.com"), 80, None));
    assert_eq!(
        (port.reason.clone(), line(&port).unwrap().as_str()),
        (Reason::PortNotNamed(80), "scout.toml:7")
    );
}

#[test]
fn denial_wins_for_names_and_for_ports() {
    let network = network(RULES);
    assert_eq!(network.may_resolve(&host("bad.example.com")).reason, Reason::RuleDenies);
    assert_eq!(denial(network.decide(&host("a.half.example.com"), 443, None)).reason, Reason::RuleDenies);
    permit(network.decide(&host("a.half.example.com"), 8443, None));
    assert_eq!(network.may_resolve(&host("a.half.example.com")).reason, Reason::RulePermits);
}

#[test]
fn a_program_counts_only_on_the_read_only_system() {
    let network = network(RULES);
    let git = host("git.example.net");
    permit(network.decide(&git, 22, Some(&program("/usr/bin/ssh", true))));
    for refused in [None, Some(program("/usr/bin/ssh", false)), Some(program("/usr/bin/curl", true))] {
        assert_eq!(denial(network.decide(&git, 22, refused.as_ref())).reason, Reason::ProgramNotNamed);
    }
    let cut = Program { path: Captured::cut(b"/usr/bin/sshd", 12), trusted: true };
    assert_eq!(cut.path.shown(), b"/usr/bin/ssh");
    assert_eq!(denial(network.decide(&git, 22, Some(&cut))).reason, Reason::ProgramNotNamed);
}

#[test]
fn special_addresses_are_permitted_only_by_the_rule_that_names_them() {
    let network = network(RULES);
    let may = |name: &str, port, ip: &str| {
        let permit = permit(network.decide(&host(name), port, None));
        network.special_permitted(&permit, ip.parse::<IpAddr>().unwrap())
    };
    assert!(may("db.internal", 5432, "10.1.2.3") && may("db.internal", 5432, "fd00::1"));
    assert!(may("db.internal", 5432, "::ffff:10.1.2.3"));
    assert!(!may("db.internal", 5432, "10.2.0.1") && !may("db.internal", 5432, "127.0.0.1"));
    assert!(!may("api.example.com", 443, "10.1.2.3"));
    assert!(may("svc.internal", 443, "127.0.0.1") && !may("svc.internal", 443, "127.0.0.2"));
}

#[test]
fn a_pin_says_where_to_dial_and_a_rule_what_to_expect() {
    let network = network(RULES);
    let pinned = permit(network.decide(&host("svc.internal"), 443, None));
    assert_eq!(pinned.pinned(), Some("127.0.0.1:8443".parse().unwrap()));
    assert_eq!((pinned.tls(), pinned.port()), (TlsExpectation::Name, 443));
    let raw = permit(network.decide(&host("db.internal"), 5432, None));
    assert_eq!((raw.tls(), raw.pinned()), (TlsExpectation::Raw, None));
}

#[test]
fn literal_addresses_are_exact() {
    let network = network(RULES);
    let at = |text: &str| network.decide_literal(text.parse::<SocketAddr>().unwrap(), None);
    let permitted = permit(at("192.0.2.7:9000"));
    assert_eq!((permitted.host(), permitted.tls()), (None, TlsExpectation::Raw));
    assert_eq!(denial(at("192.0.2.7:9001")).reason, Reason::PortNotNamed(9001));
    for other in ["192.0.2.8:9000", "127.0.0.1:8443", "[::ffff:192.0.2.7]:9000", "[::1]:9000"] {
        assert_eq!(denial(at(other)).reason, Reason::LiteralAddress, "{other}");
    }
    assert_eq!(network.literals(), ["192.0.2.7:9000".parse().unwrap()]);
}

fn names() -> impl Strategy<Value = HostName> {
    "([a-c]{1,2}\\.){1,4}(net|com|io)".prop_map(|text| host(&text))
}

fn patterns() -> impl Strategy<Value = String> {
    ("(\\*\\.)?", "([a-c]{1,2}\\.){1,2}example\\.(net|com)").prop_map(|(star, name)| format!("{star}{name}"))
}

proptest! {
    #[test]
    fn without_a_rule_there_is_no_permit(name in names(), port: u16) {
        let empty = network("");
        prop_assert!(matches!(empty.decide(&name, port, None), Decision::Denial(_)));
        prop_assert!(matches!(empty.decide_literal(SocketAddr::from(([192, 0, 2, 1], port)), None), Decision::Denial(_)));
        prop_assert_eq!(empty.may_resolve(&name).rule, None);
    }

    #[test]
    fn a_permit_needs_a_rule_that_matches_and_no_denial_that_does(
        allow in patterns(), deny in patterns(), head in "([a-c]{1,2}\\.){0,2}", tail in "example\\.(net|com)", port in 440..446_u16,
    ) {
        let text = format!(
            "[agent]\nname = \"a\"\n[isolation]\nkind = \"cell\"\n\
             [[network.allow]]\nhost = \"{allow}\"\nports = [443, 444]\n[[network.deny]]\nhost = \"{deny}\"\n"
        );
        let name = host(&format!("{head}{tail}"));
        let pattern = |text: &str| wardroom_model::HostPattern::parse(text).unwrap();
        let wanted = pattern(&allow).matches(&name) && !pattern(&deny).matches(&name) && [443, 444].contains(&port);
        match Policy::parse("x", &text) {
            Ok(policy) => {
                let permitted = matches!(policy.network().decide(&name, port, None), Decision::Permit(_));
                prop_assert_eq!(permitted, wanted);
            }
            // Refused only because the denial covers the permission whole.
            Err(_) => prop_assert!(!wanted),
        }
    }

    #[test]
    fn a_name_has_one_canonical_form_and_one_verdict(name in names(), upper: bool, dot: bool) {
        let network = network("[[network.allow]]\nhost = \"*.a.net\"\n[[network.allow]]\nhost = \"b.com\"\n");
        let mut text = name.as_str().to_owned();
        if upper { text = text.to_ascii_uppercase(); }
        if dot { text.push('.'); }
        let again = host(&text);
        prop_assert_eq!(&again, &name);
        prop_assert_eq!(&host(again.as_str()), &again);
        prop_assert_eq!(network.may_resolve(&again), network.may_resolve(&name));
    }
}

#[test]
fn a_host_s_own_rule_decides_where_it_leads_and_a_wildcard_s_does_not() {
    let own = include_str!("../../parse/tests/certificate.pem");
    let wide = own.repeat(2);
    let rule = |host: &str, path: &str, port: u16, ca: &str| {
        format!(
            "[[network.allow]]\nhost = \"{host}\"\npaths = [\"{path}\"]\naddress = \"10.0.0.1:{port}\"\nca = \"\"\"\n{ca}\"\"\"\n"
        )
    };
    let (own_rule, wide_rule) =
        (rule("api.example.com", "/a", 1, own), rule("*.example.com", "/b", 2, &wide));
    for rules in [format!("{own_rule}{wide_rule}"), format!("{wide_rule}{own_rule}")] {
        let permitted = permit(network(&rules).decide(&host("api.example.com"), 443, None));
        assert_eq!(permitted.authorities().map(str::trim), Some(own.trim()));
        assert_eq!(permitted.pinned().map(|address| address.port()), Some(1));
        let target = network(&rules).reached(&host("api.example.com")).cloned().unwrap();
        assert_eq!(target.pin().map(|address| address.port()), Some(1));
    }
}
