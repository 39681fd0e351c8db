use super::one_mistake;
use crate::Policy;

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
