use crate::{Policy, Retention};

const MINIMAL: &str = "[agent]\nname = \"scout\"\n\n[isolation]\nkind = \"cell\"\n";

/// The policy of the design document.
const DESIGN: &str = r#"
[agent]
name    = "scout"
role    = "Triages incoming issues"
owner   = "ops@example.com"
command = ["claude"]
hours   = { days = "Mon-Fri", from = "08:00", to = "18:00", zone = "Europe/Berlin", outside = "alert" }

[isolation]
kind   = "cell"                 # or "vm"
memory = "4 GiB"
cpus   = 2.0
tasks  = 512

[files]
workspace = "~/work/triage"     # read-write, seen as /workspace
read_only = ["~/reference"]     # seen as /reference

[[network.allow]]
host = "api.anthropic.com"      # port 443 unless said otherwise

[[network.allow]]
host    = "api.github.com"
methods = ["GET", "POST"]       # methods or paths make the gate open TLS and look
paths   = ["/repos/acme/**"]
apps    = ["/usr/bin/gh"]

[[credential]]
env     = "ANTHROPIC_API_KEY"   # the agent sees a placeholder
host    = "api.anthropic.com"
header  = "x-api-key"
max_age = "30 days"
limits  = { requests_per_minute = 60, tokens_per_day = 2_000_000, usd_per_day = 20 }
"#;

fn with(rest: &str) -> String {
    format!("{MINIMAL}{rest}")
}

/// The short messages of a policy that must not parse.
fn mistakes(text: &str) -> Vec<String> {
    match Policy::parse("scout.toml", text) {
        Ok(policy) => panic!("this parsed: {text}\n{policy:?}"),
        Err(errors) => errors.lines(),
    }
}

fn one_mistake(rest: &str) -> String {
    let found = mistakes(&with(rest));
    assert_eq!(found.len(), 1, "{rest}: {found:#?}");
    found.into_iter().next().unwrap()
}

#[test]
fn the_design_s_policy_parses_and_says_what_is_not_yet_done() {
    let policy =
        Policy::parse("scout.toml", DESIGN).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    assert_eq!(policy.name().as_str(), "scout");
    assert_eq!(policy.isolation().memory, Some(4 << 30));
    assert_eq!(policy.retention(), Retention::Forever);
    let unsupported: Vec<_> =
        policy.unsupported().iter().map(|item| format!("{}: {}", item.at, item.what)).collect();
    assert_eq!(
        unsupported,
        [
            "scout.toml:7: working hours",
            "scout.toml:23: looking inside TLS (`methods`, `paths`, `inspect`)",
            "scout.toml:29: the credential ANTHROPIC_API_KEY",
        ]
    );
}
