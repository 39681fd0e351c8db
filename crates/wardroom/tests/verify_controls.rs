//! Every control of `wardroom verify` works on this machine: a probe whose attempt fails even where nothing contains
//! it would show nothing.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test starts the program that it tests, fails by panicking, and says what it skips"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What only root can do outside a cell, on a kernel that has it at all. As a user, `verify` says "could not test".
const NEEDS_ROOT: [&str; 5] =
    ["C7.kexec", "C7.init-module", "C7.finit-module", "C7.delete-module", "C11.own-image"];

/// The controls that did not work, with what they said.
fn failures(mut command: Command) -> Vec<(String, String)> {
    let said = command.args(["__role", "probe", "controls"]).output().expect("the controls run");
    let reports: Vec<Value> = String::from_utf8_lossy(&said.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is a report"))
        .collect();
    assert!(reports.len() > 150, "{} controls: {}", reports.len(), String::from_utf8_lossy(&said.stderr));
    reports
        .iter()
        .filter(|report| {
            let outcome = &report["outcome"];
            outcome.get("Succeeded").is_none() && outcome.get("Reached").is_none()
        })
        .map(|report| (report["id"].as_str().unwrap_or_default().to_owned(), report["outcome"].to_string()))
        .collect()
}

/// What this machine cannot do at all is a skip, and visible.
fn unexplained(failures: Vec<(String, String)>) -> Vec<(String, String)> {
    failures
        .into_iter()
        .filter(|(id, said)| {
            let impossible = said.contains("Impossible");
            if impossible {
                eprintln!("SKIPPED: control of {id}: {said}");
            }
            !impossible
        })
        .collect()
}

#[test]
fn every_control_works_for_whoever_runs_the_tests() {
    let root = rustix::process::geteuid().is_root();
    let mut left = unexplained(failures(Command::new(env!("CARGO_BIN_EXE_wardroom"))));
    left.retain(|(id, _)| root || !NEEDS_ROOT.contains(&id.as_str()));
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn every_control_but_roots_works_for_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!(
            "SKIPPED: every_control_but_roots_works_for_an_ordinary_user: only root can become another"
        );
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let copy = place.path().join("wardroom");
    fs::copy(env!("CARGO_BIN_EXE_wardroom"), &copy).expect("a copy");
    readable(place.path());
    readable(&copy);
    let mut command = Command::new(&copy);
    command.uid(4321).gid(4321).current_dir("/");
    let mut left = unexplained(failures(command));
    left.retain(|(id, _)| !NEEDS_ROOT.contains(&id.as_str()));
    assert!(left.is_empty(), "{left:#?}");
}

fn readable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
}
