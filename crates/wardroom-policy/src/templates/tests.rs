use std::path::{Path, PathBuf};

use wardroom_model::AgentName;

use super::{TEMPLATES, here_policy, template, template_at};
use crate::plan::Resolved;
use crate::plan::tests::host;
use crate::{Decision, Policy, explain, plan, why};

fn scout() -> AgentName {
    AgentName::parse("scout").unwrap()
}

fn parse(text: &str) -> Policy {
    Policy::parse("scout.toml", text).unwrap_or_else(|errors| panic!("{}\n{text}", errors.render(false)))
}

#[test]
fn every_template_parses_plans_and_explains_itself() {
    for name in TEMPLATES {
        let policy = parse(&template(name, &scout()).unwrap());
        assert_eq!(policy.name(), &scout());
        assert_eq!(policy.unsupported(), [], "{name}");
        assert!(policy.agent().command.is_some(), "{name}");
        plan(&policy, &host()).unwrap();
        assert!(explain(&policy).len() > 5, "{name}");
    }
    assert_eq!(template("other", &scout()), None);
    let elsewhere = parse(&template_at("shell", &scout(), "/srv/AGENT \"b\"").unwrap());
    assert_eq!(elsewhere.files().workspace.as_ref().unwrap().path, "/srv/AGENT \"b\"");
}

#[test]
fn the_policy_of_a_first_try_is_what_its_arguments_say() {
    let hosts = ["api.example.com".to_owned(), "git.example.com:22".to_owned()];
    let command = ["claude".to_owned(), "-p \"x\"\n'''".to_owned()];
    let workspace = "/srv/a \"b\" \\c";
    let policy = parse(&here_policy(&scout(), Path::new(workspace), &hosts, &command).unwrap());
    assert_eq!(policy.agent().command.as_deref(), Some(&command[..]));
    assert_eq!(policy.files().workspace.as_ref().unwrap().path, workspace);
    let mut facts = host();
    facts.resolved.insert(PathBuf::from(workspace), Resolved::Directory(PathBuf::from(workspace)));
    plan(&policy, &facts).unwrap();
    let name = wardroom_model::HostName::parse("api.example.com").unwrap();
    assert!(matches!(policy.network().decide(&name, 443, None), Decision::Permit(_)));
    for (workspace, host) in [("/", "a.net"), ("/srv/a", "*.com"), ("/srv/a", "a.net\"\nx=1")] {
        assert!(here_policy(&scout(), Path::new(workspace), &[host.to_owned()], &[]).is_err());
    }
}

#[test]
fn what_run_here_saves_does_not_ask_to_be_saved() {
    let text = here_policy(&scout(), Path::new("/srv/a"), &[], &["true".to_owned()]).unwrap();
    assert!(text.starts_with("# Made by `wardroom run --here`.\n[agent]\n"), "{text}");
    assert!(!text.contains("--save"), "{text}");
}

#[test]
fn a_policy_is_explained_in_sentences() {
    let said = explain(&parse(&template("claude-code", &scout()).unwrap())).join("\n");
    for wanted in [
        "Agent `scout`: Writes and reviews code; nobody is named to answer for it.",
        "It runs \"claude\".",
        "It has at most 8 GiB of memory, 2048 tasks (by control group; without one it does not start).",
        "It reads and writes ~/work/scout, seen as /workspace (scout.toml:",
        "It reaches api.anthropic.com by TLS on port 443 (scout.toml:",
        "It reaches nothing else, neither by name nor by address, and has at most 256 connections open at once.",
    ] {
        assert!(said.contains(wanted), "{wanted}\nnot in\n{said}");
    }
}

#[test]
fn a_shared_directory_is_explained_with_its_place_inside() {
    let text =
        "[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\n[files]\nread_only = [\"~/a/reference\"]\n";
    let said = explain(&parse(text)).join("\n");
    assert!(said.contains("It only reads ~/a/reference, seen as /reference (scout.toml:"), "{said}");
}

