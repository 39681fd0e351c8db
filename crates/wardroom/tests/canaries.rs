//! Decoys in the agent's home: who opens one is on record with its program, and nothing of the agent's is touched.

mod common;

use std::fs::{self, File};

use common::Stage;

const KEY: &str = "/home/agent/.ssh/id_rsa";

fn home(stage: &Stage) -> std::path::PathBuf {
    stage.base().join("state/scout/home/agent")
}

fn files(stage: &Stage) -> String {
    stage.call(&["log", "scout", "--kind", "file"]).out
}

#[test]
fn who_opens_a_decoy_is_on_record_with_its_program() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let said = stage.sh("scout", "cat ~/.ssh/id_rsa && ln -s ~/.aws/credentials /tmp/x && head -c 1 /tmp/x");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("Decoy of the Wardroom cell scout"), "{said:?}");
    let log = files(&stage);
    for (program, path) in [("cat", KEY), ("head", "/home/agent/.aws/credentials")] {
        let seen = log.lines().any(|line| {
            line.contains(&format!("/{program}[")) && line.contains(&format!("{path} (a canary"))
        });
        assert!(seen, "{program} and {path} are missing in {log}");
    }
    let alarms = stage.records("scout", &["--kind", "file"]);
    assert!(alarms.iter().any(|record| record["severity_id"] == 4), "{alarms:?}");
}

#[test]
fn no_other_name_for_a_decoy_hides_who_opens_it() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let line = "cd; ln .ssh/id_rsa hard; mv .aws/credentials moved; cat hard moved > /dev/null; \
                exec 3< .kube; cat /proc/self/fd/3/config > /dev/null";
    let said = stage.sh("scout", line);
    assert_eq!(said.code, 0, "{said:?}");
    let log = files(&stage);
    for path in [KEY, "/home/agent/.aws/credentials", "/home/agent/.kube/config"] {
        assert!(log.contains(&format!("{path} (a canary")), "{path} is missing in {log}");
    }
}

#[test]
fn a_decoy_alarms_again_once_it_is_closed() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let said = stage.sh("scout", "for i in 1 2 3; do cat ~/.ssh/id_rsa >/dev/null; sleep 0.2; done");
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(files(&stage).matches("(a canary").count(), 3, "{}", files(&stage));
}

#[test]
fn what_the_agent_puts_in_the_place_of_a_decoy_is_its_own_and_is_named() {
    let stage = Stage::new();
    stage.agent("scout", "");
    assert_eq!(stage.sh("scout", "echo mine > ~/.aws/credentials; rm ~/.kube/config").code, 0);
    let log = files(&stage);
    assert!(log.contains("delete /home/agent/.kube/config"), "{log}");
    assert_eq!(stage.sh("scout", "cat ~/.aws/credentials").out, "mine\n");
    let notes = stage.call(&["log", "scout", "--kind", "supervision"]).out;
    assert!(notes.contains("nobody watches") && notes.contains("/home/agent/.aws/credentials"), "{notes}");
    assert!(home(&stage).join(".kube/config").exists(), "what was deleted is there again");
}

#[test]
fn a_policy_without_canaries_leaves_the_home_empty() {
    let stage = Stage::new();
    stage.agent("scout", "canaries = \"off\"\n");
    assert_eq!(stage.sh("scout", "ls -A ~").out, "");
    assert!(stage.call(&["check", "scout"]).out.contains("`canaries` and `audit_reads` are off"));
}

#[test]
fn a_link_in_the_home_leads_the_keeper_nowhere() {
    let stage = Stage::new();
    stage.agent("scout", "");
    assert_eq!(stage.sh("scout", "rm -r ~/.ssh ~/.kube; ln -s /workspace ~/.ssh; ln -s / ~/.kube").code, 0);
    assert_eq!(stage.sh("scout", "true").code, 0);
    assert_eq!(fs::read_dir(stage.workspace()).unwrap().count(), 0);
}

#[test]
fn a_decoy_that_cannot_be_watched_is_an_error_before_the_agent_starts() {
    let stage = Stage::new();
    stage.agent("scout", "");
    assert_eq!(stage.sh("scout", "true").code, 0);
    let held = File::open(home(&stage).join(".ssh/id_rsa")).unwrap();
    let said = stage.sh("scout", "echo started");
    assert_ne!(said.code, 0);
    assert!(said.err.contains(KEY) && said.err.contains("has it open"), "{said:?}");
    assert_eq!(said.out, "");
    drop(held);
    assert_eq!(stage.sh("scout", "true").code, 0);
}
