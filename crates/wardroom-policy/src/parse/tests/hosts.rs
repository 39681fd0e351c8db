use super::one_mistake;
use crate::{Policy, explain};

/// A certificate that signed itself, with an Ed25519 key that nobody kept.
const CERTIFICATE: &str = include_str!("certificate.pem");

/// The one mistake of a rule with these lines.
fn rule(lines: &str) -> String {
    one_mistake(&format!("[[network.allow]]\n{lines}\n"))
}

fn networks(list: &str) -> String {
    rule(&format!("host = \"a.net\"\nnetworks = [{list}]"))
}

#[test]
fn a_network_is_written_as_everybody_reads_it() {
    let cases = [
        ("010.0.0.0/8", "did you mean `10.0.0.0/8`?"),
        ("10.0.0.0/08", "did you mean `10.0.0.0/8`?"),
        ("FD00::/8", "did you mean `fd00::/8`?"),
        ("fd00:0::/16", "did you mean `fd00::/16`?"),
        ("10.1.0.0/8", "did you mean `10.0.0.0/8`?"),
        ("::ffff:10.0.0.0/104", "write `10.0.0.0/8`"),
        ("10.0.0.0", "is no network"),
    ];
    for (network, wanted) in cases {
        let found = networks(&format!("{network:?}"));
        assert!(found.contains(wanted), "{network}: {found}");
    }
}

#[test]
fn a_network_that_can_never_matter_is_a_mistake() {
    let resolver = "the cell's own resolver (198.18.0.0/15)";
    let cases = [
        ("198.18.0.0/15", resolver),
        ("198.19.7.0/24", resolver),
        ("198.0.0.0/8", resolver),
        ("8.8.8.0/24", "`8.8.8.0/24` has no special address in it"),
        ("2606:4700::/32", "has no special address in it"),
        ("64:ff9b::808:800/120", "has no special address in it"),
        ("128.0.0.0/1", resolver),
    ];
    for (network, wanted) in cases {
        let found = networks(&format!("{network:?}"));
        assert!(found.contains(wanted), "{network}: {found}");
    }
    assert!(networks("\"10.0.0.0/8\", \"10.0.0.0/8\"").contains("\"10.0.0.0/8\" stands twice in `networks`"));
}

#[test]
fn networks_with_special_addresses_are_none() {
    let good = [
        "10.0.0.0/8",
        "10.1.2.3/32",
        "192.0.0.0/14",
        "127.0.0.0/8",
        "::1/128",
        "fd00::/8",
        "64:ff9b::a00:0/104",
        "2000::/3",
    ];
    for network in good {
        let text = super::with(&format!("[[network.allow]]\nhost = \"a.net\"\nnetworks = [{network:?}]\n"));
        Policy::parse("x", &text).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    }
}

/// A rule that looks inside, and these lines as who vouches for its server.
fn vouched_by(pem: &str) -> String {
    format!("[[network.allow]]\nhost = \"a.net\"\ninspect = true\nca = \"\"\"\n{pem}\"\"\"\n")
}

#[test]
fn a_broken_certificate_is_a_mistake_of_the_policy() {
    let cases = [
        (CERTIFICATE.replace("MIIBLj", "MIIB*j"), "certificate 1 is not base64"),
        (CERTIFICATE.replace("Ipuq84", "Ipuq8"), "certificate 1 is cut off"),
        (CERTIFICATE.replace("aADAgEC", "aADAgEF"), "or no certificate (BadDer)"),
        // A whole line less: base64 still, and shorter than it says.
        (CERTIFICATE.replace("Ipuq84/T2r+5NrSBFu7yXMkP\n", ""), "certificate 1 is cut off"),
        (CERTIFICATE.replace("MIIBLj", "MYIBLj"), "certificate 1 is cut off, or no certificate"),
        (CERTIFICATE.replace("MIIBLjCB4a", "MIIBLgCB4a"), "certificate 1 is cut off, or no certificate"),
        (format!("{CERTIFICATE}{}", CERTIFICATE.replace("MIIBLj", "MIIBLz")), "certificate 2 is cut off"),
        (CERTIFICATE.replace("-----END CERTIFICATE-----\n", ""), "certificate 1 has no end"),
        (CERTIFICATE.replace("-----BEGIN CERTIFICATE-----\n", ""), "begins or ends no certificate"),
        (CERTIFICATE.replace("-----BEGIN", "  -----BEGIN"), "begins or ends no certificate"),
        (CERTIFICATE.replace("CERTIFICATE", "PUBLIC KEY"), "begins or ends no certificate"),
        (CERTIFICATE.replace("CERTIFICATE", "PRIVATE KEY"), "holds a private key"),
        ("/etc/ssl/own.pem\n".to_owned(), "no certificate (write the text itself"),
    ];
    for (pem, wanted) in cases {
        let found = one_mistake(&vouched_by(&pem));
        assert!(found.contains(wanted), "{pem}: {found}");
    }
}