#[test]
fn why_answers_for_hosts_addresses_and_paths() {
    let text = format!(
        "{}\n[[network.allow]]\nhost = \"git.net\"\nports = [22]\nprotocol = \"tcp\"\napps = [\"/usr/bin/ssh\"]\n\
         [[network.allow]]\naddress = \"192.0.2.7:9000\"\n[[network.deny]]\nhost = \"bad.net\"\n",
        template("claude-code", &scout()).unwrap()
    );
    let policy = parse(&text);
    let cases = [
        ("api.anthropic.com", "allowed", "api.anthropic.com resolves inside. Port 443 is permitted, by TLS"),
        ("https://api.anthropic.com/v1", "allowed", "https://api.anthropic.com/v1 is permitted, unseen"),
        ("evil.example", "refused", "no rule permits it. To permit it: wardroom allow scout evil.example"),
        ("evil.example:8443", "refused", "To permit it: wardroom allow scout evil.example --port 8443"),
        ("bad.net", "refused", "a rule denies it (scout.toml:"),
        ("localhost:8080", "refused", "Inside a cell it is the cell itself"),
        ("git.net:22", "allowed", "permitted to /usr/bin/ssh, and refused to every other program"),
        ("192.0.2.7:9000", "allowed", "The literal address 192.0.2.7:9000 is permitted"),
        ("192.0.2.7", "allowed", "Every other port of this address is refused"),
        ("169.254.169.254", "refused", "an address that no rule names"),
        ("[::1]:80", "seen", "[::1]:80 inside is the cell's own"),
        ("::1", "seen", "::1 inside is the cell's own"),
        (
            "127.0.0.1:8080",
            "seen",
            "reach each other there, and nothing outside. A service of this machine needs a name",
        ),
        ("api.anthropic.com:0", "refused", "is no host name, address or path"),
        ("192.0.2.7:0", "refused", "is no host name, address or path"),
        ("0x7f.1", "refused", "is no host name, address or path"),
        (
            "/workspace/src/main.rs",
            "allowed",
            "is your ~/work/scout/src/main.rs: the agent may read and write it",
        ),
        ("~/work/scout/x", "allowed", "is seen inside as /workspace/x"),
        (
            "~/.ssh/id_rsa",
            "refused",
            "does not exist inside: no rule under `[files]` gives it. It is sensitive (SSH keys",
        ),
        ("/home/op/.ssh/id_rsa", "refused", "It is sensitive (SSH keys"),
        ("/etc/shadow", "refused", "does not exist inside"),
        ("/usr/bin/ls", "allowed", "the agent may read it and run it, not write"),
        ("/usr/../etc/shadow", "refused", "does not exist inside"),
        ("/etc/passwd", "allowed", "is made for the cell"),
        ("/home/agent/x", "allowed", "the agent's own home"),
        ("/run/lock", "allowed", "memory of the cell's own"),
        ("/run/docker.sock", "refused", "control of the host's containers"),
        ("/sys/kernel", "refused", "does not exist inside"),
    ];
    for (subject, outcome, wanted) in cases {
        let answer = why(&policy, subject, "GET");
        let said = answer.to_string().replace('\n', " ");
        assert_eq!(answer.verdict().outcome.word(), outcome, "{subject}: {said}");
        assert!(said.contains(wanted), "{subject}: {said}");
    }
    assert!(why(&policy, "bad.net", "GET").verdict().rule.as_ref().is_some_and(|rule| {
        text.lines().nth(usize::try_from(rule.line).unwrap() - 1).unwrap().contains("bad.net")
    }));
}

const REQUESTS: &str = r#"
[agent]
name = "scout"
[isolation]
kind = "cell"

[[network.allow]]
host = "api.net"
methods = ["GET", "POST"]
paths = ["/repos/acme/**"]

[[network.allow]]
host = "api.net"
methods = ["DELETE"]
paths = ["/repos/acme/old"]
apps = ["/usr/bin/gh"]

[[network.allow]]
host = "plain.net"

[[network.allow]]
host = "aws.net"

[[network.deny]]
host = "*.bad.net"

[[credential]]
env = "AWS_ACCESS_KEY_ID"
host = "aws.net"
kind = "aws-sigv4"
service = "s3"
source = { command = ["/usr/bin/pass", "show", "aws"], timeout = "5 seconds", every = "1 hour" }
overdue = "refuse"
max_age = "7 days"
limits = { requests_per_minute = 60, bytes_per_day = "1 GiB", usd_per_day = 2.5 }
"#;

