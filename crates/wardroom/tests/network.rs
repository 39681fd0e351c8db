//! The network of a whole run: what is refused is on record with its program, and who watches it is watched.

#![expect(clippy::disallowed_methods, reason = "a test fails by panicking, and measures time")]

mod common;

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::{Said, Stage, until};

/// The keeper's child that plays a role.
fn helper(keeper: &Child, role: &str) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", keeper.id())).ok()?;
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|b| *b == 0).any(|word| word == role.as_bytes()))
    })
}

fn log(stage: &Stage, filters: &[&str]) -> String {
    let said = stage.call(&[&["log", "scout"], filters].concat());
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}

#[test]
fn a_frozen_gate_or_scribe_is_noticed_and_replaced_on_record() {
    for role in ["gate", "scribe"] {
        let stage = Stage::new();
        stage.agent("scout", "");
        // An answer, though a refusal: the gate serves.
        let line = "getent hosts first.test; echo up > up; until [ -e go ]; do sleep 0.02; done; getent hosts nowhere.test; : > after";
        let first = stage.start("scout", line);
        until("the start", || stage.workspace().join("up").exists());
        let frozen = helper(&first, role).unwrap();
        assert!(Command::new("kill").args(["-STOP", &frozen.to_string()]).status().unwrap().success());
        until("another", || helper(&first, role).is_some_and(|other| other != frozen));
        fs::write(stage.workspace().join("go"), "").unwrap();
        let said = Said::from(first.wait_with_output().unwrap());
        assert_eq!(said.code, 0, "{role}: {said:?}");
        let supervision = log(&stage, &["--kind", "supervision"]);
        assert!(supervision.contains(&format!("{role}: did not answer for 5 s")), "{supervision}");
        assert!(supervision.contains(&format!("{role}: ended")), "{supervision}");
        let records = log(&stage, &[]);
        assert!(records.contains("nowhere.test") && records.contains("create /workspace/after"), "{records}");
        assert_eq!(stage.call(&["ledger", "verify", "scout"]).code, 0);
    }
}

#[test]
fn the_last_refused_packet_of_a_run_is_on_record_with_its_program() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let begun = Instant::now();
    let script = "exec 3<>/dev/tcp/1.2.3.4/80; exec 4<>/dev/udp/8.8.8.8/53 && echo x >&4; echo y > /dev/udp/2001:db8::1/53";
    let said = stage.call(&["run", "scout", "--", "bash", "-c", script]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{said:?}");
    let packets = log(&stage, &["--kind", "packet"]);
    for to in ["TCP to 1.2.3.4:80", "UDP to 8.8.8.8:53", "UDP to [2001:db8::1]:53"] {
        let line = packets.lines().find(|line| line.contains(to));
        assert!(line.is_some_and(|line| line.contains("bash[")), "{to} is missing in {packets}; {said:?}");
    }
}

#[test]
fn a_policy_that_a_frozen_gate_does_not_take_is_in_force_with_the_next_one() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let line = "getent hosts first.test; echo up > up; until [ -e go ]; do sleep 0.02; done; getent hosts late.test > found; : > after";
    let first = stage.start("scout", line);
    until("the start", || stage.workspace().join("up").exists());
    let frozen = helper(&first, "gate").unwrap();
    assert!(Command::new("kill").args(["-STOP", &frozen.to_string()]).status().unwrap().success());
    // More than the queue between keeper and gate holds.
    let long = "# a long remark\n".repeat(40_000);
    let rule = "[[network.allow]]\nhost = \"late.test\"\nports = [80]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:1\"\n";
    stage.agent("scout", &format!("{rule}{long}"));
    until("another gate", || helper(&first, "gate").is_some_and(|other| other != frozen));
    fs::write(stage.workspace().join("go"), "").unwrap();
    let said = Said::from(first.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    let found = fs::read_to_string(stage.workspace().join("found")).unwrap();
    assert!(found.contains("198.18."), "{found:?}; {said:?}");
}