#[test]
fn check_says_that_the_policy_s_own_certificate_vouches() {
    let said = |rules: &str| {
        let policy = Policy::parse("scout.toml", &super::with(rules));
        explain(&policy.unwrap_or_else(|errors| panic!("{}", errors.render(false)))).join("\n")
    };
    let one = said(&vouched_by(&format!("# a.net\r\n{}", CERTIFICATE.replace('\n', "\r\n"))));
    let wanted = "records each; the policy's own certificate vouches for this host, in place of the machine's authorities";
    assert!(one.contains(wanted), "{one}");
    let two = said(&vouched_by(&format!("{CERTIFICATE}{CERTIFICATE}")));
    assert!(two.contains("the policy's own 2 certificates vouch for this host"), "{two}");
    let unseen = said(&vouched_by(CERTIFICATE).replace("inspect = true\n", ""));
    assert!(unseen.contains("; where the gate opens TLS, the policy's own certificate vouches"), "{unseen}");
    let machine = said("[[network.allow]]\nhost = \"a.net\"\ninspect = true\n");
    assert!(!machine.contains("vouch"), "{machine}");
}

#[test]
fn an_address_or_a_port_in_host_gets_a_help_that_parses() {
    let named = "`host = \"service.internal\"` with `address = \"[::1]:443\"`";
    let cases = [
        ("[::1]", named),
        ("::1", named),
        ("[fd00::5]", "leave `host` out and write `address = \"[fd00::5]:443\"`"),
        ("[fd00::5]:8443", "leave `host` out and write `address = \"[fd00::5]:8443\"`"),
        ("https://[fd00::5]:8443/x", "leave `host` out and write `address = \"[fd00::5]:8443\"`"),
        ("127.0.0.1", "with `address = \"127.0.0.1:443\"`"),
        ("a.net:8443", "write `host = \"a.net\"` and `ports = [8443]`"),
        ("https://me@a.net:8443/x", "write the host alone: `host = \"a.net\"` and `ports = [8443]`"),
    ];
    for (host, wanted) in cases {
        let found = rule(&format!("host = {host:?}"));
        assert!(found.contains(wanted), "{host}: {found}");
    }
    for host in ["fe80::1%eth0", "[::1", "a.net:https", "a.net:0", "a.net:70000", "a..b:80", "https://[::1/x"]
    {
        let found = rule(&format!("host = {host:?}"));
        assert!(!found.contains("write `host") && !found.contains("ports = "), "{host}: {found}");
    }
}

#[test]
fn a_host_that_is_none_gets_the_rule_that_it_breaks() {
    let (label, name) = (format!("{}.com", "a".repeat(64)), format!("{}com", "a.".repeat(126)));
    let cases = [
        ("exa_mple.com", "an underscore cannot stand in a host name"),
        ("*.exa_mple.com", "an underscore cannot stand in a host name"),
        (" a.com", "a space cannot stand in a host name: this host (did you mean \"a.com\"?)"),
        ("a b.com", "a space cannot stand in a host name"),
        ("a,b.com", "',' cannot stand in a host name"),
        ("a..b", "two dots with nothing between them"),
        ("a.b..", "two dots with nothing between them"),
        (".example.com", "cannot begin with a dot: this host (did you mean \"*.example.com\"?)"),
        ("-a.com", "the label \"-a\" begins or ends with a hyphen"),
        ("a.b-.com", "the label \"b-\" begins or ends with a hyphen"),
        ("ab--cd.com", "the label \"ab--cd\" has two hyphens"),
        (&label, "a label has at most 63 bytes, and one here has 64"),
        (&name, "a host name has at most 253 bytes, this has 255"),
        ("xn--zzzzzz99999.com", "encodes no valid name"),
        ("\u{fdfa}.com", "not a valid international name"),
    ];
    for (host, wanted) in cases {
        let found = rule(&format!("host = {host:?}"));
        assert!(found.contains("not a host: ") && found.contains(wanted), "{host}: {found}");
    }
}