#[test]
fn a_request_is_answered_by_the_rules_that_decide_it() {
    let policy = Policy::parse("scout.toml", REQUESTS).unwrap();
    let cases = [
        (
            "https://api.net/repos/acme/x?q=1",
            "POST",
            "allowed",
            "POST https://api.net/repos/acme/x is permitted, as a request (",
        ),
        ("https://api.net/x/../repos/acme", "GET", "allowed", "https://api.net/repos/acme is permitted"),
        (
            "https://api.net/repos/acme/old",
            "DELETE",
            "allowed",
            "is permitted to /usr/bin/gh, as a request (",
        ),
        (
            "https://api.net/users",
            "GET",
            "refused",
            "no rule permits this path with this method (scout.toml:8). This rule comes nearest, and is for GET and POST \
             requests for /repos/acme/**. To permit it: wardroom allow scout api.net --method GET --path /users",
        ),
        (
            "https://api.net/repos/acme/%2e%2e%2fx",
            "GET",
            "refused",
            "Servers read this path in more than one way",
        ),
        ("https://api.net/repos/**", "GET", "refused", "(scout.toml:8)."),
        ("https://api.net:8443/x", "GET", "refused", "port 8443"),
        ("https://plain.net/x", "TRACE", "allowed", "is permitted, unseen: no rule looks inside TLS there ("),
        ("https://aws.net/x", "TRACE", "refused", "no rule permits TRACE on this host"),
        ("https://a.bad.net/x", "GET", "refused", "Denial wins"),
        ("https://other.net/x", "GET", "refused", "wardroom allow scout other.net --method GET --path /x"),
        (
            "aws.net",
            "GET",
            "allowed",
            "by TLS with this name, request by request: every request (scout.toml:22)",
        ),
        ("https://api.net", "GET", "allowed", "request by request: GET and POST requests for /repos/acme/**"),
    ];
    for (subject, method, outcome, wanted) in cases {
        let answer = why(&policy, subject, method);
        let said = answer.to_string().replace('\n', " ");
        assert_eq!(answer.verdict().outcome.word(), outcome, "{subject}: {said}");
        assert!(said.contains(wanted), "{subject}: {said}");
    }
}

#[test]
fn requests_and_credentials_are_said_in_sentences() {
    let policy = Policy::parse("scout.toml", REQUESTS).unwrap();
    let said = explain(&policy);
    for wanted in [
        "It reaches api.net by TLS on port 443; the gate opens TLS, permits GET and POST requests for /repos/acme/** there, and \
         records each (scout.toml:8).",
        "It reaches aws.net by TLS on port 443; for aws.net, which has a credential, the gate opens TLS and records every \
         request (scout.toml:22).",
        "It sees a placeholder in AWS_ACCESS_KEY_ID; the real value, `aws`, goes to aws.net alone, as an AWS signature, never \
         itself (scout.toml:28).",
        "The value of `aws` comes from the output of \"/usr/bin/pass\" \"show\" \"aws\", which has 5 seconds, again every 1 hour.",
        "`aws` signs only for s3 in any region.",
        "With `aws` it may use at most 60 requests a minute, 1 GiB a day, 2.5 US dollars a day.",
        "`aws` is due for rotation after 7 days; it is refused when that is overdue.",
    ] {
        assert!(said.iter().any(|sentence| sentence == wanted), "{wanted}\nis not in {said:#?}");
    }
}

/// The credential block that a template offers, taken out of its comments.
fn offered(text: &str) -> String {
    let (before, block) = text.split_once("# [[credential]]").unwrap();
    let lines = block.lines().take_while(|line| line.is_empty() || line.starts_with('#'));
    let lines: Vec<_> = lines.map(|line| line.trim_start_matches("# ")).collect();
    format!("{before}[[credential]]{}", lines.join("\n"))
}

#[test]
fn the_credentials_that_templates_offer_are_valid_as_they_stand() {
    for (name, credential) in [("claude-code", "anthropic"), ("codex", "openai")] {
        let policy = parse(&offered(&template(name, &scout()).unwrap()));
        assert_eq!(policy.credentials()[0].name, credential);
        assert_eq!(policy.unsupported(), []);
    }
}
