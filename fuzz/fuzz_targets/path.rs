//! Whatever stands behind a host's name: a path that a rule permits lies where the rule says, in every spelling.
#![no_main]

use std::sync::LazyLock;

use wardroom_model::HostName;
use wardroom_policy::{Policy, RequestDecision, RequestLine};

const POLICY: &str = r#"
[agent]
name = "scout"
command = ["/bin/true"]

[isolation]
kind = "cell"

[files]
workspace = "/srv/work"

[[network.allow]]
host = "api.example.com"
methods = ["GET"]
paths = ["/public/**", "/one/*/two"]
"#;

static READ: LazyLock<(Policy, HostName)> = LazyLock::new(|| {
    let policy = Policy::parse("agent.toml", POLICY).unwrap_or_else(|e| panic!("{e}"));
    (policy, HostName::parse("api.example.com").expect("a name"))
});

libfuzzer_sys::fuzz_target!(|target: &str| {
    let (policy, host) = &*READ;
    let line = RequestLine::new("GET", target);
    let permitted = matches!(policy.network().decide_request(host, 443, None, &line), RequestDecision::Permit(_));
    let path = line.path();
    if !line.ambiguous() {
        let again = RequestLine::new("GET", path);
        assert!(!again.ambiguous() && again.path() == path, "{path:?} is not its own canonical form");
        assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path:?}");
    }
    if permitted {
        assert!(!line.ambiguous(), "{path:?} is ambiguous and permitted");
        assert!(path.starts_with("/public") || path.starts_with("/one/"), "{path:?} was permitted");
        let decoded = path.replace("%2E", ".").replace("%2F", "/").replace("%5C", "/");
        assert!(!decoded.contains("/../"), "{path:?} leads out");
    }
    // What is shown of a query never has a value in it.
    drop(line.shown(false));
});
