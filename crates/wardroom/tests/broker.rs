//! Credentials from the operator's hand to the server's: the agent holds a placeholder, the server sees the value, and what
//! an operator sets, rotates or revokes is in force within a second. The server is the tests' own, on loopback.

#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]
#![expect(clippy::disallowed_methods, reason = "it drives the real binary by a shell")]

mod common;
#[path = "common/https.rs"]
mod https;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use common::{Said, Stage, WARDROOM, until};

const HOST: &str = "api.keyed.example";

/// A stage with a store that is set up, and a server that takes certain keys.
struct Keyed {
    stage: Stage,
    site: PathBuf,
}

impl Keyed {
    /// None where this machine has no keyring, or the cell no Python.
    fn new(test: &str) -> Option<Self> {
        Self::with(test, "")
    }

    fn with(test: &str, more: &str) -> Option<Self> {
        let stage = Stage::new();
        let site = stage.base().join("site");
        fs::create_dir(&site).unwrap();
        let server = https::start(HOST, site.clone());
        let policy = format!(
            "[[network.allow]]\nhost = \"{HOST}\"\naddress = \"{}\"\nca = \"\"\"\n{}\"\"\"\n\
             [[credential]]\nname = \"keyed\"\nenv = \"KEYED_API_KEY\"\nhost = \"{HOST}\"\nheader = \"x-api-key\"\n{more}",
            server.address, server.authority
        );
        stage.agent("scout", &policy);
        let keyed = Self { stage, site };
        let made = keyed.with_passphrase(&["setup", "--keyring", "--passphrase-fd", "3"], "correct horse");
        if made.code != 0 {
            eprintln!("SKIPPED: {test}: no keyring here: {}", made.err);
            return None;
        }
        let python = keyed.stage.sh("scout", "command -v python3 || echo none");
        assert_eq!(python.code, 0, "{python:?}");
        if python.out.contains("none") {
            eprintln!("SKIPPED: {test}: no python3 here");
            return None;
        }
        Some(keyed)
    }

    /// Calls the binary with something to read at descriptor 3.
    fn with_passphrase(&self, arguments: &[&str], given: &str) -> Said {
        let base = self.stage.base().display();
        let line = format!("exec {WARDROOM} --base {base} {} 3<<'END'\n{given}\nEND", arguments.join(" "));
        Said::from(Command::new("bash").args(["-c", &line]).output().unwrap())
    }

    /// What the server takes from now on.
    fn takes(&self, keys: &[&str]) {
        fs::write(self.site.join("keys.new"), keys.join("\n")).unwrap();
        fs::rename(self.site.join("keys.new"), self.site.join("keys")).unwrap();
    }

    fn set(&self, value: &str) {
        let said = self.with_passphrase(&["credential", "set", "scout", "keyed", "--from-fd", "3"], value);
        assert_eq!(said.code, 0, "{said:?}");
    }

    /// Starts an agent that asks all the time, on several connections, until it finds the file `stop`.
    fn agent(&self) -> Child {
        fs::write(self.stage.workspace().join("ask.py"), ASK).unwrap();
        self.stage.start("scout", "exec python3 /workspace/ask.py")
    }

    /// Ends it. How many requests it made, and what was answered besides 200.
    fn stop(&self, agent: Child) -> (u64, String) {
        fs::write(self.stage.workspace().join("stop"), "").unwrap();
        let said = Said::from(agent.wait_with_output().unwrap());
        let (made, others) = said.out.trim().split_once(' ').unwrap_or_else(|| panic!("{said:?}"));
        (made.parse().unwrap(), others.to_owned())
    }

    /// Kills the agent's process in a role.
    fn kill(&self, role: &str) {
        let wanted = [format!("__role\0{role}\0"), self.stage.base().display().to_string()];
        let found = fs::read_dir("/proc").unwrap().flatten().find(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            wanted.iter().all(|part| String::from_utf8_lossy(&line).contains(part))
        });
        let pid = found.unwrap().file_name().into_string().unwrap();
        common::shell(&format!("kill -KILL {pid}"));
    }

    /// Which key the server saw last.
    fn seen(&self) -> String {
        fs::read_to_string(self.site.join("seen")).unwrap_or_default()
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        // Whoever was killed left nothing to lock.
        drop(self.stage.call(&["credential", "lock"]));
    }
}

