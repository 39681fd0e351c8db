//! Credentials end to end: what an agent holds, what leaves, what comes back, and what is on record. The agent is a shell with
//! curl in a cell, the server is the test's own behind verified TLS, and the value comes from a command of the operator's.

#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test measures time")]

mod common;
#[path = "common/https.rs"]
mod https;
#[path = "common/memory.rs"]
mod memory;

use std::fs;
use std::path::PathBuf;

use common::{Said, Stage, until};

const HOST: &str = "api.bound.example";
/// Permitted and inspected, and nothing is bound to it.
const OTHER: &str = "api.other.example";
/// The real value. Every test has one of its own, so that none finds another's.
fn real(test: &str) -> String {
    format!("sk-real-{test}-0123456789abcdef")
}

/// A stage with a bound host, another host, and a value.
struct Bound {
    stage: Stage,
    server: https::Server,
    other: https::Server,
    real: String,
}

impl Bound {
    /// `more` goes into the credential. None, said aloud, where there is no curl.
    fn new(test: &str, more: &str) -> Option<Self> {
        let stage = Stage::new();
        let root = stage.base().join("site");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("hello"), "hello from the server\n").unwrap();
        let (server, other) = (https::start(HOST, root.clone()), https::start(OTHER, root));
        let bound = Self { stage, server, other, real: real(test) };
        bound.set(&bound.real);
        bound.stage.agent("scout", &bound.rules(&bound.credential(more)));
        let there = bound.sh("command -v curl || echo none");
        assert_eq!(there.code, 0, "{there:?}");
        if there.out.trim() == "none" {
            eprintln!("SKIPPED: {test}: no curl here");
            return None;
        }
        Some(bound)
    }

    fn value_file(&self) -> PathBuf {
        self.stage.base().join("value")
    }

    /// Gives the operator's command another value.
    fn set(&self, value: &str) {
        let draft = self.value_file().with_extension("new");
        fs::write(&draft, value).unwrap();
        fs::rename(draft, self.value_file()).unwrap();
    }

    fn credential(&self, more: &str) -> String {
        format!(
            "[[credential]]\nenv = \"BOUND_API_KEY\"\nhost = \"{HOST}\"\nheader = \"x-api-key\"\n\
             source = {{ command = [\"/bin/cat\", {:?}], every = \"1 second\" }}\n{more}\n",
            self.value_file()
        )
    }

    fn rules(&self, credential: &str) -> String {
        let rule = |host: &str, server: &https::Server| {
            format!(
                "[[network.allow]]\nhost = \"{host}\"\ninspect = true\naddress = \"{}\"\nca = \"\"\"\n{}\"\"\"\n\n",
                server.address, server.authority
            )
        };
        format!("{}{}{credential}", rule(HOST, &self.server), rule(OTHER, &self.other))
    }

    /// Runs a shell line in the cell.
    fn sh(&self, line: &str) -> Said {
        self.stage.sh("scout", line)
    }

    /// Runs curl with the placeholder in its place and these arguments besides; prints the answer, then its status.
    fn curl(&self, arguments: &str) -> Said {
        self.sh(&format!("curl -sS -w '%{{http_code}}' -H \"x-api-key: $BOUND_API_KEY\" {arguments}"))
    }

    /// Everything that both servers were asked.
    fn asked(&self) -> String {
        [self.server.seen.lock().unwrap().join("\n"), self.other.seen.lock().unwrap().join("\n")].concat()
    }

    /// The records about credentials, as text.
    fn records(&self) -> Vec<String> {
        let records = self.stage.records("scout", &["--kind", "credential"]);
        records.iter().map(ToString::to_string).collect()
    }

    fn is_on_record(&self, words: &[&str]) -> bool {
        self.records().iter().any(|record| words.iter().all(|word| record.contains(word)))
    }
}

