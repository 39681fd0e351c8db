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
fn why_answers_for_hosts_addresses_and_paths() {
    let text = format!(
        "{}\n[[network.allow]]\nhost = \"git.net\"\nports = [22]\nprotocol = \"tcp\"\napps = [\"/usr/bin/ssh\"]\n\
         [[network.allow]]\naddress = \"192.0.2.7:9000\"\n[[network.deny]]\nhost = \"bad.net\"\n",
        template("claude-code", &scout()).unwrap()
    );
    let policy = parse(&text);
    let cases = [
        ("api.anthropic.com", "allowed", "api.anthropic.com resolves inside. Port 443 is permitted, by TLS"),
        ("https://api.anthropic.com/v1", "allowed", "api.anthropic.com:443 is permitted"),
        ("evil.example", "refused", "no rule permits it. To permit it: wardroom allow scout evil.example"),
        ("evil.example:8443", "refused", "To permit it: wardroom allow scout evil.example --port 8443"),
        ("bad.net", "refused", "a rule denies it. Denial wins"),
        ("git.net:22", "allowed", "permitted to /usr/bin/ssh, and refused to every other program"),
        ("192.0.2.7:9000", "allowed", "The literal address 192.0.2.7:9000 is permitted"),
        ("192.0.2.7", "allowed", "Every other port of this address is refused"),
        ("169.254.169.254", "refused", "an address that no rule names"),
        ("[::1]:80", "refused", "an address that no rule names"),
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
        let answer = why(&policy, subject);
        let said = answer.to_string().replace('\n', " ");
        assert_eq!(answer.verdict().outcome.word(), outcome, "{subject}: {said}");
        assert!(said.contains(wanted), "{subject}: {said}");
    }
    assert!(why(&policy, "bad.net").verdict().rule.as_ref().is_some_and(|rule| {
        text.lines().nth(usize::try_from(rule.line).unwrap() - 1).unwrap().contains("bad.net")
    }));
}
