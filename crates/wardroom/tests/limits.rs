//! Limits of a credential end to end: what a model's API says it used is on record and counted, and what goes beyond a limit is
//! refused, in this run of the agent and in the next. The server is the test's own.

#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod common;
#[path = "common/https.rs"]
mod https;

use std::fs;

use common::Stage;

const HOST: &str = "api.model.example";

/// A stage with a server that answers as a model's API, and a credential with these limits. None, said aloud, without curl.
fn limited(test: &str, limits: &str) -> Option<(Stage, https::Server)> {
    let stage = Stage::new();
    let root = stage.base().join("site");
    fs::create_dir(&root).unwrap();
    let server = https::start(HOST, root);
    let rules = format!(
        "[[network.allow]]\nhost = \"{HOST}\"\ninspect = true\naddress = \"{}\"\nca = \"\"\"\n{}\"\"\"\n\n\
         [[credential]]\nenv = \"MODEL_API_KEY\"\nhost = \"{HOST}\"\nheader = \"x-api-key\"\n\
         source = {{ command = [\"/bin/echo\", \"sk-real-limits\"] }}\nlimits = {{ {limits} }}\n",
        server.address, server.authority
    );
    stage.agent("scout", &rules);
    if stage.sh("scout", "command -v curl").code != 0 {
        eprintln!("SKIPPED: {test}: no curl here");
        return None;
    }
    Some((stage, server))
}

/// One request with room for 500 tokens out; prints the answer and its status.
fn ask(more: &str) -> String {
    format!(
        "curl -sS -w ' %{{http_code}}\\n' {more} -H \"x-api-key: $MODEL_API_KEY\" -H 'content-type: application/json' \
         -d '{{\"max_tokens\":500,\"messages\":[],\"model\":\"claude-sonnet-4-5\"}}' https://{HOST}/v1/messages; "
    )
}

#[test]
fn s4_tokens_are_counted_and_refused_at_the_limit_in_this_run_and_the_next() {
    let Some((stage, server)) = limited("s4_tokens", "tokens_per_day = 1200, usd_per_day = 1.0") else {
        return;
    };
    // The server says 100 in and 300 out.
    let said = stage.sh("scout", &(ask("") + &ask("") + &ask("-i")));
    let statuses: Vec<_> = said.out.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert!(statuses.starts_with(&["200", "200"]) && statuses.ends_with(&["429"]), "{said:?}");
    let refusal = said.out.to_ascii_lowercase();
    assert!(refusal.contains("retry-after: ") && refusal.contains("\"reset\":"), "{said:?}");
    assert!(refusal.contains("tokens_per_day, 800 of 1200 used"), "{said:?}");
    let again = stage.sh("scout", &ask(""));
    assert!(again.out.trim_end().ends_with(" 429"), "another start gives nothing back: {again:?}");
    assert_eq!(server.seen.lock().unwrap().len(), 2, "no refused request arrived whole");
    let usage = stage.call(&["credential", "usage", "scout", "--json"]);
    assert!(usage.out.contains("\"used\":800.0") && usage.out.contains("\"of\":1200.0"), "{usage:?}");
    // 2 * (100 * $3 + 300 * $15) / 10^6
    assert!(usage.out.contains("\"used\":0.0096"), "{usage:?}");
    let records = format!("{:?}", stage.records("scout", &["--kind", "http"]));
    assert!(records.contains("claude-sonnet-4-5") && records.contains("300"), "{records}");
    let log = stage.call(&["log", "scout", "--kind", "credential"]);
    assert!(
        log.out.contains("a request does not fit what is left, 800 of 1200 tokens_per_day used"),
        "{log:?}"
    );
}

#[test]
fn requests_beyond_the_minute_are_told_when_to_come_again() {
    let Some((stage, _server)) = limited("requests_beyond_the_minute", "requests_per_minute = 3") else {
        return;
    };
    let said = stage.sh("scout", &ask("").repeat(4));
    let statuses: Vec<_> = said.out.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(statuses, ["200", "200", "200", "429"], "{said:?}");
    let again = stage.sh("scout", &ask(""));
    assert!(again.out.contains("requests_per_minute, 3 of 3 used"), "{again:?}");
}

#[test]
fn damaged_counters_refuse_what_is_limited_and_say_so() {
    let Some((stage, server)) = limited("damaged_counters", "tokens_per_day = 1200") else { return };
    let counters = stage.base().join("state/scout/counters");
    let mut bytes = fs::read(&counters).unwrap();
    bytes.iter_mut().for_each(|byte| *byte = 0x5a);
    fs::write(&counters, bytes).unwrap();
    let said = stage.sh("scout", &ask(""));
    assert!(said.out.trim_end().ends_with(" 503"), "{said:?}");
    assert!(said.out.contains("limits cannot be counted"), "{said:?}");
    assert!(server.seen.lock().unwrap().is_empty());
    let usage = stage.call(&["credential", "usage", "scout"]);
    assert!(usage.code != 0 && usage.err.contains("remove the file"), "{usage:?}");
}