#[test]
fn s1_the_real_value_goes_to_the_server_and_is_nowhere_inside() {
    let Some(bound) = Bound::new("s1", "") else { return };
    // In pieces, so that the search is not what is found.
    let look = "for f in /proc/[0-9]*/environ /proc/[0-9]*/cmdline; do tr '\\0' '\\n' < $f; done 2>/dev/null; env; \
                grep -rls 'sk-re[a]l-s1-0' /etc /home /workspace /tmp /run /var /dev/shm";
    let line = format!(
        "curl -sS -H \"x-api-key: $BOUND_API_KEY\" https://{HOST}/reflect; {look}; ulimit -c; echo up > up; \
         until [ -e go ]; do sleep 0.05; done"
    );
    let run = bound.stage.start("scout", &line);
    until("the request", || bound.stage.workspace().join("up").exists());
    let keeper = run.id();
    let inside = memory::cell_processes(keeper);
    let gates = memory::roles(keeper, "gate");
    assert!(!inside.is_empty() && gates.len() == 1, "{inside:?} {gates:?}");
    if memory::holds(gates[0], bound.real.as_bytes()) == Some(true) {
        for process in &inside {
            assert_ne!(memory::holds(*process, bound.real.as_bytes()), Some(true), "in process {process}");
        }
    } else {
        eprintln!(
            "SKIPPED: s1_the_real_value_is_nowhere_inside: memory cannot be read here, so only files were searched"
        );
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", gates[0])).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    fs::write(bound.stage.workspace().join("go"), "").unwrap();
    let said = Said::from(run.wait_with_output().unwrap());
    assert!(bound.asked().contains(&format!("x-api-key: {}", bound.real)), "{}", bound.asked());
    assert!(said.out.contains("BOUND_API_KEY="), "{said:?}");
    let shown = format!("{said:?}{:?}", bound.stage.call(&["log", "scout", "--json"]));
    assert!(!shown.contains(&bound.real), "{shown}");
    // Nothing of the installation's has it, but for the operator's own file: records, rings, counters, policies.
    let holding = memory::files_that_hold(bound.stage.base(), bound.real.as_bytes());
    assert_eq!(holding, [bound.value_file()]);
}

#[test]
fn s1a_a_key_of_the_agent_s_own_is_refused_where_one_is_bound() {
    let Some(bound) = Bound::new("s1a", "") else { return };
    for own in
        ["-H 'x-api-key: sk-planted'", "-H 'authorization: Bearer sk-planted'", "-b session=sk-planted"]
    {
        let said =
            bound.sh(&format!("curl -sS -w '%{{http_code}}' {own} -d @/etc/hostname https://{HOST}/hello"));
        assert!(said.out.ends_with("403") && said.out.contains("wardroom_refused"), "{said:?}");
    }
    assert!(!bound.asked().contains("planted"), "{}", bound.asked());
    assert!(bound.is_on_record(&["bound", "authorization"]), "{:?}", bound.records());
}

#[test]
fn s2_a_placeholder_anywhere_but_in_its_place_is_refused_and_never_replaced() {
    let Some(bound) = Bound::new("s2", "") else { return };
    let line = [
        format!("https://{OTHER}/hello -H \"x-api-key: $BOUND_API_KEY\""),
        format!("https://{HOST}/hello -H \"x-other: $BOUND_API_KEY\""),
        format!("\"https://{HOST}/hello?key=$BOUND_API_KEY\""),
        format!("https://{OTHER}/hello -d \"key=$BOUND_API_KEY\""),
        format!("https://{OTHER}/hello -u \"me:$BOUND_API_KEY\""),
    ]
    .map(|arguments| format!("curl -sS -o /dev/null -w '%{{http_code}} ' {arguments};"))
    .concat();
    let said = bound.sh(&format!("{line} echo $BOUND_API_KEY"));
    let mut words = said.out.split_whitespace().collect::<Vec<_>>();
    let placeholder = words.pop().unwrap();
    assert!(words.len() == 5 && words.iter().all(|status| *status == "403"), "{said:?}");
    let asked = bound.asked();
    assert!(!asked.contains(placeholder) && !asked.contains(&bound.real), "{asked}");
    for place in ["x-api-key", "x-other", "query", "body", "authorization"] {
        assert!(
            bound.is_on_record(&["misus", place]) || bound.is_on_record(&["placeholder", place]),
            "{:?}",
            bound.records()
        );
    }
}

#[test]
fn s3_what_a_server_reflects_is_masked() {
    let Some(bound) = Bound::new("s3", "") else { return };
    for more in ["", "--http1.1", "-H 'accept-encoding: gzip'"] {
        let said = bound.curl(&format!("-i --raw {more} https://{HOST}/reflect"));
        assert!(said.out.contains("x-api-key:") && said.out.contains("200"), "{said:?}");
        assert!(!said.out.contains("0123456789abcdef"), "{said:?}");
        assert!(!said.out.to_ascii_lowercase().contains("set-cookie"), "{said:?}");
    }
    assert!(bound.asked().contains(&bound.real));
    assert!(bound.is_on_record(&["mask"]), "{:?}", bound.records());
    let said = bound.curl(&format!("https://{HOST}/compressed"));
    assert!(said.out.ends_with("502"), "{said:?}");
}

#[test]
fn s4_beyond_its_limit_a_credential_is_answered_with_429_and_a_restart_gives_nothing_back() {
    let Some(bound) = Bound::new("s4", "limits = { requests_per_minute = 3 }") else { return };
    let ask = format!(
        "curl -sS -o /dev/null -w '%{{http_code}}:%header{{retry-after}} ' -H \"x-api-key: $BOUND_API_KEY\" https://{HOST}/hello;"
    );
    let said = bound.sh(&ask.repeat(2));
    assert_eq!(said.out.trim(), "200: 200:", "{said:?}");
    let said = bound.sh(&ask.repeat(3));
    let words: Vec<_> = said.out.split_whitespace().collect();
    assert!(words[0] == "200:" && words[1].starts_with("429:") && words[1].len() > 4, "{said:?}");
    assert!(bound.is_on_record(&["requests_per_minute"]), "{:?}", bound.records());
}

#[test]
fn s5_a_credential_that_leaves_the_policy_is_cut_from_an_open_stream_within_a_second() {
    let Some(bound) = Bound::new("s5", "") else { return };
    let line = format!(
        "(curl -sS -N -H \"x-api-key: $BOUND_API_KEY\" https://{HOST}/endless; echo $? > ended) | \
         while read -r line; do echo up > up; done; curl -sS -w '%{{http_code}}' -H \"x-api-key: $BOUND_API_KEY\" https://{HOST}/hello"
    );
    let run = bound.stage.start("scout", &line);
    until("the stream", || bound.stage.workspace().join("up").exists());
    let before = std::time::Instant::now();
    bound.stage.agent("scout", &bound.rules(""));
    until("the cut", || bound.stage.workspace().join("ended").exists());
    assert!(before.elapsed() < std::time::Duration::from_secs(3), "{:?}", before.elapsed());
    let said = Said::from(run.wait_with_output().unwrap());
    assert!(said.out.ends_with("403"), "the placeholder is bound nowhere now: {said:?}");
}

#[test]
fn s5a_without_its_broker_the_placeholder_is_not_forwarded_and_with_the_next_all_goes_on() {
    let Some(bound) = Bound::new("s5a", "") else { return };
    let line = format!(
        "ask() {{ curl -sS -o /dev/null -w '%{{http_code}} ' -H \"x-api-key: $BOUND_API_KEY\" https://{HOST}/hello; }}; \
         ask; echo up > up; until [ -e go ]; do ask; sleep 0.02; done; \
         for i in $(seq 100); do ask | grep 200 && break; sleep 0.1; done"
    );
    let run = bound.stage.start("scout", &line);
    until("the first request", || bound.stage.workspace().join("up").exists());
    let brokers = memory::roles(run.id(), "broker");
    assert_eq!(brokers.len(), 1);
    memory::kill(brokers[0]);
    let gone = || bound.is_on_record(&["the broker is gone"]);
    until("the record", gone);
    fs::write(bound.stage.workspace().join("go"), "").unwrap();
    let said = Said::from(run.wait_with_output().unwrap());
    let words: Vec<_> = said.out.split_whitespace().collect();
    assert!(words.first() == Some(&"200") && words.last() == Some(&"200"), "{said:?}");
    assert!(words.iter().all(|status| ["200", "503"].contains(status)), "{said:?}");
    let (asked, placeholder) = (bound.asked(), "x-api-key: sk-real-s5a");
    let keys = asked.lines().filter(|line| line.starts_with("x-api-key"));
    assert!(keys.clone().count() > 0 && keys.clone().all(|key| key.starts_with(placeholder)), "{asked}");
}

#[test]
fn s5a_not_one_request_fails_through_a_rotation() {
    let Some(bound) = Bound::new("s5a-rotation", "") else { return };
    let line = format!(
        "echo up > up; until [ -e go ]; do curl -sS -o /dev/null -w '%{{http_code}}\\n' \
         -H \"x-api-key: $BOUND_API_KEY\" https://{HOST}/hello; done"
    );
    let run = bound.stage.start("scout", &line);
    until("the start", || bound.asked().contains(&bound.real));
    let next = real("s5a-next");
    bound.set(&next);
    until("the next value", || bound.asked().contains(&next));
    fs::write(bound.stage.workspace().join("go"), "").unwrap();
    let said = Said::from(run.wait_with_output().unwrap());
    assert!(said.out.lines().count() > 2 && said.out.lines().all(|status| status == "200"), "{said:?}");
}

#[test]
fn s6_another_agent_s_placeholder_is_refused_and_seen_without_a_name() {
    let Some(bound) = Bound::new("s6", "") else { return };
    bound.stage.agent("other", &bound.rules(&bound.credential("")));
    let others = bound.stage.sh("other", "printf %s \"$BOUND_API_KEY\"").out;
    let mine = bound.sh("printf %s \"$BOUND_API_KEY\"").out;
    assert!(others.len() > 30 && others != mine, "{others} {mine}");
    let ask = format!("curl -sS -w '%{{http_code}}' -H 'x-api-key: {others}' https://{HOST}/hello");
    let said = bound.sh(&ask);
    assert!(said.out.ends_with("403"), "{said:?}");
    assert!(!bound.asked().contains(&others) && !bound.asked().contains("x-api-key"));
    let names: Vec<_> = bound.records();
    assert!(names.iter().any(|record| record.contains("x-api-key")), "{names:?}");
}

/// Signature Version 4 by its own words, with nothing of Wardroom's: reads a request as a server saw it, prints its signature.
const SIGNATURE: &str = r#"
import hashlib, hmac, sys, urllib.parse
secret, request = sys.argv[1], sys.stdin.read()
head, body = request.split("\n\n", 1)
lines = head.split("\n")
method, target, _ = lines[0].split(" ")
headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
given = dict(part.strip().split("=", 1) for part in headers["authorization"].split(" ", 1)[1].split(","))
_, date, region, service, end = given["Credential"].split("/")
path, _, query = target.partition("?")
query = "&".join(sorted(query.split("&"))) if query else ""
signed = given["SignedHeaders"].split(";")
digest = lambda text: hashlib.sha256(text.encode()).hexdigest()
canonical = "\n".join([method, urllib.parse.quote(path), query] + [f"{h}:{headers[h]}" for h in signed] + ["", ";".join(signed), digest(body)])
scope = f"{date}/{region}/{service}/{end}"
text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, digest(canonical)])
key = ("AWS4" + secret).encode()
for part in (date, region, service, end, text):
    key = hmac.new(key, part.encode(), hashlib.sha256).digest()
