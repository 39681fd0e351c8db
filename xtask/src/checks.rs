//! The checks that are one cargo command each.

use anyhow::{Context, Result, bail};

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

/// One fuzz target, for so many seconds. What it finds lies in `fuzz/artifacts`; new inputs stay out of the repository.
pub(crate) fn fuzz_target(target: &str, seconds: u64) -> Result<()> {
    let workspace = crate::workspace();
    if !spawn::installed("cargo-fuzz") {
        bail!("fuzz targets need cargo-fuzz: cargo install cargo-fuzz --locked");
    }
    if !workspace.join("fuzz/fuzz_targets").join(target).with_extension("rs").is_file() {
        bail!("there is no target {target} in fuzz/fuzz_targets");
    }
    // The first directory takes new inputs, the second is only read.
    let found = workspace.join("fuzz/target/found").join(target);
    std::fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
    let corpus = workspace.join("fuzz/corpus").join(target);
    let mut fuzz = spawn::command("cargo");
    // The sanitizers are in every compiler, and only a nightly one has them without this word. It is the one way to fuzz what
    // the compiler of the release makes.
    fuzz.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", target]);
    fuzz.arg(found).arg(corpus).args(["--", &format!("-max_total_time={seconds}"), "-rss_limit_mb=2048"]);
    spawn::run(&mut fuzz)
}
