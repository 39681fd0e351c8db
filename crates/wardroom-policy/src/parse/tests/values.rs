use super::one_mistake;
use crate::{Policy, explain};

/// The one mistake of a cell with this line.
fn isolation(line: &str) -> String {
    super::mistakes(&format!("{}{line}\n", super::MINIMAL)).join("\n")
}

#[test]
fn a_number_of_processors_is_one_that_the_kernel_can_hold() {
    for number in
        ["0", "0.0", "-1.5", "-1", "nan", "inf", "1e-9", "0.009", "1024.5", "1000000", "99999999999"]
    {
        let found = isolation(&format!("cpus = {number}"));
        assert_eq!(found, "scout.toml:6:8: `cpus` is out of range: from 0.01 to 1024", "{number}");
    }
    let found = isolation("cpus = \"2\"");
    assert!(
        found.contains("`cpus` is a number from 0.01 to 1024, without quotes: this is a text"),
        "{found}"
    );
    for (number, wanted) in [("0.01", 0.01), ("2", 2.0), ("1.5", 1.5), ("0x10", 16.0), ("1_024", 1024.0)] {
        let policy = Policy::parse("x", &format!("{}cpus = {number}\n", super::MINIMAL)).unwrap();
        assert_eq!(policy.isolation().cpus, Some(wanted), "{number}");
    }
}

#[test]
fn dollars_are_an_amount_that_the_gate_can_count() {
    let rule = "[[network.allow]]\nhost = \"a.net\"\n[[credential]]\nenv = \"A_KEY\"\nhost = \"a.net\"\nheader = \"x-key\"\n";
    for number in ["0", "1e-9", "2e6", "inf"] {
        let found = one_mistake(&format!("{rule}limits = {{ usd_per_day = {number} }}\n"));
        assert!(
            found.contains("`usd_per_day` is out of range: from 0.000001 to 1000000"),
            "{number}: {found}"
        );
    }
}

#[test]
fn a_value_of_another_kind_is_told_what_is_permitted() {
    let cases = [
        ("limits = true", "`limits` is \"cgroup\" or \"rlimits-only\": this is true or false"),
        ("limits = \"\"", "`limits` is \"cgroup\" or \"rlimits-only\""),
        ("memory = 4", "`memory` is a size between quotes, as \"4 GiB\": this is a whole number"),
        ("[files]\ncanaries = true", "`canaries` is \"on\" or \"off\": this is true or false"),
        ("[files]\naudit_reads = 1", "`audit_reads` is \"sensitive\" or \"off\": this is a whole number"),
        ("[ledger]\nretention = 30", "a duration between quotes, as \"30 days\", or \"forever\""),
    ];
    for (line, wanted) in cases {
        let found = isolation(line);
        assert!(found.contains(wanted), "{line}: {found}");
    }
}

#[test]
fn a_character_that_hides_is_refused_by_its_number() {
    let hidden = "\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}";
    for c in hidden.chars() {
        let wanted = format!("has an invisible character: U+{:04X} cannot stand here", u32::from(c));
        for line in [
            format!("root = \"/srv/a{c}b\""),
            format!("[files]\nworkspace = \"/srv/a{c}b\""),
            format!("[files]\nread_only = [\"~/a{c}b\"]"),
            format!("[[network.allow]]\nhost = \"a.net\"\npaths = [\"/a{c}b\"]"),
            format!("[[network.allow]]\nhost = \"a.net\"\napps = [\"/usr/bin/a{c}b\"]"),
            format!("[[network.allow]]\nhost = \"a{c}b.net\""),
        ] {
            let found = isolation(&line);
            assert!(found.contains(&wanted), "{line:?}: {found}");
        }
        let role = format!("[agent]\nname = \"a\"\nrole = \"a{c}b\"\n[isolation]\nkind = \"cell\"\n");
        let found = super::mistakes(&role).join("\n");
        assert!(found.contains(&wanted), "{role:?}: {found}");
    }
    let control = isolation("root = \"/srv/a\\u001bb\"");
    assert!(control.contains("has a control character: U+001B cannot stand here"), "{control}");
}

#[test]
fn an_argument_may_hold_anything_and_is_shown_escaped() {
    let text = "[agent]\nname = \"a\"\ncommand = [\"sh\", \"a\u{202e}\u{200b}\u{feff}\\u001bb\"]\n[isolation]\nkind = \"cell\"\n";
    let said = explain(&Policy::parse("x", text).unwrap()).join("\n");
    assert!(said.contains("\\u{202e}\\u{200b}\\u{feff}\\u{1b}"), "{said}");
}

#[test]
fn keys_of_the_operator_s_choice_are_never_shown_raw() {
    let app = "[[network.allow]]\nhost = \"a.net\"\n[[credential]]\nenv = \"A_KEY\"\nhost = \"a.net\"\nkind = \"github-app\"\n\
        app_id = 1\ninstallation_id = 2\n";
    for (level, wanted) in [("\"read\"", "is no permission's name"), ("1", "is a text between quotes")] {
        let found = one_mistake(&format!("{app}permissions = {{ \"a\u{202e}\\u001b[2Jb\" = {level} }}\n"));
        assert!(found.contains("a\\u{202e}\\u{1b}[2Jb") && found.contains(wanted), "{found}");
        assert!(!found.contains(['\u{1b}', '\u{202e}']), "{found:?}");
    }
}
