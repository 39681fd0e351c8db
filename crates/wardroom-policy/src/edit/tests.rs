use proptest::prelude::{prop_assert, proptest};
use wardroom_model::HostName;

use super::{Addition, EditError, What, add_host as add_host_rule, allow, allow_command, deny};
use crate::{Decision, Policy, RequestLine};

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
    add_host_rule("scout.toml", text, host, port)
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
    let looked_at = Addition { host: "192.0.2.7", port: Some(443), what: What::Inspected, apps: &[] };
    assert!(matches!(allow("scout.toml", TEXT, looked_at), Err(EditError::NoName)));
}

#[test]
fn what_would_not_hold_is_not_written() {
    assert!(matches!(add(TEXT, "a.net", None), Err(EditError::Already(rule)) if rule.line == 9));
    assert!(matches!(add(TEXT, "*.com", None), Err(EditError::After(_))));
    assert!(matches!(add(TEXT, "0x7f.1", None), Err(EditError::Host { .. })));
    assert!(matches!(add("[agent]\n", "a.net", None), Err(EditError::Before(_))));
    let denied = format!("{TEXT}\n[[network.deny]]\nhost = \"b.net\"\n");
    let why = add(&denied, "b.net", None).unwrap_err().to_string();
    assert!(why.starts_with("b.net is denied by scout.toml:15, and denial wins"), "{why}");
    let inline = "network = { allow = [{ host = \"a.net\" }] }\n[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\n";
    assert!(matches!(add(inline, "b.net", None), Err(EditError::Layout)));
}

fn requests(text: &str, methods: &[&str], paths: &[&str]) -> Result<String, EditError> {
    let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    let (methods, paths) = (list(methods), list(paths));
    let what = What::Requests { methods: &methods, paths: &paths };
    allow("scout.toml", text, Addition { host: "b.net", port: None, what, apps: &[] })
}

#[test]
fn requests_are_added_rule_by_rule_and_lead_where_the_host_leads() {
    let first = requests(TEXT, &["GET"], &["/a", "/b/c%20d"]).unwrap();
    let wanted = "[[network.allow]]\nhost = \"b.net\"\nmethods = [\"GET\"]\npaths = [\"/a\", \"/b/c%20d\"]\n";
    assert!(first.contains(wanted), "{first}");
    let both = requests(&first, &["POST"], &["/a"]).unwrap();
    assert!(both.contains("methods = [\"POST\"]"), "{both}");
    let more = requests(&both, &["GET"], &["/z"]).unwrap();
    assert_eq!(more, both.replace("\"/b/c%20d\"]", "\"/b/c%20d\", \"/z\"]"));
    assert!(matches!(requests(&both, &["POST", "GET"], &["/a"]), Err(EditError::Already(_))));
    assert!(matches!(requests(&both, &["POST"], &["/a/../%2f"]), Err(EditError::After(_))));
    let pinned = TEXT.replace("\"a.net\" ", "\"b.net\"\nmethods = [\"PUT\"]\naddress = \"127.0.0.1:8443\" ");
    let edited = requests(&pinned, &["GET"], &["/a"]).unwrap();
    assert_eq!(edited.matches("address = \"127.0.0.1:8443\"").count(), 2, "{edited}");
}

#[test]
fn a_host_whose_requests_are_looked_at_is_opened_in_clear_only_where_that_is_said() {
    let with = |host, what, text: &str| {
        allow("scout.toml", text, Addition { host, port: Some(80), what, apps: &[] })
    };
    let limited = TEXT.replace("# the first", "\nmethods = [\"GET\"]");
    let why = with("a.net", What::Connection, &limited).unwrap_err().to_string();
    assert!(
        why.starts_with("port 80 would be opened to any protocol, in clear, and scout.toml:9 has"),
        "{why}"
    );
    let raw = with("a.net", What::Raw, &limited).unwrap();
    assert!(raw.contains("host = \"a.net\"\nports = [80]\nprotocol = \"tcp\"\n"), "{raw}");
    assert!(with("a.net", What::Connection, TEXT).unwrap().contains("protocol = \"tcp\""));
    let below = limited.replace("a.net", "*.a.net");
    assert!(matches!(with("b.a.net", What::Connection, &below), Err(EditError::InClear { .. })));
    assert!(matches!(with("*.b.a.net", What::Connection, &below), Err(EditError::InClear { .. })));
    let host = HostName::parse("a.net").unwrap();
    assert_eq!(
        allow_command("scout", &host, 80, None).unwrap(),
        "wardroom allow scout a.net --port 80 --raw"
    );
}