const ASK: &str = r#"
import http.client, os, ssl, threading
made, others, lock = [0], {}, threading.Lock()
def ask():
    connection = None
    while not os.path.exists("/workspace/stop"):
        try:
            connection = connection or http.client.HTTPSConnection("api.keyed.example", timeout=10)
            connection.request("GET", "/key", headers={"x-api-key": os.environ["KEYED_API_KEY"]})
            answer = connection.getresponse()
            body, status = answer.read(), answer.status
        except Exception as error:
            connection, status = None, type(error).__name__
        with lock:
            made[0] += 1
            if status != 200:
                others[str(status)] = others.get(str(status), 0) + 1
threads = [threading.Thread(target=ask) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(made[0], sorted(others.items()))
"#;

#[test]
fn s1_the_server_sees_the_value_and_nobody_else_on_this_machine_does() {
    let test = "s1_the_server_sees_the_value";
    let Some(keyed) = Keyed::new(test) else { return };
    keyed.takes(&["sk-real-value"]);
    keyed.set("sk-real-value");
    let agent = keyed.agent();
    until("the server saw the value", || keyed.seen() == "sk-real-value");
    let mut places = String::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            places.push_str(&String::from_utf8_lossy(&fs::read(entry.path().join(file)).unwrap_or_default()));
        }
    }
    assert!(!places.contains("sk-real-value") && !places.contains("AGE-SECRET-KEY-1"));
    let inside = keyed.stage.sh("scout", "true");
    assert_ne!(inside.code, 0, "it runs already");
    let inside = keyed.stage.call(&["exec", "scout", "--", "sh", "-c", "env; cat /proc/*/environ"]);
    assert!(inside.out.contains("KEYED_API_KEY=") && !inside.out.contains("sk-real-value"), "{inside:?}");
    let (made, others) = keyed.stop(agent);
    assert!(made > 0 && others == "[]", "{made} {others}");
    let state = keyed.stage.base().join("state");
    let mut grep = Command::new("grep");
    let found = grep.args(["-raF", "-e", "sk-real-value", "-e", "AGE-SECRET-KEY-1"]).arg(&state).status();
    assert!(found.unwrap().code() == Some(1), "the value is in a file below {}", state.display());
    let log = keyed.stage.call(&["log", "scout"]);
    assert!(!log.out.contains("sk-real-value") && log.out.contains("credential set keyed"), "{log:?}");
}

#[test]
fn s5a_fifty_rotations_under_load_fail_not_one_request() {
    let Some(keyed) = Keyed::new("s5a_fifty_rotations_under_load") else { return };
    keyed.takes(&["key-0"]);
    keyed.set("key-0");
    let agent = keyed.agent();
    until("the first key is used", || keyed.seen() == "key-0");
    for number in 1..=50_i32 {
        // A provider's keys as an operator keeps them: one is deleted when nothing that began with it can be under way.
        let [before, old, new] = [number - 2, number - 1, number].map(|number| format!("key-{number}"));
        keyed.takes(&[&before, &old, &new]);
        let arguments = ["credential", "rotate", "scout", "keyed", "--no-test", "--from-fd", "3"];
        let said = keyed.with_passphrase(&arguments, &new);
        assert_eq!(said.code, 0, "{said:?}");
        until("the next key is used", || keyed.seen() == new);
    }
    let (made, others) = keyed.stop(agent);
    eprintln!("{made} requests during 50 rotations");
    assert!(made > 200 && others == "[]", "{made} requests; failed: {others}");
}

