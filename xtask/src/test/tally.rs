//! Counts what test programs say of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use crate::say::say;
use crate::spawn::Captured;
use crate::test::programs::Program;

/// The result of one run of one test program.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: usize,
    pub(crate) failed: usize,
    /// The lines that say what failed and why.
    failures: Vec<String>,
    /// Test name to the reason that it gave for not running.
    skipped: BTreeMap<String, String>,
}

impl Tally {
    /// Reads a program's output. A program that ends badly without a count of failures is one failure.
    pub(crate) fn read(captured: &Captured) -> Self {
        let mut tally = Self::default();
        for line in captured.stdout.lines() {
            tally.read_result(line);
        }
        for line in captured.stdout.lines().chain(captured.stderr.lines()) {
            tally.read_skip(line);
        }
        // A test that could not run returned early, so the harness counted it as passed.
        tally.passed = tally.passed.saturating_sub(tally.skipped.len());
        tally.failures = failures(captured);
        if !captured.status.success() && tally.failed == 0 {
            tally.failed = 1;
            tally.failures.push(format!("no count; it ended with {}, after saying:", captured.status));
            tally.failures.extend(last_lines(&captured.stdout).chain(last_lines(&captured.stderr)));
        }
        tally
    }

    fn read_result(&mut self, line: &str) {
        if let Some((_, counts)) = line.split_once("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
        }
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored")) {
            let why = name.1.trim_start_matches([',', ' ']);
            self.skipped.insert(name.0.to_owned(), format!("ignored {why}"));
            self.passed += 1; // given back when the skips are subtracted: the harness does not count it as passed
        }
    }

    fn read_skip(&mut self, line: &str) {
        if let Some((_, skip)) = line.split_once("SKIPPED: ") {
            let (test, why) = skip.split_once(": ").unwrap_or((skip, "no reason given"));
            self.skipped.insert(test.trim().to_owned(), why.trim().to_owned());
        }
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped.len())
    }
}

/// The number before `what` in the harness's line `ok. 3 passed; 0 failed; ...`.
fn count(counts: &str, what: &str) -> usize {
    counts
        .split([';', '.'])
        .filter_map(|part| part.trim().split_once(' '))
        .find(|(_, word)| *word == what)
        .and_then(|(number, _)| number.parse().ok())
        .unwrap_or(0)
}

/// The names of the tests that failed, and the beginning of what each panic said.
fn failures(captured: &Captured) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned);
    let mut said: Vec<String> = captured.stdout.lines().filter_map(name).collect();
    let mut left = 0_usize;
    for line in captured.stderr.lines() {
        left = if line.contains(" panicked at ") { PANIC_LINES } else { left };
        if left > 0 {
            said.push(format!("  {line}"));
            left -= 1;
        }
    }
    said
}

/// How much of a panic's message the totals repeat; the whole output stands above them.
const PANIC_LINES: usize = 5;

fn last_lines(text: &str) -> impl Iterator<Item = String> {
    let mut last: Vec<String> =
        text.lines().rev().take(PANIC_LINES).map(|line| format!("  {line}")).collect();
    last.reverse();
    last.into_iter()
}

/// What failed in one program, in both halves.
#[derive(Debug, Default)]
struct Failures {
    count: usize,
    said: Vec<String>,
}

/// All runs together. A test that ran in one half of the machine is not skipped, whatever the other half says.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    passed: usize,
    failures: BTreeMap<String, Failures>,
    skipped: BTreeMap<String, BTreeMap<String, String>>,
}

impl Totals {
    /// Adds one program's run.
    pub(crate) fn add(&mut self, program: &Program, tally: &Tally) {
        let name = program.to_string();
        self.passed += tally.passed;
        self.add_failures(&name, tally);
        match self.skipped.get_mut(&name) {
            Some(before) => before.retain(|test, _| tally.skipped.contains_key(test)),
            None => {
                self.skipped.insert(name, tally.skipped.clone());
            }
        }
    }

    /// Adds the tests in documentation.
    pub(crate) fn add_doctests(&mut self, tally: &Tally) {
        self.passed += tally.passed;
        self.add_failures("documentation", tally);
    }

    fn add_failures(&mut self, program: &str, tally: &Tally) {
        if tally.failed > 0 {
            let failures = self.failures.entry(program.to_owned()).or_default();
            failures.count += tally.failed;
            failures.said.extend_from_slice(&tally.failures);
        }
    }

    /// Notes something that this machine cannot do at all.
    pub(crate) fn skip(&mut self, what: &str, why: &str) {
        self.skipped.entry("xtask".to_owned()).or_default().insert(what.to_owned(), why.to_owned());
    }

    /// How many tests failed.
    pub(crate) fn failed(&self) -> usize {
        self.failures.values().map(|failures| failures.count).sum()
    }

    /// Says what could not run and why, what failed and what it said, and the totals as the last line: whoever sees no more
    /// than the end of the output knows where to look.
    pub(crate) fn report(&self) {
        let skipped: usize = self.skipped.values().map(BTreeMap::len).sum();
        if skipped > 0 {
            say!("\ncould not run on this machine ({skipped}):");
        }
        let mut by_reason: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (program, tests) in &self.skipped {
            for (test, why) in tests {
                by_reason.entry(why).or_default().insert(format!("{program} {test}"));
            }
        }
        for (why, tests) in by_reason {
            say!("  {} because: {why}", tests.len());
            for test in tests {
                say!("    {test}");
            }
        }
        for (program, failures) in &self.failures {
            say!("FAILED in {program}: {}", failures.count);
            for line in &failures.said {
                say!("    {line}");
            }
        }
        say!("\n{} passed, {} failed, {skipped} skipped", self.passed, self.failed());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::{Captured, Tally};

    fn captured(stdout: &str, stderr: &str, code: i32) -> Captured {
        Captured { status: ExitStatus::from_raw(code << 8), stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn a_skip_line_turns_a_pass_into_a_skip() {
        let out = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured";
        let tally = Tally::read(&captured(out, "SKIPPED: needs_root: not root\n", 0));
        assert_eq!(tally.to_string(), "2 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn an_ignored_test_is_a_skip_and_no_pass() {
        let out = "test slow ... ignored, takes an hour\ntest result: ok. 3 passed; 0 failed; 1 ignored";
        assert_eq!(Tally::read(&captured(out, "", 0)).to_string(), "3 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn what_failed_is_kept_with_what_it_said() {
        let out =
            "test a ... ok\ntest b (User) ... FAILED\ntest result: FAILED. 1 passed; 1 failed; 0 ignored";
        let tally =
            Tally::read(&captured(out, "noise\nthread 'b' panicked at x.rs:3:1:\nno such cell\n", 101));
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert_eq!(tally.failures, ["b (User)", "  thread 'b' panicked at x.rs:3:1:", "  no such cell"]);
    }

    #[test]
    fn a_program_that_dies_without_a_count_is_a_failure() {
        let tally = Tally::read(&captured("test a ... ok\n", "aborted", 124));
        assert_eq!(tally.failed, 1);
        assert_eq!(tally.failures[1..], ["  test a ... ok", "  aborted"], "{:?}", tally.failures);
    }
}
