//! Inspection as an agent's own programs see it: each reaches an inspected host by itself, believes the certificate that the gate
//! shows it, and every request is on record. The servers are the tests' own, on loopback.

#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail by panicking")]

mod common;
#[path = "common/https.rs"]
mod https;
#[path = "common/memory.rs"]
mod memory;

use std::fs;

use common::{Said, Stage};

const HOST: &str = "api.inspected.example";
/// A host of the same server that is not inspected.
const PLAIN: &str = "api.plain.example";

/// A stage with a server whose requests are looked at.
struct Inspected {
    stage: Stage,
}

impl Inspected {
    fn new() -> Self {
        let stage = Stage::new();
        let root = stage.base().join("site");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("hello"), "hello from the server\n").unwrap();
        let server = https::start(HOST, root);
        stage.agent("scout", &rules(&server));
        Self { stage }
    }

    /// Runs a shell line in the cell.
    fn sh(&self, line: &str) -> Said {
        self.stage.sh("scout", line)
    }

    /// The requests on record, as `METHOD path`.
    fn requests(&self) -> Vec<String> {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let records = self.stage.records("scout", &["--kind", "http"]);
        records
            .iter()
            .map(|r| {
                format!(
                    "{} {}",
                    text(&r["http_request"]["http_method"]),
                    text(&r["http_request"]["url"]["path"])
                )
            })
            .collect()
    }

    /// Whether the cell has a program; says so if not.
    fn has(&self, test: &str, program: &str) -> bool {
        let there = self.sh(&format!("command -v {program}")).code == 0;
        if !there {
            eprintln!("SKIPPED: {test}: no {program} here");
        }
        there
    }
}

fn rules(server: &https::Server) -> String {
    format!(
        "[[network.allow]]\nhost = \"{HOST}\"\nmethods = [\"GET\", \"HEAD\"]\naddress = \"{}\"\nca = \"\"\"\n{}\"\"\"\n",
        server.address, server.authority
    )
}

/// Runs a line, wants a text in its output, and a request on record.
fn reaches(test: &str, program: &str, line: &str, wanted: &str, request: &str) {
    let inspected = Inspected::new();
    if !inspected.has(test, program) {
        return;
    }
    let said = inspected.sh(line);
    assert!(said.code == 0 && said.out.contains(wanted), "{said:?}");
    let requests = inspected.requests();
    assert!(requests.iter().any(|seen| seen == request), "{requests:?}; {said:?}");
}

#[test]
fn curl_trusts_what_the_gate_shows_it_and_a_method_that_is_not_named_is_refused_with_the_remedy() {
    let test = "curl_trusts_what_the_gate_shows_it";
    let line = format!("curl -sS https://{HOST}/hello");
    reaches(test, "curl", &line, "hello from the server", "GET /hello");
    // Without its environment as well: by the system's own bundle.
    let line = format!("env -i curl -sS https://{HOST}/hello");
    reaches(test, "curl", &line, "hello from the server", "GET /hello");
    let inspected = Inspected::new();
    if inspected.has(test, "curl") {
        let said = inspected.sh(&format!("curl -sS -w '%{{http_code}}' -d x=1 https://{HOST}/hello"));
        assert!(said.out.ends_with("403") && said.out.contains("wardroom allow scout"), "{said:?}");
    }
}

#[test]
fn server_sent_events_arrive_one_by_one() {
    let test = "server_sent_events_arrive_one_by_one";
    // What has arrived when the second event is due, and at the end.
    let line = format!(
        "curl -sSN https://{HOST}/events | while read -r line; do echo \"$(date +%s%N) $line\"; done"
    );
    let inspected = Inspected::new();
    if !inspected.has(test, "curl") {
        return;
    }
    let said = inspected.sh(&line);
    let events = said.out.lines().filter_map(|line| line.split_once(" data: "));
    let times: Vec<u64> = events.map(|(time, _)| time.parse().unwrap()).collect();
    assert_eq!(times.len(), 3, "{said:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] > 20_000_000), "{said:?}");
}

#[test]
fn git_clones_over_https() {
    let inspected = Inspected::new();
    if !inspected.has("git_clones_over_https", "git") {
        return;
    }
    let make = format!(
        "cd {0} && git init -q r && cd r && git -c user.name=t -c user.email=t@t commit -q --allow-empty -m first \
         && git clone -q --bare . {0}/r.git && cd {0}/r.git && git update-server-info",
        inspected.stage.base().join("site").display()
    );
    common::shell(&make);
    let said = inspected.sh(&format!("git clone -q https://{HOST}/r.git c && git -C c log --format=%s"));
    assert!(said.code == 0 && said.out.contains("first"), "{said:?}");
    assert!(inspected.requests().iter().any(|seen| seen.starts_with("GET /r.git/info/refs")));
}

#[test]
fn node_fetches() {
    let line = format!("node -e 'fetch(\"https://{HOST}/hello\").then(r => r.text()).then(console.log)'");
    reaches("node_fetches", "node", &line, "hello from the server", "GET /hello");
}

/// Node's own client for the upgrade, and two frames of RFC 6455 by hand: older versions have no WebSocket of their own.
const WEBSOCKET: &str = r#"
const request = require("https").request({
  host: process.argv[1], path: "/ws",
  headers: { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": 13, "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" },
});
request.on("upgrade", (response, socket) => {
  console.log(response.statusCode, response.headers["sec-websocket-accept"]);
  const text = Buffer.from("over and out"), mask = Buffer.from([1, 2, 3, 4]);
  socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length]), mask, text.map((b, i) => b ^ mask[i % 4])]));
  socket.on("data", (frame) => { console.log("echoed", frame.subarray(2).toString()); socket.end(); process.exit(0); });
});
request.on("response", (response) => { console.log("refused", response.statusCode); process.exit(1); });
request.end();
"#;

