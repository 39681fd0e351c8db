//! Every promise of `docs/security-model.md` names a test, and the test exists.
//!
//! The last cell of a row `| P1.2 | ... |` holds its witnesses in backquotes: test functions as `crate::function`, hostile programs
//! as `hostile::ID`.

use std::collections::BTreeSet;

use crate::tidy::Tracked;

const MODEL: &str = "docs/security-model.md";

/// Its tables end in a cell of tests as well.
const LESSONS: &str = "docs/lessons.md";

/// Rows without a witness, and witnesses that are no test.
pub(crate) fn without_a_witness(tracked: &[Tracked]) -> Vec<String> {
    let Some(model) = tracked.iter().find(|file| file.path == MODEL) else {
        return vec![format!("{MODEL}: missing")];
    };
    let mut tests = tests(tracked);
    tests.extend(hostile(tracked));
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
    let lessons = tracked.iter().find(|file| file.path == LESSONS);
    for row in
        lessons.into_iter().flat_map(|file| file.text.lines()).filter(|line| line.starts_with("| ")).skip(1)
    {
        let absent = last_cell(row).split('`').skip(1).step_by(2).filter(|witness| !tests.contains(*witness));
        faults.extend(absent.map(|witness| format!("{LESSONS}: there is no test `{witness}`")));
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

/// Every test function, and every case of a harness of our own, as `crate::function`.
fn tests(tracked: &[Tracked]) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in tracked.iter().filter(|file| file.is_rust()) {
        let path = file.path.strip_prefix("crates/").unwrap_or(&file.path);
        let Some(member) = path.split('/').next() else {
            continue;
        };
        tests.extend(cases(&file.text).map(|name| format!("{member}::{name}")));
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

/// The names in a `const CASES: &[Case] = &[("name", function), ...];`.
fn cases(text: &str) -> impl Iterator<Item = &str> {
    let list = text.split_once("CASES: &[Case] = &[").and_then(|(_, rest)| rest.split_once("];"));
    let lines = list.map_or("", |(list, _)| list).lines();
    lines.filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next())
}

/// Every hostile program, as `hostile::ID`.
fn hostile(tracked: &[Tracked]) -> BTreeSet<String> {
    let manifest = tracked.iter().find(|file| file.path == "hostile/manifest.toml");
    let lines = manifest.into_iter().flat_map(|file| file.text.lines());
    lines
        .filter_map(|line| line.strip_prefix("id = "))
        .map(|id| format!("hostile::{}", id.trim_matches('"')))
        .collect()
}
