//! Bad input and a bad day: each gets one clear message with the remedy and an exit code of its own, and leaves
//! nothing half-started behind.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests drive the real binary, wait for it, and say what they could not try"
)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Said, Stage, WARDROOM};

const USAGE: i32 = 200;
const POLICY: i32 = 201;
const CANNOT_CONTAIN: i32 = 203;
const LEDGER: i32 = 210;
const ALREADY_RUNNING: i32 = 211;
const NO_SUCH_AGENT: i32 = 212;
const INTERNAL: i32 = 214;

/// Becomes an unprivileged user in a user namespace that one made as its root.
const UNPRIVILEGED: &str = "unshare --user --map-user=4242 --map-group=4242";

/// Fails unless the call ended with this code and one message that says all of these things.
fn expect(said: &Said, code: i32, mentions: &[&str]) {
    assert_eq!(said.code, code, "{said:?}");
    for mention in mentions {
        assert!(said.err.contains(mention), "{mention:?} is missing from {:?}", said.err);
    }
    assert_eq!(said.err.matches("wardroom: ").count(), 1, "one message: {:?}", said.err);
}

/// Fails unless the call did well and said this alone.
fn expect_quiet(said: &Said, line: &str) {
    assert!(said.code == 0 && said.out.is_empty() && said.err.starts_with(line), "{said:?}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_mistake_in_a_policy_is_shown_where_it_stands() {
    let stage = Stage::new();
    stage.agent("scout", "[[network.alow]]\nhost = \"example.com\"\n");
    expect(&stage.sh("scout", "true"), POLICY, &["scout.toml:14", "alow", "allow"]);
}

#[test]
fn what_is_not_yet_supported_is_refused_rather_than_ignored() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let path = stage.base().join("agents/scout.toml");
    let text = fs::read_to_string(&path).expect("the policy");
    fs::write(&path, text.replace("kind = \"cell\"", "kind = \"vm\"")).expect("the policy");
    expect(&stage.sh("scout", "true"), POLICY, &["not yet supported", "scout.toml:"]);
}

#[test]
fn what_is_permitted_already_is_nothing_to_change() {
    let stage = Stage::new();
    stage.agent("scout", "[[network.allow]]\nhost = \"a.net\"\n");
    expect_quiet(
        &stage.call(&["allow", "scout", "a.net"]),
        "Nothing to change: this is permitted already, by ",
    );
    let limited = "[[network.allow]]\nhost = \"a.net\"\nmethods = [\"GET\"]\n";
    stage.agent("scout", limited);
    expect(&stage.call(&["allow", "scout", "a.net"]), POLICY, &["restrict nothing", "nothing was changed"]);
}

#[test]
fn an_agent_without_a_policy_is_told_how_to_get_one() {
    let stage = Stage::new();
    expect(&stage.sh("nobody", "true"), NO_SUCH_AGENT, &[" new nobody`"]);
}

#[test]
fn what_never_ran_has_no_record_and_is_not_running() {
    let stage = Stage::new();
    stage.agent("scout", "");
    // As a start that failed leaves it.
    fs::create_dir_all(stage.base().join("state/scout/ledger")).unwrap();
    let to = stage.base().join("copy");
    let export = ["ledger", "export", "scout", "--to", to.to_str().unwrap()];
    let on_record: [&[&str]; 5] = [
        &["log", "scout"],
        &["ledger", "verify", "scout"],
        &["ledger", "key", "scout"],
        &export,
        &["allow", "scout"],
    ];
    for asked in on_record {
        expect(&stage.call(asked), NO_SUCH_AGENT, &["scout has no record yet: it never ran"]);
    }
    for asked in [["exec", "scout", "--", "true"].as_slice(), &["stop", "scout"]] {
        expect(
            &stage.call(asked),
            NO_SUCH_AGENT,
            &["scout is not running; `wardroom --base ", " run scout` starts it"],
        );
    }
    expect(&stage.call(&["stop", "nobody"]), NO_SUCH_AGENT, &["there is no agent nobody"]);
}

#[test]
fn ps_lists_in_columns_and_says_where_nothing_is() {
    let stage = Stage::new();
    let said = stage.call(&["ps"]);
    assert!(said.code == 0 && said.err.contains(" new NAME`"), "{said:?}");
    stage.agent("scout", "");
    stage.agent("a-much-longer-name", "");
    let said = stage.call(&["ps"]);
    let columns: Vec<_> = said.out.lines().map(|line| line.find("stopped")).collect();
    assert!(columns.len() == 2 && columns[0] == columns[1], "{said:?}");
}

