//! Learning as an operator sees it: an agent wants what nobody permitted, and a person at a terminal answers.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod common;
#[path = "common/https.rs"]
mod https;
#[path = "common/terminal.rs"]
mod terminal;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

use common::{Stage, until};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use terminal::Terminal;

const HOST: &str = "api.learned.example";

#[test]
fn what_was_refused_is_asked_about_and_written_once_it_is_confirmed() {
    let stage = Stage::new();
    stage.agent("scout", "[[network.allow]]\nhost = \"known.example\"   # kept as it is\n");
    let file = stage.policy_file("scout");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::read_to_string(&file).unwrap();
    let line = "for h in one.example one.example two.test three.invalid; do getent hosts $h; done; exit 7";
    let mut learning = Terminal::run(&stage, &["learn", "scout", "--", "sh", "-c", line]);
    learning.answer("1 of 3: the host one.example", "a");
    learning.answer("2 of 3: the host two.test", "n");
    learning.answer("3 of 3: the host three.invalid", "");
    assert_eq!(fs::read_to_string(&file).unwrap(), before, "nothing is written before it is confirmed");
    learning.answer("Write this into", "y");
    let (code, screen) = learning.end();
    assert_eq!(code, 7, "the agent's own exit code: {screen}");
    assert!(screen.contains("+[[network.allow]]\n+host = \"one.example\"\n"), "{screen}");
    let after = fs::read_to_string(&file).unwrap();
    assert!(after.starts_with(before.trim_end()), "{after}");
    assert!(
        after.contains("[[network.deny]]\nhost = \"two.test\"\n") && !after.contains("three.invalid"),
        "{after}"
    );
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);

    // A signal ends the asking, although it was the agent's while that ran.
    let mut dying = Terminal::run(&stage, &["learn", "scout", "--", "getent", "hosts", "four.invalid"]);
    until("the question", || dying.shown().contains("1 of 1: the host four.invalid"));
    let pid = rustix::process::Pid::from_child(&dying.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(dying.child.wait().unwrap().signal(), Some(15));
    assert_eq!(fs::read_to_string(&file).unwrap(), after);

    // What is later is asked again, and nothing else.
    let mut again = Terminal::run(&stage, &["allow", "scout"]);
    again.answer("1 of 2: the host three.invalid", "a");
    again.answer("2 of 2: the host four.invalid", "q");
    again.answer("Write this into", "n");
    let (code, screen) = again.end();
    assert!(code == 0 && screen.contains("Nothing was written."), "{screen}");
    assert_eq!(fs::read_to_string(&file).unwrap(), after);
}

/// A terminal as a program may leave it that died while it drew on it.
fn raw(terminal: &OwnedFd) {
    let mut modes = tcgetattr(terminal).unwrap();
    modes.make_raw();
    tcsetattr(terminal, OptionalActions::Now, &modes).unwrap();
}