#[test]
fn s5_a_revocation_is_in_force_within_a_second_and_a_killed_broker_is_replaced() {
    let Some(keyed) = Keyed::new("s5_a_revocation_is_in_force") else { return };
    keyed.takes(&["key-1", "key-2"]);
    keyed.set("key-1");
    let agent = keyed.agent();
    until("the key is used", || keyed.seen() == "key-1");
    keyed.kill("broker");
    fs::remove_file(keyed.site.join("seen")).unwrap();
    until("another broker supplies it", || keyed.seen() == "key-1");

    let said = keyed.stage.call(&["credential", "revoke", "scout", "keyed"]);
    assert_eq!(said.code, 0, "{said:?}");
    let began = std::time::Instant::now();
    until("it is on record that nothing may use it any more", || {
        keyed.stage.call(&["log", "scout", "--kind", "credential"]).out.contains("keyed: revoked")
    });
    // Within a second; a machine that runs all tests at once is slower.
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    // A request that the server had before may still leave its mark.
    std::thread::sleep(std::time::Duration::from_millis(500));
    fs::remove_file(keyed.site.join("seen")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(keyed.seen(), "", "a request passed after the revocation");
    let list = keyed.stage.call(&["credential", "list", "scout"]);
    assert!(list.out.contains("revoked"), "{list:?}");
    keyed.set("key-2");
    until("the new value is used", || keyed.seen() == "key-2");
    let (_, others) = keyed.stop(agent);
    assert!(others.contains("503"), "{others}");
}

#[test]
fn s5a_a_locked_store_gives_nothing_until_it_is_unlocked_and_a_bad_value_is_refused() {
    let Some(keyed) = Keyed::new("s5a_a_locked_store_gives_nothing") else { return };
    for (bad, why) in [("a\rb", "line break"), ("a\0b", "line break"), ("", "empty")] {
        let file = keyed.stage.base().join("value");
        fs::write(&file, bad).unwrap();
        let line = format!(
            "{WARDROOM} --base {0} credential set scout keyed < {0}/value",
            keyed.stage.base().display()
        );
        let said = Said::from(Command::new("sh").args(["-c", &line]).output().unwrap());
        assert!(said.code == 215 && said.err.contains(why), "{bad:?}: {said:?}");
    }
    keyed.takes(&["key-1"]);
    keyed.set("key-1");
    keyed.stage.call(&["credential", "lock"]);
    let agent = keyed.agent();
    until("its lack is on record", || {
        let log = keyed.stage.call(&["log", "scout", "--kind", "credential"]);
        log.out.contains("credential unlock")
    });
    assert_eq!(keyed.seen(), "");
    let wrong = keyed.with_passphrase(&["credential", "unlock", "--passphrase-fd", "3"], "wrong horse");
    assert!(wrong.code == 215 && wrong.err.contains("not the store's passphrase"), "{wrong:?}");
    let right = keyed.with_passphrase(&["credential", "unlock", "--passphrase-fd", "3"], "correct horse");
    assert_eq!(right.code, 0, "{right:?}");
    until("the value is used", || keyed.seen() == "key-1");
    keyed.stop(agent);
}

/// A double of an OAuth 2 server, on this machine: it gives `at-1` to everybody, and answers a revocation with `status`.
fn token_server(status: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {}
            let length = |line: &str| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok();
            let mut body = vec![0; head.lines().find_map(length).unwrap_or(0)];
            stream.read_exact(&mut body).unwrap();
            let (status, answer) = match head.starts_with("POST /token ") {
                true => ("200 OK", r#"{"access_token":"at-1","token_type":"bearer","expires_in":3600}"#),
                false => (status, ""),
            };
            kept.lock().unwrap().push(String::from_utf8(body).unwrap());
            let length = answer.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            stream.get_mut().write_all(format!("{head}{answer}").as_bytes()).unwrap();
        }
    });
    (base, asked)
}

impl Keyed {
    /// Has the credential exchanged at a token server.
    fn exchanges_at(&self, base: &str, more: &str) {
        let policy = fs::read_to_string(self.stage.policy_file("scout")).unwrap();
        let oauth2 = format!(
            "kind = \"oauth2\"\ntoken_url = \"{base}/token\"\nrevoke_url = \"{base}/revoke\"\nclient_id = \"me\"\n{more}"
        );
        let policy = policy.replace("header = \"x-api-key\"", &oauth2);
        fs::write(self.stage.policy_file("scout"), policy).unwrap();
    }

    fn revoke(&self) -> Said {
        self.stage.call(&["credential", "revoke", "scout", "keyed"])
    }

    fn log(&self, kind: &str) -> String {
        self.stage.call(&["log", "scout", "--kind", kind]).out
    }
}