#[test]
fn check_finds_a_policy_under_another_s_name_as_run_does_and_leaves_drafts_alone() {
    let stage = Stage::new();
    stage.agent("scout", "");
    fs::rename(stage.policy_file("scout"), stage.policy_file("other")).unwrap();
    for asked in [["check", "other"].as_slice(), &["check"], &["run", "other"]] {
        expect(&stage.call(asked), POLICY, &["the file must be scout.toml"]);
    }
    let draft = stage.base().join("draft.toml");
    fs::copy(stage.policy_file("other"), &draft).unwrap();
    assert_eq!(stage.call(&["check", draft.to_str().unwrap()]).code, 0);
}

#[test]
fn every_command_has_the_version_of_the_one_program() {
    let stage = Stage::new();
    let version = stage.call(&["--version"]).out;
    assert!(version.starts_with("wardroom "), "{version}");
    for asked in [["run", "--version"].as_slice(), &["ledger", "verify", "--version"]] {
        assert_eq!(stage.call(asked).out, version);
    }
}

#[test]
fn a_refused_run_here_leaves_nothing() {
    let stage = Stage::new();
    fs::create_dir_all(stage.base().join("state")).unwrap();
    let here = stage.command(&["run", "--here", "--", "true"]).current_dir("/etc").output().unwrap();
    let said = Said::from(here);
    assert!(said.code == POLICY && said.err.contains("would give the agent /etc"), "{said:?}");
    assert_eq!(fs::read_dir(stage.base().join("state")).unwrap().count(), 0);
}

#[test]
fn commands_that_are_proposed_are_for_the_installation_that_was_asked() {
    let stage = Stage::new();
    let own = format!("wardroom --base {} ", stage.base().display());
    let made = stage.call(&["new", "scout"]);
    assert!(made.err.contains(&format!("{own}check scout, {own}run scout")), "{made:?}");
    let why = stage.call(&["why", "scout", "a.net"]);
    assert!(why.out.ends_with(&format!("\nTo permit it: {own}allow scout a.net\n")), "{why:?}");
    expect(&stage.call(&["stop", "scout"]), NO_SUCH_AGENT, &[&format!("`{own}run scout` starts it")]);
    let usual = Command::new(WARDROOM).args(["stop", "scout"]).env("HOME", stage.base()).output().unwrap();
    expect(&Said::from(usual), NO_SUCH_AGENT, &["; `wardroom ps`"]);
}

#[test]
fn a_policy_that_exists_is_never_written_over() {
    let stage = Stage::new();
    stage.agent("scout", "");
    expect(&stage.call(&["new", "scout"]), POLICY, &["exists already"]);
    // Nor is one kept that says nothing to run.
    let mut here = stage.command(&["run", "--here", "--save"]);
    expect(&Said::from(here.current_dir(stage.workspace()).output().unwrap()), USAGE, &["-- COMMAND"]);
    assert!(!stage.policy_file("workspace").exists());
}

#[test]
fn a_missing_command_is_127_and_one_that_cannot_be_executed_126() {
    let stage = Stage::new();
    stage.agent("scout", "");
    expect(&stage.call(&["run", "scout", "--", "no-such-program"]), 127, &["no-such-program"]);
    expect(&stage.call(&["run", "scout", "--", "/etc/passwd"]), 126, &["/etc/passwd"]);
}

#[test]
fn what_belongs_to_here_is_refused_with_an_agent_s_name_rather_than_ignored() {
    let stage = Stage::new();
    stage.agent("scout", "");
    for here in [["--allow", "example.com"].as_slice(), &["--save"]] {
        let said = stage.call(&[&["run", "scout"], here, &["--", "true"]].concat());
        assert_eq!(said.code, USAGE, "{said:?}");
        assert!(said.err.contains(here[0]), "{said:?}");
    }
}

#[test]
fn a_descriptor_that_is_not_there_is_named() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let run = ["run", "scout", "--passphrase-fd", "77", "--", "true"];
    expect(&stage.call(&run), USAGE, &["descriptor 77 cannot be read"]);
}