#[test]
fn node_speaks_over_a_websocket() {
    let line = format!("node -e '{WEBSOCKET}' {HOST}");
    reaches("node_speaks_over_a_websocket", "node", &line, "echoed over and out", "GET /ws");
}

#[test]
fn python_reads_by_urllib_and_by_requests() {
    let test = "python_reads_by_urllib_and_by_requests";
    let line = format!(
        "python3 -c 'import urllib.request as u; print(u.urlopen(\"https://{HOST}/hello\").read().decode())'"
    );
    reaches(test, "/usr/bin/python3", &line, "hello from the server", "GET /hello");
    let inspected = Inspected::new();
    if inspected.sh("python3 -c 'import requests'").code != 0 {
        eprintln!("SKIPPED: {test}: no requests here");
        return;
    }
    let said = inspected
        .sh(&format!("python3 -c 'import requests; print(requests.get(\"https://{HOST}/hello\").text)'"));
    assert!(said.code == 0 && said.out.contains("hello from the server"), "{said:?}");
}

#[test]
fn java_reads_with_its_own_store() {
    let source = format!(
        "public class Read {{ public static void main(String[] a) throws Exception {{ \
         System.out.print(new String(new java.net.URL(\"https://{HOST}/hello\").openStream().readAllBytes())); }} }}"
    );
    let line = format!("cat > /tmp/Read.java <<'END'\n{source}\nEND\njava /tmp/Read.java");
    reaches("java_reads_with_its_own_store", "java", &line, "hello from the server", "GET /hello");
}

#[test]
fn openssl_and_gnutls_verify_the_chain_in_their_strict_modes() {
    let test = "openssl_and_gnutls_verify_the_chain";
    let inspected = Inspected::new();
    if inspected.has(test, "openssl") {
        let said = inspected.sh(&format!(
            "openssl s_client -connect {HOST}:443 -servername {HOST} -verify_hostname {HOST} -x509_strict \
             -verify_return_error </dev/null 2>&1"
        ));
        assert!(said.code == 0 && said.out.contains("Verify return code: 0 (ok)"), "{said:?}");
        assert!(said.out.contains("Wardroom authority of scout"), "{said:?}");
    }
    if inspected.has(test, "gnutls-cli") {
        let said = inspected.sh(&format!("gnutls-cli {HOST} </dev/null 2>&1"));
        assert!(said.out.contains("The certificate is trusted"), "{said:?}");
    }
}

#[test]
fn a_browser_loads_a_page() {
    let inspected = Inspected::new();
    let browser = ["/usr/lib/chromium/chromium", "/usr/lib64/chromium-browser/chromium-browser"];
    let Some(browser) = browser.iter().find(|path| fs::metadata(path).is_ok()) else {
        eprintln!("SKIPPED: a_browser_loads_a_page: no chromium here");
        return;
    };
    if !inspected.has("a_browser_loads_a_page", "certutil") {
        return;
    }
    // Its own sandbox is made of what a cell does not give; the cell is the sandbox.
    let said = inspected.sh(&format!(
        "timeout 60 {browser} --headless --no-sandbox --disable-gpu --dump-dom https://{HOST}/hello 2>/dev/null"
    ));
    assert!(said.out.contains("hello from the server"), "{said:?}");
    assert!(inspected.requests().iter().any(|seen| seen == "GET /hello"));
}

#[test]
fn without_inspection_a_cell_trusts_what_the_system_trusts_and_no_authority_is_made() {
    let stage = Stage::new();
    stage.agent("scout", &format!("[[network.allow]]\nhost = \"{PLAIN}\"\n"));
    let said = stage.sh("scout", "env; ls /etc/ssl");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.out.contains("SSL_CERT_FILE") && !said.out.contains("wardroom\n"), "{said:?}");
    assert!(!stage.base().join("state/scout/authority").exists());
}

