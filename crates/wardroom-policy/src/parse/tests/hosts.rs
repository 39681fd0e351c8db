use super::one_mistake;
use crate::Policy;

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