#[test]
fn completions_that_nobody_reads_end_quietly() {
    let mut command = Stage::new().command(&["completions", "bash"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
}

#[test]
fn output_that_cannot_be_written_is_no_success() {
    let stage = Stage::new();
    stage.agent("scout", "");
    assert_eq!(stage.sh("scout", "true").code, 0);
    for asked in [["log", "scout", "--json"].as_slice(), &["check", "scout"], &["completions", "zsh"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let said = Said::from(stage.command(asked).stdout(full).stderr(Stdio::piped()).output().unwrap());
        expect(&said, INTERNAL, &["standard output cannot be written", "No space left on device"]);
    }
}

#[test]
fn a_workspace_that_is_missing_or_unreadable_is_named() {
    let stage = Stage::new();
    stage.agent("scout", "");
    fs::remove_dir(stage.workspace()).unwrap();
    let said = stage.sh("scout", "true");
    expect(&said, POLICY, &["workspace"]);
    if !is_root() {
        fs::create_dir(stage.workspace()).unwrap();
        fs::set_permissions(stage.workspace(), fs::Permissions::from_mode(0o0)).unwrap();
        let said = stage.sh("scout", "true");
        fs::set_permissions(stage.workspace(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(said.code, POLICY, "{said:?}");
    }
}

#[test]
fn without_user_namespaces_the_remedy_is_said() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let go = stage.base().join("go");
    // The outer namespace forbids any more of them once the inner one, of an unprivileged user, is made.
    let line = format!(
        "mkfifo {go}; (sleep 0.2; echo 0 > /proc/sys/user/max_user_namespaces; echo go > {go}) & \
         exec {UNPRIVILEGED} sh -c 'read line < {go}; exec {WARDROOM} --base {base} run scout -- true'",
        go = go.display(),
        base = stage.base().display()
    );
    let output =
        Command::new("unshare").args(["--user", "--map-root-user", "sh", "-c", &line]).output().unwrap();
    let said = Said::from(output);
    expect(&said, CANNOT_CONTAIN, &["max_user_namespaces"]);
}

#[test]
fn a_limit_on_namespaces_is_called_one_whichever_it_is() {
    let stage = Stage::new();
    stage.agent("scout", "");
    for kind in ["net", "mnt", "cgroup"] {
        let line = format!(
            "echo 0 > /proc/sys/user/max_{kind}_namespaces && \
             exec {UNPRIVILEGED} {WARDROOM} --base {} run scout -- true",
            stage.base().display()
        );
        let mut command = Command::new("unshare");
        let output = command.args(["--user", "--map-root-user", "sh", "-c", &line]).output().unwrap();
        expect(&Said::from(output), CANNOT_CONTAIN, &["a limit on namespaces"]);
    }
}

#[test]
fn a_policy_behind_a_symlink_is_refused() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let elsewhere = stage.base().join("elsewhere.toml");
    fs::rename(stage.policy_file("scout"), &elsewhere).unwrap();
    symlink(&elsewhere, stage.policy_file("scout")).unwrap();
    expect(&stage.sh("scout", "true"), POLICY, &["symbolic link"]);
}

#[test]
fn a_hundred_megabytes_of_policy_are_refused_at_once() {
    let stage = Stage::new();
    File::create(stage.policy_file("scout")).unwrap().set_len(100 << 20).unwrap();
    let begin = Instant::now();
    expect(&stage.sh("scout", "true"), POLICY, &["104857600 bytes"]);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn names_of_300_bytes_are_refused() {
    let stage = Stage::new();
    let long = "a".repeat(300);
    expect(&stage.sh(&long, "true"), USAGE, &["32 bytes"]);
    stage.agent("scout", &format!("[[network.allow]]\nhost = \"{long}.example.com\"\n"));
    assert_eq!(stage.sh("scout", "true").code, POLICY);
}

#[test]
fn a_second_run_of_the_same_agent_is_refused_and_the_first_goes_on() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let first = stage
        .start("scout", "echo up > /workspace/up; until [ -e /workspace/go ]; do sleep 0.02; done; exit 7");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !stage.workspace().join("up").exists() {
        assert!(Instant::now() < deadline, "the first run never started");
        std::thread::sleep(Duration::from_millis(20));
    }
    expect(&stage.sh("scout", "true"), ALREADY_RUNNING, &["already running", " stop scout`"]);
    fs::write(stage.workspace().join("go"), "").unwrap();
    assert_eq!(Said::from(first.wait_with_output().unwrap()).code, 7);
}

#[test]
fn a_ledger_directory_of_another_user_is_refused() {
    if !is_root() {
        eprintln!(
            "SKIPPED: a_ledger_directory_of_another_user_is_refused: needs root to make such a directory"
        );
        return;
    }
    let stage = Stage::new();
    stage.agent("scout", "");
    assert_eq!(stage.sh("scout", "true").code, 0);
    chown(stage.base().join("state/scout/ledger"), Some(4321), Some(4321)).unwrap();
    expect(&stage.sh("scout", "true"), LEDGER, &["belongs to user 4321"]);
}

#[test]
fn a_full_disk_stops_the_start_with_a_clear_message() {
    let stage = Stage::new();
    let line = format!(
        "mount -t tmpfs -o size=256k none {0} && mkdir -p {0}/agents {0}/workspace && cat > {0}/agents/scout.toml && \
         exec {UNPRIVILEGED} {WARDROOM} --base {0} run scout -- true",
        stage.base().display()
    );
    stage.agent("scout", "");
    let policy = File::open(stage.policy_file("scout")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &line]).stdin(policy);
    expect(&Said::from(command.output().unwrap()), LEDGER, &["No space left on device"]);
}

#[test]
fn a_start_that_a_full_disk_stopped_keeps_no_later_one_from_starting() {
    if !is_root() {
        eprintln!(
            "SKIPPED: a_start_that_a_full_disk_stopped_keeps_no_later_one_from_starting: needs root to mount a disk"
        );
        return;
    }
    let stage = Stage::new();
    stage.agent("scout", "");
    // Full to the last byte, so that files can be made and nothing can be written.
    let line = format!(
        "mount -t tmpfs -o size=16m,mode=755 none {0} && mkdir -p {0}/agents {0}/workspace && cat > {0}/agents/scout.toml && \
         cat /dev/zero > {0}/fill 2>/dev/null; {WARDROOM} --base {0} run scout -- true && exit 1; \
         rm {0}/fill && exec {WARDROOM} --base {0} run scout -- true",
        stage.base().display()
    );
    let policy = File::open(stage.policy_file("scout")).unwrap();
    let mut command = Command::new("unshare");
    let said = Said::from(command.args(["--mount", "sh", "-c", &line]).stdin(policy).output().unwrap());
    expect(&said, 0, &["No space left on device"]);
}

#[test]
fn a_full_disk_leaves_no_part_of_a_new_policy() {
    let stage = Stage::new();
    let line = format!(
        "mount -t tmpfs -o size=8k none {0} && mkdir {0}/agents && head -c 8192 /dev/zero > {0}/fill && \
         {{ {WARDROOM} --base {0} new scout; code=$?; ls {0}/agents; exit $code; }}",
        stage.base().display()
    );
    let mut command = Command::new("unshare");
    let said = Said::from(
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &line]).output().unwrap(),
    );
    expect(&said, INTERNAL, &["No space left on device"]);
    assert_eq!(said.out, "");
}

