//! The life of a running agent: entered, stopped, bereft of its helpers, under a policy that changes.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive the real binary, wait for it"
)]

mod common;

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Said, Stage, WARDROOM, until};

/// A running agent that waits for a file called `go`.
fn waiting(stage: &Stage, line: &str) -> Child {
    let child = stage.start("scout", &format!("echo up > /workspace/up; {line}"));
    until("the start", || stage.workspace().join("up").exists());
    child
}

const WAIT: &str = "until [ -e /workspace/go ]; do sleep 0.02; done";

fn go(stage: &Stage) {
    fs::write(stage.workspace().join("go"), "").unwrap();
}

/// The keeper's children that play a role.
fn helper(keeper: &Child, role: &str) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", keeper.id())).ok()?;
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|b| *b == 0).any(|word| word == role.as_bytes()))
    })
}

/// Sends a signal; false when the process is gone already.
fn kill(pid: u32, signal: &str) -> bool {
    Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success()
}

fn verified(stage: &Stage) -> Said {
    stage.call(&["ledger", "verify", "scout"])
}

fn log(stage: &Stage, filters: &[&str]) -> String {
    let said = stage.call(&[&["log", "scout"], filters].concat());
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}

#[test]
fn a_running_cell_is_entered_under_the_same_walls_and_on_record() {
    let stage = Stage::new();
    stage.agent("scout", "audit_reads = \"sensitive\"\n");
    let first = waiting(&stage, WAIT);
    let said = stage.call(&[
        "exec",
        "scout",
        "--",
        "sh",
        "-c",
        "cat /proc/self/status; cat /etc/shadow; unshare -U true; exit 9",
    ]);
    assert_eq!(said.code, 9, "{said:?}");
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(said.out.contains(line), "{line:?} is missing in {}", said.out);
    }
    let ps = stage.call(&["ps"]);
    assert!(ps.out.contains("scout") && ps.out.contains("running"), "{ps:?}");
    go(&stage);
    assert_eq!(Said::from(first.wait_with_output().unwrap()).code, 0);
    let log = log(&stage, &[]);
    for part in [
        "run scout -- sh -c 'echo up > /workspace/up; until",
        "started: sh -c 'echo up > /workspace/up; until",
        "exec sh -c 'cat /proc/self/status; cat",
        "read sensitive /etc/shadow",
        "unshare (no agent may make namespaces)",
    ] {
        assert!(log.contains(part), "{part:?} is missing in {log}");
    }
    assert_eq!(stage.call(&["exec", "scout", "--", "true"]).code, 212);
}

#[test]
fn a_command_that_the_end_of_the_run_cuts_off_was_killed() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let run = waiting(&stage, WAIT);
    let entered = "echo in > /workspace/in; exec sleep 600";
    let entered = stage.command(&["exec", "scout", "--", "sh", "-c", entered]).spawn().unwrap();
    until("the second command", || stage.workspace().join("in").exists());
    go(&stage);
    assert_eq!(Said::from(run.wait_with_output().unwrap()).code, 0);
    assert_eq!(Said::from(entered.wait_with_output().unwrap()).code, 137);
}

#[test]
fn the_helpers_have_a_filter_no_privilege_and_no_way_to_one() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let first = waiting(&stage, WAIT);
    let system = rustix::process::geteuid().is_root();
    for role in ["scribe", "gate"] {
        until(role, || helper(&first, role).is_some());
        let pid = helper(&first, role).unwrap();
        let status = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        until(role, || status().contains("Seccomp:\t2"));
        let status = status();
        let mut wanted = vec!["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"];
        // An unprivileged user may not touch the bounding set.
        wanted.extend(system.then_some("CapBnd:\t0000000000000000"));
        for line in wanted {
            assert!(status.contains(line), "{role}: {line:?} is missing in {status}");
        }
    }
    go(&stage);
    assert_eq!(Said::from(first.wait_with_output().unwrap()).code, 0);
}

