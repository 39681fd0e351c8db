//! Learning as an operator sees it: an agent wants what nobody permitted, and a person at a terminal answers.

mod common;
#[path = "common/https.rs"]
mod https;
#[path = "common/terminal.rs"]
mod terminal;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

use common::{Stage, until};
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
fn without_a_terminal_it_lists_and_never_asks() {
    let stage = Stage::new();
    stage.agent("scout", "");
    let said = stage.call(&["learn", "scout", "--", "sh", "-c", "getent hosts one.example; exit 3"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("1 thing was refused; `wardroom allow scout` asks about it"), "{said:?}");
    let listed = stage.call(&["allow", "scout", "--json"]);
    let object: serde_json::Value = serde_json::from_str(listed.out.trim()).unwrap();
    assert_eq!((object["kind"].as_str(), object["host"].as_str()), (Some("name"), Some("one.example")));
    assert_eq!(object["command"], "wardroom allow scout one.example");
    let refused = stage.call(&["allow", "scout"]);
    assert!(refused.code != 0 && refused.err.contains("the answers come from a terminal"), "{refused:?}");
}
