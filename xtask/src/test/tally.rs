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
        if !captured.status.success() && tally.failed == 0 {
            tally.failed = 1;
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

/// All runs together. A test that ran in one half of the machine is not skipped, whatever the other half says.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    passed: usize,
    failures: BTreeMap<String, usize>,
    skipped: BTreeMap<String, BTreeMap<String, String>>,
}

impl Totals {
    /// Adds one program's run.
    pub(crate) fn add(&mut self, program: &Program, tally: &Tally) {
        let name = program.to_string();
        self.passed += tally.passed;
        if tally.failed > 0 {
            *self.failures.entry(name.clone()).or_default() += tally.failed;
        }
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
        if tally.failed > 0 {
            self.failures.insert("documentation".to_owned(), tally.failed);
        }
    }

    /// Notes something that this machine cannot do at all.
    pub(crate) fn skip(&mut self, what: &str, why: &str) {
        self.skipped.entry("xtask".to_owned()).or_default().insert(what.to_owned(), why.to_owned());
    }

    /// How many tests failed.
    pub(crate) fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// Says what could not run and why, what failed, and the totals as the last line.
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
        for (program, count) in &self.failures {
            say!("FAILED in {program}: {count}");
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
    fn a_program_that_dies_without_a_count_is_a_failure() {
        assert_eq!(Tally::read(&captured("", "aborted", 134)).failed, 1);
    }
}
