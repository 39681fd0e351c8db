//! What a person at a terminal notices: its size, and how it is left when something is broken off.

#![expect(clippy::disallowed_methods, reason = "tests drive the real binary")]

mod common;
#[path = "common/terminal.rs"]
mod terminal;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use common::{Stage, WARDROOM, until};
use rustix::termios::{LocalModes, tcgetattr};
use terminal::Terminal;

#[test]
fn a_passphrase_that_is_not_typed_after_all_leaves_a_terminal_that_shows_what_is_typed() {
    let stage = Stage::new();
    // A session of its own, whose terminal this is.
    let mut command = Command::new("setsid");
    command.args(["--ctty", WARDROOM, "--base"]).arg(stage.base()).arg("setup");
    let mut asked = Terminal::start(command);
    until("the question", || asked.shown().contains("New passphrase"));
    let shows = |terminal: &File| tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ECHO);
    assert!(!shows(&asked.keyboard));
    asked.keyboard.write_all(b"\x03").unwrap();
    assert_eq!(asked.child.wait().unwrap().signal(), Some(2));
    assert!(shows(&asked.keyboard));
}

#[test]
fn a_command_in_a_running_cell_has_a_terminal_as_large_as_the_operator_s() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let agent = stage.start("scout", "echo up > /workspace/up; exec sleep 60");
    until("the start", || stage.workspace().join("up").exists());
    let (code, screen) = Terminal::run(&stage, &["exec", "scout", "--", "stty", "size"]).end();
    assert_eq!((code, screen.trim()), (0, "31 97"), "{screen}");
    assert_eq!(stage.call(&["stop", "scout"]).code, 0);
    drop(agent.wait_with_output().unwrap());
}

#[test]
fn what_is_said_beside_an_agent_s_screen_begins_in_the_first_column() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let line = ["run", "scout", "--", "sh", "-c", "echo up; exec sleep 60"];
    let agent = Terminal::run(&stage, &line);
    until("the start", || agent.shown().contains("up"));
    fs::write(stage.policy_file("scout"), "nonsense = [").unwrap();
    until("the refusal", || agent.shown().contains("scout.toml:1:"));
    assert_eq!(stage.call(&["stop", "scout"]).code, 0);
    let sent = agent.as_sent();
    assert!(!sent.replace("\r\n", "").contains('\n'), "{sent:?}");
    drop(agent.end());
}

#[test]
fn a_demonstration_that_is_broken_off_leaves_nothing_behind() {
    let stage = Stage::new();
    let mut command = Command::new(WARDROOM);
    command.arg("demo").env("TMPDIR", stage.workspace()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut demo = command.process_group(0).spawn().unwrap();
    until("the stage", || fs::read_dir(stage.workspace()).unwrap().count() > 0);
    let group = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    assert_eq!(demo.wait().unwrap().signal(), Some(2));
    assert_eq!(fs::read_dir(stage.workspace()).unwrap().count(), 0);
}

#[test]
fn an_agent_that_keeps_a_terminal_busy_which_nobody_reads_ends_with_its_command() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let line =
        "(trap '' TERM HUP INT; yes & while :; do date +%s%N > alive; sleep 0.05; done) & sleep 0.5; exit 7";
    let (mut agent, _unread) = Terminal::unread(stage.command(&["run", "scout", "--", "sh", "-c", line]));
    until("the end of the run", || agent.try_wait().unwrap().is_some());
    assert_eq!(agent.wait().unwrap().code(), Some(7));
    let last = fs::read(stage.workspace().join("alive")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(fs::read(stage.workspace().join("alive")).unwrap(), last, "something of the agent's lives");
    assert_eq!(stage.call(&["ledger", "verify", "scout"]).code, 0);
}

#[test]
fn what_is_typed_while_an_agent_starts_is_not_lost() {
    let stage = Stage::new();
    stage.agent("scout", "");
    for wait in (0..60).step_by(3) {
        let mut command = Command::new("setsid");
        command.args(["--ctty", WARDROOM, "--base"]).arg(stage.base());
        command.args(["run", "scout", "--", "sleep", "60"]);
        let mut agent = Terminal::start(command);
        let name = format!("/proc/{}/comm", agent.child.id());
        until("its begin", || fs::read_to_string(&name).unwrap() == "wardroom\n");
        std::thread::sleep(std::time::Duration::from_millis(wait));
        agent.keyboard.write_all(b"\x03").unwrap();
        until("the end of the run", || agent.child.try_wait().unwrap().is_some());
    }
}

#[test]
fn an_agent_in_the_background_of_a_terminal_is_told_what_it_needs() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let base = stage.base();
    let line = format!(
        "set -m; {WARDROOM} --base {0} run scout -- true & wait $!; echo ended $?; \
         {WARDROOM} --base {0} run scout -- true < /dev/null & wait $!; echo ended $?",
        base.display()
    );
    let mut command = Command::new("setsid");
    command.args(["--ctty", "bash", "-c", &line]);
    let (_, screen) = Terminal::start(command).end();
    assert!(screen.contains("run it in the foreground") && screen.contains("ended 200"), "{screen}");
    assert!(screen.contains("ended 0"), "{screen}");
}