#[test]
fn the_key_is_made_once_stays_outside_and_its_certificate_follows_the_policy() {
    let inspected = Inspected::new();
    let show = "cat /etc/ssl/wardroom/authority.pem; ls -R /etc/ssl/wardroom; cat /etc/ssl/wardroom/* | grep PRIVATE";
    let first = inspected.sh(show);
    assert!(first.out.contains("BEGIN CERTIFICATE") && !first.out.contains("PRIVATE"), "{first:?}");
    let file = inspected.stage.base().join("state/scout/authority/key.pem");
    let key = fs::read_to_string(&file).unwrap();
    assert!(inspected.sh("true").code == 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), key);
    let hidden = inspected.sh(&format!("cat {}", file.display()));
    assert!(hidden.code != 0 && hidden.err.contains("No such file"), "{hidden:?}");
    // Damaged, nothing starts, and the remedy is said.
    fs::write(&file, key.split_at(100).0).unwrap();
    let damaged = inspected.sh("true");
    assert!(damaged.code == 203 && damaged.err.contains("move it away"), "{damaged:?}");
    fs::remove_file(&file).unwrap();
    assert_eq!(inspected.sh("true").code, 0);
    assert_ne!(fs::read_to_string(&file).unwrap(), key);
}

#[test]
fn the_key_is_in_the_memory_of_no_process_of_the_cell() {
    let test = "the_key_is_in_the_memory_of_no_process_of_the_cell";
    let inspected = Inspected::new();
    let stage = &inspected.stage;
    let run = stage.start("scout", "echo up > up; until [ -e go ]; do sleep 0.02; done");
    common::until("the start", || stage.workspace().join("up").exists());
    common::until("the gate", || !memory::roles(run.id(), "gate").is_empty());
    let key = fs::read_to_string(stage.base().join("state/scout/authority/key.pem")).unwrap();
    // Each line of the text is found in whoever holds it, whole or in pieces.
    let line = key.lines().nth(1).unwrap().as_bytes();
    let (inside, gates) = (memory::cell_processes(run.id()), memory::roles(run.id(), "gate"));
    assert!(inside.len() > 1 && gates.len() == 1, "{inside:?} {gates:?}");
    if memory::holds(gates[0], line) == Some(true) {
        // Init and the shell are there to the end; a `sleep` may be gone.
        let found: Vec<_> = inside.iter().map(|process| memory::holds(*process, line)).collect();
        assert!(!found.contains(&Some(true)), "{inside:?} {found:?}");
        assert!(found.iter().filter(|held| **held == Some(false)).count() > 1, "{inside:?} {found:?}");
    } else {
        eprintln!("SKIPPED: {test}: memory cannot be read here");
    }
    fs::write(stage.workspace().join("go"), "").unwrap();
    assert!(run.wait_with_output().unwrap().status.success());
}

#[test]
fn a_host_that_a_live_policy_has_inspected_is_refused_until_the_next_start_and_both_sides_hear_why() {
    let test = "a_host_that_a_live_policy_has_inspected_is_refused_until_the_next_start";
    let inspected = Inspected::new();
    if !inspected.has(test, "curl") {
        return;
    }
    let stage = &inspected.stage;
    let late = "late.inspected.example";
    let line = format!(
        "echo up > up; until [ -e go ]; do sleep 0.02; done; curl -sS https://{late}/hello; curl -sS https://{HOST}/hello"
    );
    let run = stage.start("scout", &line);
    common::until("the start", || stage.workspace().join("up").exists());
    let text = fs::read_to_string(stage.policy_file("scout")).unwrap();
    let added =
        format!("\n[[network.allow]]\nhost = \"{late}\"\nmethods = [\"GET\"]\naddress = \"127.0.0.1:1\"\n");
    fs::write(stage.policy_file("scout"), text + &added).unwrap();
    let in_force = |record: &serde_json::Value| record["message"].to_string().contains("in force");
    let records = || stage.records("scout", &["--kind", "policy"]);
    let on_record = || records().iter().filter(|record| in_force(record)).count() == 2;
    common::until("the change on record", on_record);
    // Recorded first, in force second.
    std::thread::sleep(std::time::Duration::from_millis(500));
    fs::write(stage.workspace().join("go"), "").unwrap();
    let said = Said::from(run.wait_with_output().unwrap());
    assert!(said.err.contains(&format!("connections to {late} takes effect at the next start")), "{said:?}");
    assert!(said.out.contains("hello from the server"), "{said:?}");
    let log = stage.call(&["log", "scout"]).out;
    let refused =
        log.lines().find(|line| line.contains(late) && line.contains("takes effect at the next start"));
    assert!(refused.is_some(), "{log}");
}