#[test]
fn what_is_permitted_in_another_way_is_not_permitted_already() {
    let with =
        |what, text: &str| allow("scout.toml", text, Addition { host: "a.net", port: None, what, apps: &[] });
    let rule = |keys: &str| TEXT.replace("# the first", &format!("\n{keys}"));
    let (plain, looked, raw) = (rule(""), rule("inspect = true"), rule("ports = [443]\nprotocol = \"tcp\""));
    let limited = rule("methods = [\"GET\"]\npaths = [\"/a/*\"]");
    let (get, post) = (["GET".to_owned()], ["POST".to_owned()]);
    let (one, all) = (["/a/b".to_owned()], ["/a/**".to_owned()]);
    for (case, edited, already) in [
        ("plain, unseen", with(What::Connection, &plain), true),
        ("plain, looked at", with(What::Connection, &looked), true),
        ("plain, limited", with(What::Connection, &limited), false),
        ("inspect, unseen", with(What::Inspected, &plain), false),
        ("inspect, looked at", with(What::Inspected, &looked), true),
        ("inspect, limited", with(What::Inspected, &limited), false),
        ("raw, TLS", with(What::Raw, &plain), false),
        ("raw, raw", with(What::Raw, &raw), true),
        ("one of its requests", with(What::Requests { methods: &get, paths: &one }, &limited), true),
        ("another method", with(What::Requests { methods: &post, paths: &one }, &limited), false),
        ("a wider path", with(What::Requests { methods: &get, paths: &all }, &limited), false),
        ("all paths", with(What::Requests { methods: &get, paths: &[] }, &limited), false),
        ("all methods", with(What::Requests { methods: &[], paths: &one }, &limited), false),
        ("no path", with(What::Requests { methods: &get, paths: &["/a//b".to_owned()] }, &plain), false),
        ("anything", with(What::Requests { methods: &get, paths: &[] }, &plain), true),
    ] {
        assert_eq!(matches!(edited, Err(EditError::Already(_))), already, "{case}: {edited:?}");
    }
}

#[test]
fn a_denial_is_a_rule_of_its_own() {
    let edited = deny("scout.toml", TEXT, "evil.net", None).unwrap();
    assert!(edited.contains("\n[[network.deny]]\nhost = \"evil.net\"\n"), "{edited}");
    let more = deny("scout.toml", &edited, "a.net", Some(22)).unwrap();
    assert!(more.contains("host = \"a.net\"\nports = [22]\n"), "{more}");
    assert!(matches!(deny("scout.toml", &more, "evil.net", None), Err(EditError::After(_))));
    let Err(EditError::After(errors)) = deny("scout.toml", TEXT, "a.net", None) else { panic!() };
    let both = "scout.toml:9:1: `a.net` is permitted here and denied elsewhere: can never match because this denies it (scout.toml:12:8)";
    assert!(errors.to_string().starts_with(both), "{errors}");
}

#[test]
fn a_command_permits_one_request_and_nothing_more() {
    let host = HostName::parse("b.net").unwrap();
    let command =
        |method: &str, path: &str| allow_command("scout", &host, 8443, Some(&RequestLine::new(method, path)));
    let said = command("GET", "/a'b?q=secret").unwrap();
    assert_eq!(said, "wardroom allow scout b.net --port 8443 --method GET --path '/a'\\''b'");
    assert_eq!(allow_command("scout", &host, 443, None).unwrap(), "wardroom allow scout b.net");
    for (method, path) in
        [("GET", "/a/**"), ("GET", "/*"), ("GET", "/a//b"), ("GET; rm", "/a"), ("GET", "/a%2fb")]
    {
        assert_eq!(command(method, path), None, "{method} {path}");
    }
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