#[test]
fn s5_a_running_agents_token_is_ended_at_its_server_as_well_and_a_failure_is_on_record() {
    for (status, wanted) in [("200 OK", "keyed: given back to"), ("400 Bad Request", "keyed: not given back")]
    {
        let Some(keyed) = Keyed::new("s5_a_running_agents_token") else { return };
        let (base, asked) = token_server(status);
        keyed.exchanges_at(&base, "");
        keyed.set("client-secret");
        let agent =
            keyed.stage.start("scout", "while [ ! -e /workspace/stop ]; do sleep 0.1; done; echo 1 2");
        until("the token is in use", || keyed.log("credential").contains("in use"));
        assert_eq!(keyed.revoke().code, 0);
        until("what the server said is on record", || keyed.log("credential").contains(wanted));
        until("it is revoked here", || keyed.log("credential").contains("keyed: revoked"));
        assert_eq!(asked.lock().unwrap().last().unwrap(), "token=at-1&token_type_hint=access_token");
        keyed.stop(agent);
    }
}

#[test]
fn s5_a_token_whose_credential_leaves_the_policy_is_ended_and_the_run_goes_on() {
    let Some(keyed) = Keyed::new("s5_a_token_whose_credential_leaves") else { return };
    let (base, asked) = token_server("200 OK");
    keyed.exchanges_at(&base, "");
    keyed.set("client-secret");
    let agent = keyed.stage.start("scout", "while [ ! -e /workspace/stop ]; do sleep 0.1; done; echo 1 2");
    until("the token is in use", || keyed.log("credential").contains("in use"));
    let file = keyed.stage.policy_file("scout");
    let policy = fs::read_to_string(&file).unwrap();
    let beside = file.with_extension("new");
    fs::write(&beside, policy.split("[[credential]]").next().unwrap()).unwrap();
    fs::rename(&beside, &file).unwrap();
    until("it is given back", || keyed.log("credential").contains("keyed: given back to"));
    assert_eq!(asked.lock().unwrap().last().unwrap(), "token=at-1&token_type_hint=access_token");
    // And with it again there is a broker again.
    fs::write(&beside, policy).unwrap();
    fs::rename(&beside, &file).unwrap();
    until("a token is in use again", || keyed.log("credential").matches("in use").count() == 2);
    keyed.stop(agent);
    assert_eq!(keyed.log("credential").matches("keyed: given back to").count(), 2);
}

#[test]
fn a_broker_that_loses_its_process_for_commands_gives_back_what_it_had_beside_its_successor() {
    let Some(keyed) = Keyed::new("a_broker_that_loses_its_process_for_commands") else { return };
    let (base, asked) = token_server("200 OK");
    keyed.exchanges_at(&base, "source = { command = [\"/bin/echo\", \"client-secret\"] }\n");
    let agent = keyed.stage.start("scout", "while [ ! -e /workspace/stop ]; do sleep 0.1; done; echo 1 2");
    until("the token is in use", || keyed.log("credential").contains("in use"));
    keyed.kill("programs");
    until("it is given back", || keyed.log("credential").contains("keyed: given back to"));
    until("a token is in use again", || keyed.log("credential").matches("in use").count() == 2);
    assert!(asked.lock().unwrap().contains(&"token=at-1&token_type_hint=access_token".to_owned()));
    keyed.stop(agent);
    assert_eq!(keyed.log("credential").matches("keyed: given back to").count(), 2);
}

#[test]
fn s5_at_the_end_of_a_run_its_token_is_ended_and_on_record() {
    let Some(keyed) = Keyed::new("s5_at_the_end_of_a_run") else { return };
    let (base, asked) = token_server("200 OK");
    keyed.exchanges_at(&base, "");
    keyed.set("client-secret");
    assert_eq!(keyed.stage.sh("scout", "true").code, 0);
    assert_eq!(asked.lock().unwrap().last().unwrap(), "token=at-1&token_type_hint=access_token");
    assert!(keyed.log("credential").contains("keyed: given back to"), "{}", keyed.log("credential"));
}