#[test]
fn escape_sequences_are_shown_escaped() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let said = stage.sh("scout", "printf 'x' > \"$(printf '/workspace/a\\033[2Jb')\"");
    assert_eq!(said.code, 0, "{said:?}");
    let log = stage.call(&["log", "scout", "--kind", "file"]);
    assert!(log.out.contains("\\u{1b}[2Jb"), "{log:?}");
    assert!(!log.out.contains('\u{1b}'), "{log:?}");
}

#[test]
fn a_failed_start_leaves_no_process_mount_or_socket_behind() {
    let stage = Stage::new();
    stage.agent("scout", "");
    for command in [vec!["no-such-program"], vec!["true"]] {
        stage.call(&[&["run", "scout", "--"], command.as_slice()].concat());
        let base = stage.base().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(base), "a mount is left behind");
        let left: Vec<_> =
            fs::read_dir(stage.base().join("run")).unwrap().flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        let mut processes = fs::read_dir("/proc").unwrap().flatten();
        let ours = processes
            .any(|p| fs::read_to_string(p.path().join("cmdline")).is_ok_and(|line| line.contains(base)));
        assert!(!ours, "a process is left behind");
    }
}

#[test]
fn a_credential_s_value_in_the_command_line_is_refused_and_not_repeated() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let said = stage.call(&["credential", "set", "scout", "key", "sk-not-to-be-seen"]);
    expect(&said, USAGE, &["never an argument", "history"]);
    assert!(!said.err.contains("sk-not") && !said.out.contains("sk-not"), "{said:?}");
}

#[test]
fn a_copy_of_somebody_else_s_ledger_is_not_called_tampered_and_one_s_own_never_anything_else() {
    let (theirs, ours) = (Stage::new(), Stage::new());
    for stage in [&theirs, &ours] {
        stage.agent("scout", "");
        assert_eq!(stage.sh("scout", "true").code, 0);
    }
    let copy = theirs.base().join("copy");
    let copy = copy.to_str().unwrap();
    let exported = theirs.call(&["ledger", "export", "scout", "--to", copy]);
    let key = exported.err.trim().rsplit(' ').next().unwrap().to_owned();
    expect(&ours.call(&["ledger", "verify", copy]), USAGE, &["another key", &format!("--key {key}")]);
    assert_eq!(ours.call(&["ledger", "verify", copy, "--key", &key]).code, 0);
    // Whoever puts another ledger in an agent's place may put its key beside it.
    let ledger = ours.base().join("state/scout/ledger");
    fs::remove_dir_all(&ledger).unwrap();
    common::shell(&format!("cp -r {copy} {}", ledger.display()));
    let said = ours.call(&["ledger", "verify", "scout"]);
    let counted = said.out.contains(" records found, ") && said.out.trim_end().ends_with(" signed)");
    assert!(said.code == 206 && counted, "{said:?}");
    assert_eq!(ours.call(&["ledger", "verify", ledger.to_str().unwrap()]).code, 206);
}

