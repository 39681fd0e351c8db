//! The checks that are one cargo command each.

use anyhow::Result;

use crate::spawn;

/// Formats, or only checks the format.
pub(crate) fn fmt(check: bool) -> Result<()> {
    let mut cargo = spawn::cargo(&["fmt", "--all"]);
    if check {
        cargo.args(["--", "--check"]);
    }
    spawn::run(&mut cargo)
}

/// Clippy on every target of every member; a warning is an error.
pub(crate) fn lint() -> Result<()> {
    spawn::run(&mut spawn::cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Rustdoc of every member, private items included; a warning is an error.
pub(crate) fn doc() -> Result<()> {
    spawn::run(
        spawn::cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// The driver of the hostile programs, with its table on the terminal.
pub(crate) fn hostile(filter: Option<&str>) -> Result<()> {
    let mut cargo = spawn::cargo(&["test", "-p", "wardroom", "--test", "hostile", "--", "--nocapture"]);
    if let Some(filter) = filter {
        cargo.env("WARDROOM_HOSTILE", filter);
    }
    spawn::run(&mut cargo)
}

/// The property tests of the crates that parse hostile bytes, with many cases.
pub(crate) fn fuzz(cases: u32) -> Result<()> {
    let packages =
        ["-p", "wardroom-model", "-p", "wardroom-policy", "-p", "wardroom-ledger", "-p", "wardroom-gate"];
    spawn::run(spawn::cargo(&["test", "--locked"]).args(packages).env("PROPTEST_CASES", cases.to_string()))
}