#[test]
fn a_stopped_agent_is_asked_first_and_then_ended() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let first =
        waiting(&stage, "trap 'echo bye > /workspace/bye; exit 5' TERM; while :; do sleep 0.02; done");
    assert_eq!(stage.call(&["stop", "scout"]).code, 0);
    assert_eq!(Said::from(first.wait_with_output().unwrap()).code, 5);
    assert!(stage.workspace().join("bye").exists());
}

#[test]
fn a_ctrl_c_reaches_the_agent_and_none_of_its_helpers() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let line = "echo up > /workspace/up; trap 'exit 6' INT; while :; do sleep 0.02; done";
    let mut command = stage.command(&["run", "scout", "--", "sh", "-c", line]);
    // A group of its own, as a shell makes one for what it runs.
    let agent = command.stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    until("the start", || stage.workspace().join("up").exists() && helper(&agent, "gate").is_some());
    assert!(
        Command::new("kill").args(["-INT", "--", &format!("-{}", agent.id())]).status().unwrap().success()
    );
    let said = Said::from(agent.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (6, ""), "{said:?}");
    assert_eq!(log(&stage, &["--kind", "supervision"]), "");
}

#[test]
fn no_helper_ends_by_a_signal_that_asks_it_to() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let agent = waiting(&stage, WAIT);
    for role in ["scribe", "gate"] {
        until(role, || helper(&agent, role).is_some());
        let pid = helper(&agent, role).unwrap();
        let blocked =
            || fs::read_to_string(format!("/proc/{pid}/status")).unwrap().contains("SigBlk:\tfffffff");
        until("its beginning", blocked);
        assert!(["-HUP", "-INT", "-QUIT", "-TERM"].iter().all(|signal| kill(pid, signal)));
    }
    go(&stage);
    let said = Said::from(agent.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert_eq!(log(&stage, &["--kind", "supervision"]), "");
}

#[test]
fn a_command_that_cannot_be_started_in_a_running_cell_is_127_or_126() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let agent = waiting(&stage, WAIT);
    for (program, code) in [("no-such-program", 127), ("/etc/passwd", 126)] {
        let said = stage.call(&["exec", "scout", "--", program]);
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.starts_with(&format!("wardroom: {program}: ")), "{said:?}");
    }
    go(&stage);
    assert_eq!(Said::from(agent.wait_with_output().unwrap()).code, 0);
}

