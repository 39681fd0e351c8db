use proptest::prelude::{prop_assert, proptest};
use wardroom_model::HostName;

use super::{Addition, EditError, allow};
use crate::{Decision, Policy};

const TEXT: &str = "\
# The scout.
[agent]
name = \"scout\"   # short

[isolation]
kind = \"cell\"

[[network.allow]]
host = \"a.net\"    # the first

[ledger]
retention = \"forever\"
";

fn add(text: &str, host: &str, port: Option<u16>) -> Result<String, EditError> {
    allow("scout.toml", text, Addition { host, port, raw: false })
}

#[test]
fn a_rule_is_added_behind_the_others_and_nothing_else_changes() {
    let edited = add(TEXT, "B.net.", None).unwrap();
    let wanted = TEXT.replace("# the first\n", "# the first\n\n[[network.allow]]\nhost = \"b.net\"\n");
    assert_eq!(edited, wanted);
}

#[test]
fn the_first_rule_makes_the_section() {
    let text = "[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\n# the end\n";
    let edited = add(text, "git.net", Some(22)).unwrap();
    assert!(edited.contains("# the end"), "{edited}");
    assert!(
        edited.contains("\n[[network.allow]]\nhost = \"git.net\"\nports = [22]\nprotocol = \"tcp\"\n"),
        "{edited}"
    );
    assert!(!edited.contains("[network]"), "{edited}");
}

#[test]
fn an_address_becomes_a_rule_for_an_address() {
    let edited = add(TEXT, "192.0.2.7", Some(9000)).unwrap();
    assert!(edited.contains("address = \"192.0.2.7:9000\""), "{edited}");
    assert!(matches!(add(TEXT, "192.0.2.7", None), Err(EditError::NoPort)));
}

#[test]
fn what_would_not_hold_is_not_written() {
    assert!(matches!(add(TEXT, "a.net", None), Err(EditError::Already(rule)) if rule.line == 9));
    assert!(matches!(add(TEXT, "*.com", None), Err(EditError::After(_))));
    assert!(matches!(add(TEXT, "0x7f.1", None), Err(EditError::Host { .. })));
    assert!(matches!(add("[agent]\n", "a.net", None), Err(EditError::Before(_))));
    let denied = format!("{TEXT}\n[[network.deny]]\nhost = \"b.net\"\n");
    assert!(matches!(add(&denied, "b.net", None), Err(EditError::After(_))));
    let inline = "network = { allow = [{ host = \"a.net\" }] }\n[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\n";
    assert!(matches!(add(inline, "b.net", None), Err(EditError::Layout)));
}

proptest! {
    #[test]
    fn whatever_is_added_is_permitted_afterwards_and_everything_else_stays(
        name in "[a-c]{1,3}\\.(net|com)", port in 1..500_u16, crlf: bool,
    ) {
        let text = if crlf { TEXT.replace('\n', "\r\n") } else { TEXT.to_owned() };
        if let Ok(edited) = add(&text, &name, Some(port)) {
            let policy = Policy::parse("x", &edited).unwrap();
            let host = HostName::parse(&name).unwrap();
            prop_assert!(matches!(policy.network().decide(&host, port, None), Decision::Permit(_)));
            let mut lines = edited.lines();
            prop_assert!(text.lines().all(|line| lines.any(|edited| edited == line)));
        } else {
            prop_assert!(name == "a.net" && port == 443);
        }
    }
}
