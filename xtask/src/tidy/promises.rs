//! Every promise of `docs/security-model.md` names a test, and the test exists.
//!
//! A row of its table is `| promise | witness |`; a witness is one or more test functions in backquotes, as `crate::function`.

use std::collections::BTreeSet;

use crate::tidy::Tracked;

const MODEL: &str = "docs/security-model.md";

/// Rows without a witness, and witnesses that are no test.
pub(crate) fn without_a_witness(tracked: &[Tracked]) -> Vec<String> {
    let Some(model) = tracked.iter().find(|file| file.path == MODEL) else {
        return vec![format!("{MODEL}: missing")];
    };
    let tests = tests(tracked);
    let mut faults = Vec::new();
    let mut rows = 0_usize;
    for (number, row) in (1..).zip(model.text.lines()).filter(|(_, line)| is_promise(line)) {
        rows += 1;
        let witnesses: Vec<&str> = last_cell(row).split('`').skip(1).step_by(2).collect();
        if witnesses.is_empty() {
            faults.push(format!("{MODEL}:{number}: a promise without a witness"));
        }
        for witness in witnesses.into_iter().filter(|witness| !tests.contains(*witness)) {
            faults.push(format!("{MODEL}:{number}: there is no test `{witness}`"));
        }
    }
    if rows == 0 {
        faults.push(format!("{MODEL}: no table of promises and witnesses"));
    }
    faults
}

/// A row of the table begins with the promise's number: `| P1.2 |`.
fn is_promise(line: &str) -> bool {
    line.strip_prefix("| P").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn last_cell(row: &str) -> &str {
    row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default()
}

/// Every test function, as `crate::function`.
fn tests(tracked: &[Tracked]) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in tracked.iter().filter(|file| file.is_rust()) {
        let Some(member) = file.path.strip_prefix("crates/").and_then(|path| path.split('/').next()) else {
            continue;
        };
        let mut marked = false;
        for line in file.text.lines().map(str::trim) {
            marked = marked || line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
                tests.extend(rest.split('(').next().map(|name| format!("{member}::{name}")));
                marked = false;
            }
        }
    }
    tests
}