#[test]
fn a_killed_scribe_is_replaced_and_nothing_is_lost() {
    const FILES: usize = 4000;
    let stage = Stage::new();
    stage.agent("scout", "");
    let first = waiting(&stage, &format!("for i in $(seq {FILES}); do : > /workspace/f$i; done"));
    let mut killed = 0;
    for _ in 0..3 {
        killed += usize::from(helper(&first, "scribe").is_some_and(|scribe| kill(scribe, "-KILL")));
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = Said::from(first.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(killed > 0, "no scribe was there to be killed");
    let files = log(&stage, &["--kind", "file", "--path", "/workspace"]);
    let created = files.lines().filter(|line| line.contains("create /workspace/f")).count();
    assert_eq!(created, FILES, "every create is on record exactly once");
    assert!(log(&stage, &["--kind", "supervision"]).contains("scribe"), "the failure is on record");
    assert_eq!(verified(&stage).code, 0, "{:?}", verified(&stage));
}

#[test]
fn a_ledger_that_cannot_be_opened_again_ends_the_cell_and_is_said_once() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let line = "while :; do : > /workspace/more; rm /workspace/more; done";
    let agent = waiting(&stage, line);
    let ledger = stage.base().join("state/scout/ledger");
    fs::rename(&ledger, stage.base().join("elsewhere")).unwrap();
    fs::write(&ledger, "no directory").unwrap();
    until("the scribe's death", || helper(&agent, "scribe").is_some_and(|pid| kill(pid, "-KILL")));
    let said = Said::from(agent.wait_with_output().unwrap());
    assert_eq!(said.code, 213, "{said:?}");
    let times = |words: &str| said.err.matches(words).count();
    assert_eq!(times("cannot be started again"), 1, "{}", said.err);
    assert_eq!(times("could not be frozen"), 0, "{}", said.err);
}

#[test]
fn a_killed_gate_is_replaced_on_record_and_the_agent_goes_on() {
    let stage = Stage::new();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = service.local_addr().unwrap();
    stage.agent("scout", &format!("[[network.allow]]\nhost = \"service.test\"\nports = [8080]\nprotocol = \"tcp\"\naddress = \"{address}\"\n"));
    // An answer to its question: the gate serves.
    let script = "getent hosts service.test > /workspace/answer; echo > /workspace/asked; \
                  until [ -e /workspace/go ]; do sleep 0.02; done; exec 3<>/dev/tcp/service.test/8080; cat <&3";
    let first = waiting(&stage, &format!("exec bash -c '{script}'"));
    until("an answer", || stage.workspace().join("asked").exists());
    assert!(kill(helper(&first, "gate").unwrap(), "-KILL"));
    until("another gate", || log(&stage, &["--kind", "supervision"]).contains("gate"));
    go(&stage);
    let (mut peer, _) = service.accept().unwrap();
    std::io::Write::write_all(&mut peer, b"hello").unwrap();
    drop(peer);
    let said = Said::from(first.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (0, "hello"), "{said:?}");
}

#[test]
fn a_gate_that_is_killed_before_it_serves_is_replaced_as_well() {
    let stage = Stage::new();
    stage.agent("scout", "[[network.allow]]\nhost = \"service.test\"\nports = [8080]\n");
    for round in 0..5 {
        let run =
            stage.start("scout", "for n in 1 2 3 4; do getent hosts service.test & done; wait; sleep 0.1");
        let deadline = Instant::now() + Duration::from_secs(30);
        let gate = loop {
            if let Some(gate) = helper(&run, "gate") {
                break gate;
            }
            assert!(Instant::now() < deadline, "no gate began");
        };
        assert!(kill(gate, "-KILL"));
        let said = Said::from(run.wait_with_output().unwrap());
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(said.out.matches("service.test").count(), 4, "{said:?}");
        let again = log(&stage, &["--kind", "supervision"]).matches("was started again").count();
        assert_eq!(again, round + 1, "{said:?}");
    }
    assert_eq!(verified(&stage).code, 0);
}

/// A file system on a disk that promises more than it has, in mounts of its own. The agent writes until the disk has no more.
const THIN_DISK: &str = r#"
mount -t tmpfs -o size=24m tmpfs "$2/thin" && truncate -s 96m "$2/thin/disk" &&
mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=1,nodiscard "$2/thin/disk" && mount -o loop "$2/thin/disk" "$2/state" || exit 77
chmod 755 "$2/state"
"$1" --base "$2" run scout -- sh -c 'n=0; while :; do n=$((n+1)); : > /workspace/f$((n%50)); done' &
until [ -e "$2/state/scout/ledger/checkpoint" ] || ! kill -0 $!; do sleep 0.05; done
echo "signed $(sed -n 2p "$2/state/scout/ledger/checkpoint")"
dd if=/dev/zero of="$2/thin/rest" bs=64k 2>/dev/null; dd if=/dev/zero of="$2/thin/last" bs=512 2>/dev/null
wait $!; echo "the run ended with $?"
rm "$2/thin/rest" "$2/thin/last"
"$1" --base "$2" run scout -- true; echo "the next one with $?"
"$1" --base "$2" ledger verify scout; echo "the ledger is $?"
"$1" --base "$2" log scout
"#;

#[test]
#[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
fn a_disk_that_does_not_keep_the_ledger_ends_the_cell_and_what_is_left_is_whole() {
    let stage = Stage::new();
    stage.agent("scout", "");
    for name in ["thin", "state"] {
        fs::create_dir(stage.base().join(name)).unwrap();
    }
    let disk = Command::new("unshare")
        .args(["--mount", "sh", "-c", THIN_DISK, "sh", WARDROOM, stage.base().to_str().unwrap()])
        .output();
    let said = match disk {
        Ok(output) if ![Some(1), Some(77), Some(127)].contains(&output.status.code()) => Said::from(output),
        other => {
            eprintln!(
                "SKIPPED: a_disk_that_does_not_keep_the_ledger_ends_the_cell: no such disk here ({other:?})"
            );
            return;
        }
    };
    assert!(said.out.contains("the run ended with 213"), "{said:?}");
    assert!(said.err.contains("the disk did not keep records of the ledger"), "{said:?}");
    // This file system has no journal, and may lose with the block that it could not write what it had written before: then
    // that is found.
    if said.out.contains("the ledger is 207") {
        assert!(said.out.contains("truncated: "), "{said:?}");
        return;
    }
    for part in ["the next one with 0", "the ledger is 0"] {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    let number = |before: &str| -> u64 {
        let rest = said.out.split_once(before).map(|(_, rest)| rest).unwrap_or_default();
        rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
    };
    let (signed, kept) = (number("signed "), number("recovered after an unclean end: "));
    assert!(signed > 0 && kept >= signed, "{kept} of {signed} that were signed: {said:?}");
}

/// Makes the guard wait in a connect of its own: what undoes `O_NONBLOCK` is another process that shares the socket.
const HELD_UP: &str = r#"
import fcntl, os, socket, time
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(0)
keep = []
for _ in range(4):
    c = socket.socket(); c.setblocking(False); c.connect_ex(server.getsockname()); keep.append(c)
while not os.path.exists("/workspace/go"):
    c = socket.socket()
    undo = os.fork()
    if undo == 0:
        while True: fcntl.fcntl(c, fcntl.F_SETFL, 0)
    connect = os.fork()
    if connect == 0:
        c.connect_ex(server.getsockname()); os._exit(0)
    time.sleep(0.02)
    for p in [connect, undo]: os.kill(p, 9); os.waitpid(p, 0)
"#;

#[test]
fn a_guard_that_is_held_up_by_a_connect_keeps_no_run_from_its_end() {
    let stage = Stage::new();
    stage.agent("scout", "");
    fs::write(stage.workspace().join("held_up.py"), HELD_UP).unwrap();
    let run = waiting(&stage, "exec python3 /workspace/held_up.py");
    let tasks = format!("/proc/{}/task", run.id());
    until("a second thread that answers", || {
        let names = fs::read_dir(&tasks).unwrap().flatten();
        let names = names.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim_end() == "guard-answers").count() > 1
    });
    go(&stage);
    let said = Said::from(run.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(verified(&stage).code, 0);
}

#[test]
fn a_killed_keeper_takes_the_cell_along_and_the_ledger_stays_whole() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let mut first = waiting(&stage, "while :; do : > /workspace/x; done");
    until("the first write", || stage.workspace().join("x").exists());
    until("a gate", || helper(&first, "gate").is_some());
    let helpers: Vec<u32> = ["scribe", "gate"].iter().filter_map(|role| helper(&first, role)).collect();
    assert_eq!(helpers.len(), 2);
    first.kill().unwrap();
    first.wait().unwrap();
    let gone = |pid: &u32| !PathBuf::from(format!("/proc/{pid}/exe")).exists();
    until("the helpers' end", || helpers.iter().all(gone));
    until("a whole ledger", || verified(&stage).code == 0);
    // Nothing of the cell is left to write.
    fs::remove_file(stage.workspace().join("x")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(!stage.workspace().join("x").exists(), "the cell outlived its keeper");
    assert_eq!(stage.sh("scout", "true").code, 0, "and the next run starts as ever");
}

#[test]
fn a_policy_that_changes_takes_effect_within_a_second_and_closes_what_it_no_longer_allows() {
    let stage = Stage::new();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let rule = format!(
        "[[network.allow]]\nhost = \"service.test\"\nports = [8080]\nprotocol = \"tcp\"\naddress = \"{}\"\n",
        service.local_addr().unwrap()
    );
    stage.agent("scout", &rule);
    let first = waiting(
        &stage,
        "exec bash -c 'exec 3<>/dev/tcp/service.test/8080; cat <&3; echo over; cat /dev/tcp/service.test/8080'",
    );
    let (_peer, _) = service.accept().unwrap();

    let valid = fs::read_to_string(stage.policy_file("scout")).unwrap();
    fs::write(stage.policy_file("scout"), "nonsense = [").unwrap();
    until("the refusal of nonsense", || log(&stage, &["--kind", "policy"]).contains("refused"));
    fs::write(stage.policy_file("scout"), valid.replace(&rule, "")).unwrap();
    let narrowed = Instant::now();
    let said = Said::from(first.wait_with_output().unwrap());
    assert!(
        narrowed.elapsed() < Duration::from_secs(2),
        "closed within a second or so, not {:?}",
        narrowed.elapsed()
    );
    assert!(said.out.contains("over"), "{said:?}");
    let file = stage.policy_file("scout").display().to_string();
    let told = format!("{file} changed and is refused; the policy of before stays in force:\n{file}:1:");
    assert!(said.err.contains(&told) && !said.err.contains("nothing was started"), "{said:?}");
    let refusal = log(&stage, &["--kind", "policy"]);
    assert!(!refusal.contains("\\u{a}") && !refusal.contains("nothing was started"), "{refusal}");
    assert!(
        log(&stage, &["--kind", "net"]).contains("policy changed"),
        "{}",
        log(&stage, &["--kind", "net"])
    );
}

#[test]
fn an_agent_with_more_processes_than_the_keeper_has_descriptors_for_leaves_it_its_own() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let line = "i=0; while [ $i -lt 400 ]; do (echo x > f$i; exec sleep 60) & i=$((i+1)); done; sleep 1; echo up > up; wait";
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 600; exec \"$@\"", "sh", WARDROOM, "--base"]).arg(stage.base());
    shell.args(["run", "scout", "--", "sh", "-c", line]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut agent = shell.spawn().unwrap();
    until("the last of them", || stage.workspace().join("up").exists());
    let listed = stage.call(&["ps"]);
    assert!(listed.out.contains("running"), "{listed:?}");
    assert_eq!(stage.call(&["exec", "scout", "--", "true"]).code, 0, "the operator's commands are started");
    assert_eq!(stage.call(&["stop", "scout"]).code, 0);
    agent.wait().unwrap();
    let refused = stage.call(&["log", "scout", "--kind", "supervision"]).out;
    assert!(refused.contains("holding another process"), "{refused}");
}

