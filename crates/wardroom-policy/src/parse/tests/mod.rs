mod credentials;
mod hosts;
mod values;

use wardroom_model::bytes::is_invisible;

use crate::{Policy, Retention};

const MINIMAL: &str = "[agent]\nname = \"scout\"\n\n[isolation]\nkind = \"cell\"\n";

/// The policy of the design document.
const DESIGN: &str = r#"
[agent]
name    = "scout"
role    = "Triages incoming issues"
owner   = "ops@example.com"
command = ["claude"]
hours   = { days = "Mon-Fri", from = "08:00", to = "18:00", zone = "Europe/Berlin", outside = "alert" }

[isolation]
kind   = "cell"                 # or "vm"
memory = "4 GiB"
cpus   = 2.0
tasks  = 512

[files]
workspace = "~/work/triage"     # read-write, seen as /workspace
read_only = ["~/reference"]     # seen as /reference

[[network.allow]]
host = "api.anthropic.com"      # port 443 unless said otherwise

[[network.allow]]
host    = "api.github.com"
methods = ["GET", "POST"]       # methods or paths make the gate open TLS and look
paths   = ["/repos/acme/**"]
apps    = ["/usr/bin/gh"]

[[credential]]
env     = "ANTHROPIC_API_KEY"   # the agent sees a placeholder
host    = "api.anthropic.com"
header  = "x-api-key"
max_age = "30 days"
limits  = { requests_per_minute = 60, tokens_per_day = 2_000_000, usd_per_day = 20 }
"#;

fn with(rest: &str) -> String {
    format!("{MINIMAL}{rest}")
}

/// The short messages of a policy that must not parse.
fn mistakes(text: &str) -> Vec<String> {
    match Policy::parse("scout.toml", text) {
        Ok(policy) => panic!("this parsed: {text}\n{policy:?}"),
        Err(errors) => errors.lines(),
    }
}

fn one_mistake(rest: &str) -> String {
    let found = mistakes(&with(rest));
    assert_eq!(found.len(), 1, "{rest}: {found:#?}");
    found.into_iter().next().unwrap()
}

#[test]
fn the_design_s_policy_parses_and_says_what_is_not_yet_done() {
    let policy =
        Policy::parse("scout.toml", DESIGN).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    assert_eq!(policy.name().as_str(), "scout");
    assert_eq!(policy.isolation().memory, Some(4 << 30));
    assert_eq!(policy.retention(), &Retention::Forever);
    let unsupported: Vec<_> =
        policy.unsupported().iter().map(|item| format!("{}: {}", item.at, item.what)).collect();
    assert_eq!(unsupported, ["scout.toml:7: working hours",]);
}

#[test]
fn an_empty_file_is_no_policy() {
    let found = mistakes("");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("`[agent]` is missing") && found[1].contains("`[isolation]` is missing"));
}

