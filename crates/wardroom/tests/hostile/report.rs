//! What the driver says, in the form of Rust's own test harness, so that `cargo xtask test` counts it like any other.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test program's report")]

use std::process::ExitCode;

/// How one attempt ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Refused and seen, and its control succeeded.
    Proven,
    /// Something was missing; never a pass.
    CouldNot(String),
    /// It escaped, or was not seen, or did something else than the manifest says.
    Failed(String),
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    ended: usize,
    failed: Vec<String>,
}

impl Report {
    /// Adds one, and says so at once.
    pub(crate) fn add(&mut self, id: &str, end: End) {
        match end {
            End::Proven => println!("test {id} ... ok"),
            End::CouldNot(why) => {
                println!("test {id} ... ok");
                eprintln!("SKIPPED: {id}: {}", why.lines().next().unwrap_or_default());
            }
            End::Failed(why) => {
                println!("test {id} ... FAILED\n{why}\n");
                self.failed.push(id.to_owned());
                return;
            }
        }
        self.ended += 1;
    }

    /// The totals; failed if any failed.
    pub(crate) fn finish(self) -> ExitCode {
        let word = if self.failed.is_empty() { "ok" } else { "FAILED" };
        println!("failures: {}", self.failed.join(" "));
        println!("test result: {word}. {} passed; {} failed; 0 ignored", self.ended, self.failed.len());
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// One line for a person.
pub(crate) fn line(text: &str) {
    println!("{text}");
}