print(given["Credential"].split("/")[0], key.hex() == given["Signature"])
"#;

#[test]
fn an_aws_request_whose_body_has_no_digest_is_signed_again_and_the_server_accepts_it() {
    let Some(bound) = Bound::new("aws", "") else { return };
    let secret = "real/aws+secret0123456789abcdefghijklmno";
    bound.set(&format!("AKIAREALREALREALREAL {secret}"));
    let credential = format!(
        "[[credential]]\nenv = \"AWS_ACCESS_KEY_ID\"\nhost = \"{HOST}\"\nkind = \"aws-sigv4\"\n\
         source = {{ command = [\"/bin/cat\", {:?}] }}\n",
        bound.value_file()
    );
    bound.stage.agent("scout", &bound.rules(&credential));
    for arguments in ["-d '{\"a\": 1}'", "", "--http1.1 -d x=y -H 'content-type: application/x-amz-json-1.0'"]
    {
        let said = bound.sh(&format!(
            "curl -sS -w '%{{http_code}}' --aws-sigv4 aws:amz:eu-central-1:execute-api \
             -u \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" {arguments} 'https://{HOST}/hello?b=1&a=2'"
        ));
        assert!(said.out.ends_with("200"), "{said:?}");
        let seen = bound.server.seen.lock().unwrap().last().unwrap().clone();
        let mut python = std::process::Command::new("python3")
            .args(["-c", SIGNATURE, secret])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut python.stdin.take().unwrap(), seen.as_bytes()).unwrap();
        let said = Said::from(python.wait_with_output().unwrap());
        assert_eq!(said.out.trim(), "AKIAREALREALREALREAL True", "{said:?} {seen}");
    }
}

