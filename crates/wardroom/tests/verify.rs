//! `wardroom verify` on a real cell of this machine: nothing fails, and everything is on record.

#![expect(clippy::print_stderr, reason = "what could not be tested is said, as a counted skip")]

mod common;

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use common::{Said, Stage, until};
use serde_json::Value;

/// A permitted service that answers from nowhere, so that the result is the same on every machine.
const SERVICE: &str = "[[network.allow]]\nhost = \"service.wardroom-test.test\"\naddress = \"127.0.0.1:1\"\n";

#[test]
fn no_probe_fails_and_every_result_is_on_record() {
    let stage = Stage::new();
    stage.agent("scout", SERVICE);
    let said = stage.call(&["verify", "scout", "--json"]);
    let result: Value = serde_json::from_str(&said.out).unwrap_or(Value::Null);
    let Some(probes) = result["probes"].as_array() else {
        eprintln!("SKIPPED: no_probe_fails_and_every_result_is_on_record: no cell here: {}", said.err.trim());
        return;
    };
    let of = |finding: &'static str| probes.iter().filter(move |probe| probe["result"] == finding);
    for probe in of("could not test") {
        eprintln!("SKIPPED: {}: {}", probe["id"], probe["because"]);
    }
    let failed: Vec<_> = of("FAIL").map(|probe| format!("{}: {}", probe["id"], probe["because"])).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(of("pass").count() > 150, "{} passed", of("pass").count());
    // The service does not answer, which is neither a pass nor a failure.
    assert_eq!(said.code, 204, "{}", said.err);
    assert_eq!(stage.records("scout", &["--kind", "probe"]).len(), probes.len() + 1);
}

#[test]
fn an_unknown_probe_is_a_usage_error() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let said = stage.call(&["verify", "scout", "--only", "X9"]);
    assert_eq!(said.code, 200, "{said:?}");
    assert!(said.err.contains("X9"), "{said:?}");
}

#[test]
fn a_ctrl_c_ends_it_and_is_no_result() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let mut command = stage.command(&["verify", "scout", "--only", "C"]);
    let verify = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    until("the cell", || stage.call(&["ps"]).out.contains("running"));
    let group = rustix::process::Pid::from_child(&verify);
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    let said = Said::from(verify.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (204, ""), "{said:?}");
    assert!(said.err.contains("it was broken off"), "{said:?}");
}