#[test]
fn every_mistake_of_a_file_is_found_at_once() {
    let found = mistakes(
        "[agent]\nname = \"Scout\"\nrole = \"\"\nownr = \"me\"\n\n[isolation]\nkind = \"sell\"\nmemory = \"4 GB\"\ntasks = 0\n\n\
         [files]\nworkspace = \"~\"\n\n[[network.allow]]\nhost = \"*.com\"\nports = []\n\n[netwrok]\n",
    );
    let wanted = [
        "scout.toml:2:8: not an agent's name",
        "scout.toml:3:8: `role` is empty",
        "scout.toml:4:1: unknown key \"ownr\": not a key of [agent] (did you mean `owner`?)",
        "scout.toml:7:8: unknown value \"sell\" for `kind`: `kind` is \"cell\" or \"vm\" (did you mean `cell`?)",
        "scout.toml:8:10: \"4 GB\" is no size",
        "scout.toml:9:9: `tasks` is out of range",
        "scout.toml:12:13: your whole home directory cannot be given to an agent",
        "scout.toml:15:8: `*.com` is a wildcard over a public suffix",
        "scout.toml:16:9: `ports` is empty",
        "scout.toml:18:2: unknown key \"netwrok\": not a key of a policy (did you mean `network`?)",
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (line, start) in found.iter().zip(wanted) {
        assert!(line.starts_with(start), "{line}\nis not\n{start}");
    }
}

#[test]
fn a_mistake_is_shown_as_a_compiler_would() {
    let text = with("[[network.allow]]\nhots = \"api.example.com\"\n");
    let errors = Policy::parse("scout.toml", &text).unwrap_err();
    let wanted = "\
error: a rule needs a host
 --> scout.toml:6:1
  |
6 | [[network.allow]]
  | ^^^^^^^^^^^^^^^^^ this rule names nothing
  |
  = help: write `host = \"example.com\"`, or `address = \"10.0.0.5:5432\"` for an address without a name

error: unknown key \"hots\"
 --> scout.toml:7:1
  |
7 | hots = \"api.example.com\"
  | ^^^^ not a key of [[network.allow]]
  |
  = help: did you mean `host`?

scout.toml: 2 mistakes; nothing was started";
    assert_eq!(errors.render(false), wanted);
    assert!(errors.render(true).contains("\u{1b}["));
}

#[test]
fn text_that_is_not_toml_is_refused_where_it_breaks() {
    assert!(one_mistake("[files\nworkspace = \"~/x\"\n").starts_with("scout.toml:6:7: not TOML:"));
    assert!(one_mistake("[agent]\n").contains("not TOML: duplicate key"));
    assert!(mistakes("agent = [[[").iter().all(|line| line.contains("not TOML")));
}

#[test]
fn what_is_no_policy_at_all_gets_one_clear_message() {
    let huge = "a".repeat(100_000_000);
    assert_eq!(
        mistakes(&huge),
        ["scout.toml: this file has 100000000 bytes; a policy has at most 1048576 (is this a policy file?)"]
    );
    let errors = Policy::from_bytes("scout.toml", b"[agent]\nname = \"\xff\"\n").unwrap_err();
    assert_eq!(
        errors.lines(),
        ["scout.toml: not UTF-8: byte 16 (line 2) is no text (save the file as UTF-8)"]
    );
    assert!(errors.render(false).contains("save the file as UTF-8"));
}

#[test]
fn rules_that_can_never_match_are_mistakes() {
    let deny = "[[network.deny]]\nhost = \"*.example.com\"\n";
    let cases = [
        (
            "[[network.allow]]\nhost = \"a.example.com\"\n",
            deny,
            "`a.example.com` is permitted here and denied",
        ),
        (
            "[[network.allow]]\nhost = \"*.b.example.com\"\n",
            deny,
            "`*.b.example.com` is permitted here and denied",
        ),
        (
            "[[network.allow]]\nhost = \"a.net\"\n",
            "[[network.allow]]\nhost = \"A.net.\"\n",
            "an earlier rule already",
        ),
        ("[[network.allow]]\nhost = \"a.net\"\nports = [22]\n", "", "port 22 carries no TLS"),
        ("[[network.allow]]\nhost = \"a.net\"\nprotocol = \"tcp\"\n", "", "needs `ports`"),
        ("[[network.allow]]\nhost = \"a.net\"\napps = [\"/tmp/x\"]\n", "", "could be any program"),
        ("[[network.allow]]\nhost = \"a.net\"\npaths = [\"/a/../b\"]\n", "", "did you mean \"/b\"?"),
        ("[[network.allow]]\nhost = \"a.net\"\nmethods = [\"get\"]\n", "", "in capitals"),
        ("[[network.allow]]\nhost = \"a.net\"\nmethods = [\"CONNECT\"]\n", "", "could never match"),
        (
            "[[network.allow]]\nhost = \"a.net\"\npaths = [\"/a;b\"]\n",
            "[[network.allow]]\nhost = \"a.net\"\npaths = [\"/c\"]\n",
            "is no path of requests",
        ),
        (deny, deny, "denied twice"),
    ];
    for (first, second, wanted) in cases {
        let found = one_mistake(&format!("{first}{second}"));
        assert!(found.contains(wanted), "{found}\ndoes not say\n{wanted}");
    }
}

#[test]
fn hosts_and_addresses_have_one_notation() {
    let long = "a".repeat(300);
    let cases = [
        ("host = \"10.0.0.5\"", "leave `host` out and write `address = \"10.0.0.5:443\"`"),
        ("host = \"0x7f.1\"", "this is an address"),
        ("host = \"2130706433\"", "this is an address"),
        ("host = \"https://a.net/x\"", "write the host alone: `host = \"a.net\"`"),
        ("host = \"a.net:8443\"", "write `host = \"a.net\"` and `ports = [8443]`"),
        ("host = \"a.*.net\"", "a `*` stands only at the start"),
        ("host = \"*\"", "a `*` stands only at the start"),
        ("host = \"*.github.io\"", "public suffix"),
        ("host = \"*.co.uk\"", "public suffix"),
        ("host = \"localhost\"", "is the cell itself"),
        ("host = \"a.net\"\nports = [\"443\"]", "`ports` is a whole number, without quotes"),
        ("host = \"a.net\"\nports = [0]", "out of range"),
        ("host = \"a.net\"\nports = [65536]", "out of range"),
        ("host = \"a.net\"\nports = [8443, 8443]", "stands twice"),
        ("host = \"a.net\"\naddress = \"10.0.0.5\"", "`address = \"10.0.0.5:443\"`"),
        ("host = \"a.net\"\naddress = \"0x7f.1:80\"", "is no address with a port"),
        ("host = \"a.net\"\naddress = \"[::ffff:10.0.0.1]:80\"", "write `10.0.0.1:80`"),
        ("host = \"a.net\"\naddress = \"0.0.0.0:80\"", "no one machine's"),
        ("host = \"a.net\"\naddress = \"198.18.0.7:80\"", "resolver"),
        ("address = \"127.0.0.1:5432\"", "the cell's own"),
        ("address = \"10.0.0.5:5432\"\nports = [5432]", "`ports` needs a `host`"),
        ("host = \"a.net\"\nnetworks = [\"10.0.0.1/8\"]", "did you mean `10.0.0.0/8`?"),
        ("host = \"a.net\"\nnetworks = [\"0.0.0.0/0\"]", "every address there is"),
        ("host = \"a.net\"\nports = [1, 2]\naddress = \"10.0.0.5:1\"", "`ports` are several"),
    ];
    for (rule, wanted) in cases {
        let found = one_mistake(&format!("[[network.allow]]\n{rule}\n"));
        assert!(found.contains(wanted), "{found}\ndoes not say\n{wanted}");
    }
    let found = one_mistake(&format!("[[network.allow]]\nhost = \"{long}\"\n"));
    assert!(found.contains("not a host"), "{found}");
}

#[test]
fn files_are_absolute_plain_and_not_everything() {
    for (path, wanted) in
        [("/", "whole file system"), ("~/", "whole home"), ("work", "not absolute"), ("~/a/../..", "`..`")]
    {
        let found = one_mistake(&format!("[files]\nworkspace = \"{path}\"\n"));
        assert!(found.contains(wanted), "{found}");
    }
    assert!(one_mistake("[files]\nsensitive = [\".env\"]\n").contains("no path inside"));
}

#[test]
fn environment_holds_no_secrets_and_no_part_of_the_cell() {
    let agent = |line: &str| {
        mistakes(&format!(
            "[agent]\nname = \"a\"\nenvironment = {{ {line} }}\n[isolation]\nkind = \"cell\"\n"
        ))
        .join("\n")
    };
    assert!(agent("OPENAI_API_KEY = \"sk\"").contains("[[credential]]"));
    assert!(agent("PATH = \"/tmp\"").contains("set by Wardroom"));
    assert!(agent("\"A B\" = \"x\"").contains("no variable's name"));
}

#[test]
fn many_rules_are_checked_in_good_time_and_too_many_refused() {
    let rules = |count: usize| {
        let rules: Vec<_> =
            (0..count).map(|n| format!("[[network.allow]]\nhost = \"h{n}.a.net\"\n")).collect();
        with(&rules.concat())
    };
    assert!(Policy::parse("scout.toml", &rules(4096)).is_ok());
    assert!(one_mistake(rules(4097).strip_prefix(MINIMAL).unwrap()).contains("at most 4096"));
}

#[test]
fn a_flood_of_mistakes_is_counted_and_not_shown_in_full() {
    let text = with(&"[[network.allow]]\n".repeat(100));
    let shown = Policy::parse("scout.toml", &text).unwrap_err().render(false);
    assert_eq!(shown.matches("error: a rule needs a host").count(), 40);
    assert!(shown.ends_with("scout.toml: 100 mistakes, 60 of them not shown; nothing was started"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_and_never_panics(text in "\\PC{0,200}") {
        drop(Policy::parse("x", &text).map_err(|errors| errors.render(false)));
    }

    #[test]
    fn broken_policies_are_refused_and_never_panic(start in 0..1300_usize, length in 0..40_usize, new in "\\PC{0,6}") {
        let before = DESIGN.get(..start).unwrap_or(DESIGN);
        let after = DESIGN.get(start + length..).unwrap_or("");
        drop(Policy::parse("x", &format!("{before}{new}{after}")).map_err(|errors| errors.render(true)));
    }
}

#[test]
fn a_message_never_carries_a_terminal_s_escapes() {
    let hostile = ["\u{1b}[2J", "\u{9b}2J", "\u{202e}evil", "\r", "\u{e0041}\u{a0}"];
    for text in hostile {
        for place in [
            format!("{text} = 1\n"),
            format!("\"{text}\" = 1\n"),
            format!("[[network.allow]]\nhost = \"{text}\"\n"),
            format!("[files]\nworkspace = \"{text}\"\n# {text}"),
            format!("[[network.allow]]\nhost = \"a.net\"\nprotocol = \"{text}\" # {text}\n"),
        ] {
            let errors = Policy::parse("scout.toml", &with(&place)).unwrap_err();
            for shown in [errors.render(false), errors.lines().join("\n")] {
                let bad = shown.chars().find(|c| (c.is_control() && *c != '\n') || is_invisible(*c));
                assert_eq!(bad, None, "{place:?}\n{shown:?}");
            }
        }
    }
}

#[test]
fn the_manual_s_examples_parse_and_its_mistake_reads_as_it_says() {
    let manual = include_str!("../../../../../docs/policy.md");
    let blocks: Vec<_> =
        manual.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 5);
    for text in [blocks[0].to_owned(), with(&blocks[1..].concat())] {
        let policy =
            Policy::parse("scout.toml", &text).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        assert_eq!(policy.unsupported(), []);
    }
    let shown =
        Policy::parse("scout.toml", &with("[[network.allow]]\nhots = \"api.example.com\"\n")).unwrap_err();
    let shown = shown.render(false);
    let second = shown.split("\n\n").nth(1).unwrap();
    assert!(manual.contains(second), "{second}");
}