#[test]
fn a_keeper_that_is_stopped_is_named_and_not_waited_for() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let agent = stage.start("scout", "echo up > /workspace/up; exec sleep 60");
    until("the start", || stage.workspace().join("up").exists());
    let keeper = rustix::process::Pid::from_child(&agent);
    rustix::process::kill_process(keeper, rustix::process::Signal::STOP).unwrap();
    let stat = || fs::read_to_string(format!("/proc/{}/stat", agent.id())).unwrap();
    until("it is stopped", || stat().contains(") T"));
    assert_eq!(stage.call(&["stop", "scout"]).code, 213);
    let said = stage.call(&["exec", "scout", "--", "true"]);
    assert!(said.code == 213 && said.err.contains("kill -CONT"), "{said:?}");
    let listed = stage.call(&["ps"]);
    assert!(
        listed.code == 0 && listed.out.contains("scout") && listed.out.contains("kill -CONT"),
        "{listed:?}"
    );
    let listed = stage.call(&["ps", "--json"]).out;
    assert!(listed.contains("\"running\":null"), "{listed}");
    rustix::process::kill_process(keeper, rustix::process::Signal::CONT).unwrap();
    assert_eq!(stage.call(&["stop", "scout"]).code, 0);
    drop(agent.wait_with_output().unwrap());
}

#[test]
fn a_keeper_that_was_killed_is_on_record_at_the_next_start_and_no_other_is() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let ends = || log(&stage, &["--kind", "supervision"]).matches("was killed or crashed").count();
    assert_eq!(stage.call(&["run", "scout", "--", "true"]).code, 0);
    let mut agent = stage.start("scout", "echo up > /workspace/up; exec sleep 60");
    until("the start", || stage.workspace().join("up").exists());
    assert_eq!(ends(), 0);
    agent.kill().unwrap();
    agent.wait().unwrap();
    until("the lock is free", || stage.call(&["run", "scout", "--", "true"]).code == 0);
    assert_eq!(stage.call(&["run", "scout", "--", "true"]).code, 0);
    assert_eq!(ends(), 1);
}