fn narrow(terminal: &OwnedFd) {
    tcsetwinsize(terminal, Winsize { ws_row: 24, ws_col: 20, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

#[test]
fn however_it_is_typed_an_answer_is_taken_and_an_end_is_waited_for_once() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let said = stage.sh("scout", "getent hosts one.example; getent hosts two.test; true");
    assert_eq!(said.code, 0, "{said:?}");
    let file = stage.policy_file("scout");
    let before = fs::read_to_string(&file).unwrap();
    let written = "[[network.allow]]\nhost = \"one.example\"\n";
    type Prepare = fn(&OwnedFd);
    let end = "The input ended before this was confirmed";
    let cases: [(&str, Prepare, &[&[u8]], &str); 10] = [
        ("an end at once", |_| {}, &[b"\x04"], "Nothing was changed"),
        ("an end behind an answer", |_| {}, &[b"a\n", b"\x04"], end),
        ("an end in place of the last answer", |_| {}, &[b"a\nq\n", b"\x04"], "Nothing was written"),
        ("an end pasted behind an answer", |_| {}, &[b"a\n\x04"], end),
        ("an end in the middle of a line", |_| {}, &[b"a\x04", b"\x04"], end),
        ("pasted in one piece", |_| {}, &[b"a\nl\ny\n"], "Written"),
        ("letter by letter", |_| {}, &[b"a", b"\n", b"q", b"\n", b"y", b"\n"], "Written"),
        ("a terminal that was left raw", raw, &[b"a\r", b"q\r", b"y\r"], "Written"),
        ("twenty columns, and what is no letter", narrow, &[b"\xff\xfe\n", b"a\nq\ny\n"], "Written"),
        ("a long line", |_| {}, &[&[b'a'; 3000], b"\n", b"a\nq\ny\n"], "Written"),
    ];
    for (case, prepare, typed, last) in cases {
        fs::write(&file, &before).unwrap();
        let mut terminal = Terminal::prepared(stage.command(&["allow", "scout"]), prepare);
        until(case, || terminal.shown().contains("? "));
        for part in typed {
            terminal.types(part);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let (code, screen) = terminal.end();
        assert!(code == 0 && screen.contains(last), "{case}: {code} {screen}");
        let after = fs::read_to_string(&file).unwrap();
        assert_eq!(after.contains(written), last == "Written", "{case}: {screen}");
        assert!(after.starts_with(before.trim_end()), "{case}");
    }
    // Ctrl-C is a signal, which ends it at once. (The terminal of this test controls no process, so it is sent by hand.)
    fs::write(&file, &before).unwrap();
    let mut broken = Terminal::run(&stage, &["allow", "scout"]);
    broken.answer("1 of 2", "a");
    let pid = rustix::process::Pid::from_child(&broken.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(broken.child.wait().unwrap().signal(), Some(2));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
}

#[test]
fn refused_requests_become_rules_for_exactly_these() {
    let stage = Stage::new();
    let root = stage.base().join("site");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("hello"), "hello\n").unwrap();
    let server = https::start(HOST, root);
    let rules = format!(
        "[[network.allow]]\nhost = \"{HOST}\"\nmethods = [\"HEAD\"]\naddress = \"{}\"\nca = \"\"\"\n{}\"\"\"\n",
        server.address, server.authority
    );
    stage.agent("scout", &rules);
    let line =
        format!("curl -s 'https://{HOST}/hello?token=x' 'https://{HOST}/**' 'https://{HOST}/a//b'; true");
    let mut learning = Terminal::run(&stage, &["learn", "scout", "--", "sh", "-c", &line]);
    learning.answer(&format!("a request to {HOST}, which is permitted for other ones"), "s");
    learning.answer("Write this into", "y");
    let (code, screen) = learning.end();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("(2 refusals are of a kind that no answer here permits"), "{screen}");
    let after = fs::read_to_string(stage.policy_file("scout")).unwrap();
    assert!(
        after.contains("methods = [\"GET\"]\npaths = [\"/hello\"]\n") && !after.contains("/**"),
        "{after}"
    );
    let said = stage.sh("scout", &format!("curl -s https://{HOST}/hello"));
    assert!(said.out.contains("hello"), "{said:?}");
}

#[test]
fn requests_are_answered_one_by_one_and_what_is_never_wanted_is_not_asked_again() {
    let stage = Stage::new();
    stage.agent("scout", &format!("[[network.allow]]\nhost = \"{HOST}\"\nmethods = [\"HEAD\"]\n"));
    let said = stage.sh("scout", &format!("curl -s -o /dev/null https://{HOST}/a https://{HOST}/b; true"));
    assert_eq!(said.code, 0, "{said:?}");
    let mut asking = Terminal::run(&stage, &["allow", "scout"]);
    asking.answer(&format!("2 requests to {HOST}"), "o");
    asking.answer("GET /a", "x");
    asking.answer("One of these letters", "n");
    asking.answer("GET /b", "a");
    asking.answer("Write this into", "y");
    let (code, screen) = asking.end();
    assert_eq!(code, 0, "{screen}");
    let after = fs::read_to_string(stage.policy_file("scout")).unwrap();
    assert!(after.contains("methods = [\"GET\"]\npaths = [\"/b\"]\n") && !after.contains("/a"), "{after}");
    let (code, screen) = Terminal::run(&stage, &["allow", "scout"]).end();
    assert!(code == 0 && screen.contains("Nothing was refused to scout"), "{screen}");
}

#[test]
fn without_a_terminal_it_lists_and_never_asks() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let said = stage.call(&["learn", "scout", "--", "sh", "-c", "getent hosts one.example; exit 3"]);
    assert_eq!(said.code, 3, "{said:?}");
    let own = format!("wardroom --base {}", stage.base().display());
    assert!(
        said.err.contains(&format!("1 thing was refused; `{own} allow scout` asks about it")),
        "{said:?}"
    );
    let listed = stage.call(&["allow", "scout", "--json"]);
    let object: serde_json::Value = serde_json::from_str(listed.out.trim()).unwrap();
    assert_eq!((object["kind"].as_str(), object["host"].as_str()), (Some("name"), Some("one.example")));
    assert_eq!(object["command"], format!("{own} allow scout one.example"));
    let refused = stage.call(&["allow", "scout"]);
    assert!(refused.code != 0 && refused.err.contains("the answers come from a terminal"), "{refused:?}");
}