#[test]
fn s5_without_a_running_agent_the_stored_right_is_ended_at_its_server_or_that_it_was_not_is_said() {
    for (status, code, wanted) in
        [("200 OK", 0, "is revoked at"), ("503 Service Unavailable", 215, "is still valid at")]
    {
        let Some(keyed) = Keyed::new("s5_without_a_running_agent") else { return };
        let (base, asked) = token_server(status);
        keyed.exchanges_at(&base, "grant = \"refresh\"\n");
        keyed.set("rt-1");
        let said = keyed.revoke();
        assert!(said.code == code && format!("{} {}", said.out, said.err).contains(wanted), "{said:?}");
        assert!(said.out.contains("is revoked; what used it ends"), "{said:?}");
        assert_eq!(*asked.lock().unwrap(), ["token=rt-1&token_type_hint=refresh_token&client_id=me"]);
        assert!(keyed.log("operator").contains(wanted), "{}", keyed.log("operator"));
        assert!(!format!("{said:?}{}", keyed.log("operator")).contains("rt-1"));
        assert!(keyed.stage.call(&["credential", "list", "scout"]).out.contains("revoked"));
        let again = keyed.revoke();
        assert!(again.code == 0 && again.err.contains("nothing of it was ended at"), "{again:?}");
    }
    // A store that is locked holds the revocation up no more than a server does.
    let Some(keyed) = Keyed::new("s5_without_a_running_agent") else { return };
    let (base, asked) = token_server("200 OK");
    keyed.exchanges_at(&base, "grant = \"refresh\"\n");
    keyed.set("rt-1");
    keyed.stage.call(&["credential", "lock"]);
    let revoke = keyed.stage.command(&["credential", "revoke", "scout", "keyed"]);
    // Without a terminal, so that nobody can be asked for a passphrase.
    let said = Command::new("setsid").arg("-w").arg(revoke.get_program()).args(revoke.get_args()).output();
    let said = Said::from(said.unwrap());
    assert!(said.code == 215 && said.err.contains("there is no terminal to ask"), "{said:?}");
    assert!(asked.lock().unwrap().is_empty());
    assert!(keyed.stage.call(&["credential", "list", "scout"]).out.contains("revoked"));
}

#[test]
fn a_value_is_tried_where_and_as_the_policy_sends_it() {
    use base64::Engine;
    type Sent = fn(&str) -> String;
    let Some(keyed) = Keyed::new("tried") else { return };
    let policy = fs::read_to_string(keyed.stage.policy_file("scout")).unwrap();
    let header = "header = \"x-api-key\"";
    let kinds: [(&str, Sent); 3] = [
        (header, ToOwned::to_owned),
        ("kind = \"bearer\"", |key| format!("Bearer {key}")),
        ("kind = \"basic\"\nuser = \"me\"", |key| {
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("me:{key}")))
        }),
    ];
    let test = || keyed.stage.call(&["credential", "test", "scout", "keyed", "--path", "/key"]);
    let rotate = |value| {
        let words = ["credential", "rotate", "scout", "keyed", "--from-fd", "3", "--path", "/key"];
        keyed.with_passphrase(&words, value)
    };
    for (kind, sent) in &kinds {
        fs::write(keyed.stage.policy_file("scout"), policy.replace(header, kind)).unwrap();
        keyed.set("sk-one");
        keyed.takes(&[&sent("sk-one")]);
        let good = test();
        assert!(good.code == 0 && good.out.contains("takes it"), "{kind}: {good:?}");
        let wrong = rotate("sk-two");
        assert!(wrong.code != 0 && wrong.err.contains("refuses it (401)"), "{kind}: {wrong:?}");
        assert_eq!(keyed.seen(), sent("sk-two"), "{kind}");
        assert_eq!(test().code, 0, "{kind}: the old one is still in its place");
        keyed.takes(&[&sent("sk-two")]);
        let stale = test();
        assert!(stale.code != 0 && stale.err.contains("refuses it (401)"), "{kind}: {stale:?}");
        assert_eq!(rotate("sk-two").code, 0, "{kind}");
        assert_eq!(test().code, 0, "{kind}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = policy.lines().find(|line| line.starts_with("address")).unwrap();
    let nowhere = policy.replace(address, &format!("address = \"{closed}\""));
    let stranger = https::start(HOST, keyed.site.clone());
    let elsewhere = policy.replace(address, &format!("address = \"{}\"", stranger.address));
    for (case, policy) in [("unreachable", nowhere), ("not the one", elsewhere)] {
        fs::write(keyed.stage.policy_file("scout"), policy).unwrap();
        for said in [test(), rotate("sk-three")] {
            assert!(said.code != 0 && said.err.contains("cannot be asked"), "{case}: {said:?}");
            assert!(!format!("{said:?}").contains("sk-"), "{case}: {said:?}");
        }
    }
    assert!(stranger.seen.lock().unwrap().is_empty());
}