#[test]
fn s5_a_revoked_credential_is_cut_from_an_open_stream_within_a_second() {
    let Some(bound) = Bound::new("s5-revoked", "") else { return };
    let line = format!(
        "(curl -sS -N -H \"x-api-key: $BOUND_API_KEY\" https://{HOST}/endless; echo $? > ended) | \
         while read -r line; do echo up > up; done; curl -sS -w '%{{http_code}}' -H \"x-api-key: $BOUND_API_KEY\" https://{HOST}/hello"
    );
    let run = bound.stage.start("scout", &line);
    until("the stream", || bound.stage.workspace().join("up").exists());
    let revoked = bound.stage.call(&["credential", "revoke", "scout", "bound"]);
    assert_eq!(revoked.code, 0, "{revoked:?}");
    let before = std::time::Instant::now();
    until("the cut", || bound.stage.workspace().join("ended").exists());
    assert!(before.elapsed() < std::time::Duration::from_secs(3), "{:?}", before.elapsed());
    let said = Said::from(run.wait_with_output().unwrap());
    assert!(said.out.ends_with("503") && said.out.contains("wardroom_refused"), "{said:?}");
    assert!(bound.is_on_record(&["revoked"]), "{:?}", bound.records());
    // A command has no value in the store that could be set anew.
    let rotated = bound.stage.call(&["credential", "rotate", "scout", "bound"]);
    assert!(rotated.code == 215 && rotated.err.contains("rotate --restore scout bound"), "{rotated:?}");
    let restored = bound.stage.call(&["credential", "rotate", "scout", "bound", "--restore"]);
    assert_eq!(restored.code, 0, "{restored:?}");
    let list = bound.stage.call(&["credential", "list", "scout"]);
    assert!(!list.out.contains("revoked"), "{list:?}");
    assert!(bound.curl(&format!("https://{HOST}/hello")).out.ends_with("200"));
}