#[test]
fn an_agent_without_a_policy_is_listed_while_it_runs() {
    let stage = Stage::new();
    let mut here = stage.command(&["run", "--here", "--", "sleep", "60"]);
    here.current_dir(stage.workspace()).stderr(Stdio::null());
    let mut agent = here.spawn().unwrap();
    let runs =
        || stage.call(&["ps"]).out.contains("workspace") && stage.call(&["stop", "workspace"]).code == 0;
    common::until("it is listed", runs);
    agent.wait().unwrap();
}

#[test]
fn policies_that_cannot_be_listed_are_not_none() {
    let stage = Stage::new();
    let file = stage.base().join("file");
    fs::write(&file, "").unwrap();
    let said = Command::new(WARDROOM).args(["--base", file.to_str().unwrap(), "ps"]).output().unwrap();
    expect(&Said::from(said), NO_SUCH_AGENT, &["cannot be listed"]);
}

#[test]
fn check_finds_that_limits_cannot_be_had_here_as_run_does() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let text = fs::read_to_string(stage.policy_file("scout")).unwrap();
    fs::write(stage.policy_file("scout"), text.replace("limits = \"rlimits-only\"", "tasks = 64")).unwrap();
    // An empty tree in place of the groups: none can be made, whoever asks.
    for command in ["check scout", "run scout"] {
        let line = format!(
            "mount -t tmpfs none /sys/fs/cgroup && {UNPRIVILEGED} {WARDROOM} --base {} {command}",
            stage.base().display()
        );
        let said = Said::from(
            Command::new("unshare").args(["--mount", "--map-root-user", "sh", "-c", &line]).output().unwrap(),
        );
        assert_eq!(said.code, CANNOT_CONTAIN, "{command}: {said:?}");
        assert!(format!("{}{}", said.out, said.err).contains("rlimits-only"), "{command}: {said:?}");
    }
}

#[test]
fn a_broken_price_table_stops_only_what_counts_by_it() {
    let stage = Stage::new();
    fs::write(stage.base().join("prices.toml"), "nonsense = [").unwrap();
    stage.agent("scout", "");
    let said = stage.sh("scout", "exit 7");
    assert!(said.code == 7 && said.err.contains("prices.toml"), "{said:?}");
    assert_eq!(stage.call(&["check", "scout"]).code, 0);
    stage.agent(
        "scout",
        "[[network.allow]]\nhost = \"api.net\"\ninspect = true\n\n[[model_api]]\nhost = \"api.net\"\npath = \"/v1\"\nlike = \"anthropic-messages\"\n",
    );
    for asked in [["check", "scout"], ["run", "scout"]] {
        let said = stage.call(&asked);
        let told = format!("{}{}", said.out, said.err);
        assert!(said.code == POLICY && told.contains("prices.toml"), "{said:?}");
    }
}

#[test]
fn check_refuses_what_run_would_refuse_anywhere_and_names_what_is_missing_here() {
    let stage = Stage::new();
    stage.agent("scout", "");
    assert_eq!(stage.call(&["check", "scout"]).code, 0);
    fs::remove_dir(stage.workspace()).unwrap();
    let missing = stage.call(&["check", "scout"]);
    let refuses = "on this machine `run` refuses it as it stands: ";
    assert!(missing.code == POLICY && missing.out.contains(refuses), "{missing:?}");
    fs::create_dir(stage.workspace()).unwrap();
    let text = fs::read_to_string(stage.policy_file("scout")).unwrap();
    let own = format!("[files]\nread_write = [{:?}]\n", stage.base().join("state"));
    fs::create_dir_all(stage.base().join("state")).unwrap();
    fs::write(stage.policy_file("scout"), text.replace("[files]\n", &own)).unwrap();
    let exposes = ["scout.toml:", "would give the agent"];
    let checked = stage.call(&["check", "scout"]);
    expect(&checked, POLICY, &exposes);
    expect(&checked, POLICY, &["scout.toml:12:15\n", "^^^", "1 mistake"]);
    assert_eq!(checked.out, "");
    expect(&stage.sh("scout", "true"), POLICY, &exposes);
}
