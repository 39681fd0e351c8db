use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, proptest};
use wardroom_model::{Reason, Verdict};

use super::{denial, host, network, permit, program};
use crate::network::{PathPattern, RequestDecision, RequestLine, RequestPermit, TlsExpectation};
use crate::{NetworkPolicy, Policy};

const RULES: &str = r#"
[[network.allow]]
host = "api.example.com"
methods = ["GET", "POST"]
paths = ["/repos/acme/**", "/users/*"]

[[network.allow]]
host = "api.example.com"
methods = ["DELETE"]
paths = ["/repos/acme/old"]
apps = ["/usr/bin/gh"]

[[network.allow]]
host = "*.example.com"
apps = ["/usr/bin/curl"]

[[network.allow]]
host = "seen.example.net"
inspect = true

[[network.allow]]
host = "bound.example.net"

[[network.allow]]
host = "plain.example.net"

[[network.allow]]
host = "search.example.net"
paths = ["/find"]
keep_query = true

[[network.deny]]
host = "api.example.com"
ports = [8443]

[[credential]]
env = "API_KEY"
host = "bound.example.net"
header = "x-api-key"
"#;

fn refused(decision: RequestDecision) -> Verdict {
    match decision {
        RequestDecision::Permit(permit) => panic!("permitted: {permit:?}"),
        RequestDecision::Denial(verdict) => verdict,
    }
}

fn sent(decision: RequestDecision) -> RequestPermit {
    match decision {
        RequestDecision::Permit(permit) => permit,
        RequestDecision::Denial(verdict) => panic!("refused: {verdict}"),
    }
}

fn ask(network: &NetworkPolicy, name: &str, method: &str, path: &str) -> RequestDecision {
    network.decide_request(&host(name), 443, None, &RequestLine::new(method, path))
}

#[test]
fn a_request_needs_a_rule_for_its_method_and_its_path() {
    let network = network(RULES);
    let api = |method, path| ask(&network, "api.example.com", method, path);
    for path in ["/repos/acme", "/repos/acme/", "/repos/acme/x/y?q=1", "/users/me", "/a/../users/me"] {
        assert_eq!(sent(api("GET", path)).verdict().rule.as_ref().unwrap().line, 7, "{path}");
    }
    for path in
        ["/", "/repos", "/repos/acmes", "/users", "/users/", "/users/a/b", "/repos/acme/../x", "*", ""]
    {
        assert_eq!(refused(api("GET", path)).reason, Reason::PathNotNamed, "{path}");
    }
    sent(api("HEAD", "/users/me"));
    for method in ["PUT", "get", "DELETE"] {
        let verdict = refused(api(method, "/users/me"));
        let wanted =
            if method == "DELETE" { Reason::ProgramNotNamed } else { Reason::MethodNotNamed(method.into()) };
        assert!(
            verdict.reason == wanted || verdict.reason == Reason::MethodNotNamed(method.into()),
            "{verdict}"
        );
    }
}

#[test]
fn rules_for_one_host_add_up_by_program() {
    let network = network(RULES);
    let line = RequestLine::new("DELETE", "/repos/acme/old");
    let by =
        |path: &str| network.decide_request(&host("api.example.com"), 443, Some(&program(path, true)), &line);
    assert_eq!(sent(by("/usr/bin/gh")).verdict().rule.as_ref().unwrap().line, 12);
    assert_eq!(sent(by("/usr/bin/curl")).verdict().rule.as_ref().unwrap().line, 18);
    refused(by("/usr/bin/wget"));
}

#[test]
fn connect_and_trace_are_never_permitted() {
    let network = network(RULES);
    for method in ["CONNECT", "TRACE", "trace", "Track", "", "GET /", "G\u{e9}T", "GET\r"] {
        for name in ["seen.example.net", "bound.example.net", "plain.example.net"] {
            let verdict = refused(ask(&network, name, method, "/"));
            assert_eq!(verdict.reason, Reason::MethodNotNamed(method.into()));
        }
    }
    sent(ask(&network, "seen.example.net", "PROPFIND", "/a;b//c"));
}

#[test]
fn a_refusal_names_the_rule_that_came_nearest() {
    let network = network(RULES);
    let line = |verdict: Verdict| verdict.rule.map(|rule| rule.line);
    assert_eq!(line(refused(ask(&network, "api.example.com", "GET", "/x"))), Some(7));
    assert_eq!(line(refused(ask(&network, "elsewhere.net", "GET", "/"))), None);
    let at = |port| {
        network.decide_request(&host("api.example.com"), port, None, &RequestLine::new("GET", "/users/me"))
    };
    assert_eq!(refused(at(8443)).reason, Reason::RuleDenies);
    assert_eq!(refused(at(444)).reason, Reason::PortNotNamed(444));
}

#[test]
fn what_one_rule_looks_at_is_looked_at_for_all() {
    let network = network(RULES);
    let tls = |name, path| permit(network.decide(&host(name), 443, Some(&program(path, true)))).tls();
    assert_eq!(tls("api.example.com", "/usr/bin/curl"), TlsExpectation::Inspect);
    assert_eq!(tls("other.example.com", "/usr/bin/curl"), TlsExpectation::Name);
    for name in ["seen.example.net", "bound.example.net", "search.example.net"] {
        assert_eq!(tls(name, "/bin/x"), TlsExpectation::Inspect, "{name}");
    }
    assert_eq!(tls("plain.example.net", "/bin/x"), TlsExpectation::Name);
    let names: Vec<_> = network.inspected().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["api.example.com", "bound.example.net", "search.example.net", "seen.example.net"]);
    denial(network.decide(&host("other.example.com"), 443, None));
}

#[test]
fn query_values_are_masked_unless_the_rule_keeps_them() {
    let network = network(RULES);
    let line = RequestLine::new("GET", "/find?q=secret&token&&a=b=c&=x");
    assert_eq!(line.shown(false).to_string(), "/find?q=*&*&&a=*&=*");
    assert_eq!(line.shown(true).to_string(), "/find?q=secret&token&&a=b=c&=x");
    assert_eq!(line.path_and_query(), "/find?q=secret&token&&a=b=c&=x");
    assert!(sent(ask(&network, "search.example.net", "GET", "/find?q=1")).keep_query());
    assert!(!sent(ask(&network, "seen.example.net", "GET", "/find?q=1")).keep_query());
}

#[test]
fn paths_have_one_spelling() {
    let cases = [
        ("", "/"),
        ("/", "/"),
        ("/a/b/", "/a/b/"),
        ("/a/./b/../c", "/a/c"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/%61%2d%7E/x", "/a-~/x"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/@scope/a:b,c=d+e!$&'()*", "/@scope/a:b,c=d+e!$&'()*"),
    ];
    for (raw, wanted) in cases {
        let line = RequestLine::new("GET", raw);
        assert_eq!((line.path(), line.ambiguous()), (wanted, false), "{raw}");
    }
}

#[test]
fn what_servers_read_in_more_than_one_way_matches_no_pattern() {
    let network = network("[[network.allow]]\nhost = \"a.net\"\npaths = [\"/**\"]\n");
    for raw in [
        "//",
        "/a//b",
        "//a",
        "/a/..;/b",
        "/a;x=1",
        "/a%3bx",
        "/a\\b",
        "/a%5Cb",
        "/a%2fb",
        "/..%2fb",
        "/a%00",
        "/%",
        "/%2",
        "/%zz",
        "/%u002f",
        "/a%252e%252e/b",
        "/a%25",
        "/%c0%ae%c0%ae/b",
        "/%c0%af",
        "/%ff",
        "/a\0",
        "/a\tb",
        "/a b",
        "/caf\u{e9}",
        "/...",
        "/a/..%20/b",
        "/%2e%2e%2e/b",
        "/%e2%80%a5/b",
        "/%ef%bc%8f",
        "/a%0d%0a",
        "*",
        "a",
        "http://a.net/",
        "/a#b",
    ] {
        let line = RequestLine::new("GET", raw);
        assert!(line.ambiguous(), "{raw}");
        assert_eq!(line.path(), raw);
        let verdict = refused(network.decide_request(&host("a.net"), 443, None, &line));
        assert_eq!(verdict.reason, Reason::PathNotNamed, "{raw}");
    }
}

#[test]
fn patterns_are_written_as_paths_are_compared() {
    use crate::network::PatternError::{Ambiguous, Spelling, Star};
    let parse = PathPattern::parse;
    assert!(parse("/caf\u{e9}/a%20b").unwrap().matches("/caf%C3%A9/a%20b"));
    assert!(parse("/%2A").unwrap().matches("/%2A") && !parse("/%2A").unwrap().matches("/x"));
    assert_eq!(parse("/a/../b"), Err(Spelling("/b".into())));
    assert_eq!(parse("/%61%2a"), Err(Spelling("/a%2A".into())));
    assert_eq!(parse("/a*"), Err(Star));
    for wrong in ["a", "*", "**", "", "//", "/a//b", "/a;b", "/a?b", "/a%2fb", "/a b", "/a\\b", "/a#b"] {
        assert!(matches!(parse(wrong), Err(Ambiguous | Spelling(_))), "{wrong}");
    }
}

/// What servers make of a path: decoded once or twice (1), `\` for `/` (2), parameters cut (4), slashes merged (8), dots
/// resolved.
fn understood(raw: &str, flags: u8) -> String {
    let [twice, backslash, parameters, merge] = [1, 2, 4, 8].map(|bit| flags & bit != 0);
    let mut text = raw.as_bytes().to_vec();
    if parameters {
        text = cut_parameters(&text);
    }
    for _ in 0..=usize::from(twice) {
        text = decoded(&text);
        if parameters && twice {
            text = cut_parameters(&text);
        }
    }
    if backslash {
        text.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let text = text.split('\0').next().unwrap_or_default();
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<_> = text.strip_prefix('/').unwrap_or(text).split('/').collect();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        match *segment {
            "" if merge && !last => {}
            "." => kept.extend(last.then_some("")),
            ".." => {
                kept.pop();
                kept.extend(last.then_some(""));
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

fn cut_parameters(text: &[u8]) -> Vec<u8> {
    let segments =
        text.split(|b| *b == b'/').map(|part| part.split(|b| *b == b';').next().unwrap_or_default());
    segments.collect::<Vec<_>>().join(&b'/')
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    // Overlong forms of `.` and `/`, as old decoders read them.
    let out = replace(&out, &[0xc0, 0xae], b".");
    replace(&out, &[0xc0, 0xaf], b"/")
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        match rest.strip_prefix(from) {
            Some(tail) => {
                out.extend(to);
                rest = tail;
            }
            None => {
                out.push(rest[0]);
                rest = &rest[1..];
            }
        }
    }
    out
}

fn raw_paths() -> impl Strategy<Value = String> {
    let pieces = [
        "a", "b", "public", "admin", "/", "/", "/", "..", ".", "%2e", "%2E", "%2f", "%5c", "\\", ";x", ";",
        "//", "%00", "%252e", "%252f", "%25", "%c0%ae", "%c0%af", "%", "%2", "..;", "/../", "/public/",
        "%61", "\u{e9}", "%20",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..10)
        .prop_map(|parts| format!("/{}", parts.concat()))
}

fn patterns() -> impl Strategy<Value = String> {
    let parts = ["a", "b", "public", "admin", "*", "**"];
    prop::collection::vec(prop::sample::select(parts.to_vec()), 1..5)
        .prop_map(|parts| format!("/{}", parts.join("/")))
}

fn allowing(pattern: &str) -> NetworkPolicy {
    network(&format!("[[network.allow]]\nhost = \"a.net\"\npaths = [\"{pattern}\"]\n"))
}

proptest! {
    #[test]
    fn a_path_that_a_rule_permits_is_one_that_every_server_reads_as_such(raw in raw_paths(), pattern in patterns(), flags in 0..16_u8) {
        let decision = ask(&allowing(&pattern), "a.net", "GET", &raw);
        if let RequestDecision::Permit(_) = decision {
            let read = understood(&raw, flags);
            // What is sent is not the raw spelling, but the canonical one: it is read in the same way.
            let canonical = RequestLine::new("GET", &raw);
            prop_assert_eq!(&read, &understood(canonical.path(), flags));
            prop_assert!(PathPattern::parse(&pattern).unwrap().matches(&read), "{} is read as {}", raw, read);
        }
    }

    #[test]
    fn a_canonical_path_is_its_own_spelling(raw in raw_paths()) {
        let once = RequestLine::new("GET", &raw);
        prop_assert_eq!(&RequestLine::new("GET", &once.path_and_query()), &once);
    }

    #[test]
    fn any_bytes_are_read_and_never_panic(bytes in prop::collection::vec(0..=255_u8, 0..60), pattern in "[a/*%]{0,8}") {
        let text = String::from_utf8_lossy(&bytes);
        let line = RequestLine::new(&text, &text);
        prop_assert_eq!(line.ambiguous() && line.path() == "/", false);
        drop(line.shown(false));
        drop(PathPattern::parse(&pattern).map(|pattern| pattern.matches(line.path())));
    }

    #[test]
    fn a_pattern_covers_only_what_it_matches(one in patterns(), other in patterns(), raw in raw_paths()) {
        let (wide, narrow) = (PathPattern::parse(&one).unwrap(), PathPattern::parse(&other).unwrap());
        let line = RequestLine::new("GET", &raw);
        if !line.ambiguous() && wide.covers(&narrow) && narrow.matches(line.path()) {
            prop_assert!(wide.matches(line.path()));
        }
        prop_assert!(wide.covers(&wide));
    }
}

#[test]
fn rules_that_restrict_nothing_are_mistakes() {
    let rule = |rest: &str| format!("[[network.allow]]\nhost = \"a.example.com\"\n{rest}\n");
    let said = |rules: &[String]| {
        let text = format!("[agent]\nname = \"a\"\n[isolation]\nkind = \"cell\"\n{}", rules.concat());
        Policy::parse("x", &text).map(|_| ()).map_err(|errors| errors.lines().join("\n"))
    };
    let (get, post) = (rule("methods = [\"GET\"]"), rule("methods = [\"POST\"]"));
    assert_eq!(said(&[get.clone(), post]), Ok(()));
    let (below, beside) = (rule("paths = [\"/a/**\"]"), rule("paths = [\"/a/b\", \"/c\"]"));
    assert_eq!(said(&[below, beside.clone()]), Ok(()));
    let can_never_match = [
        [rule(""), get.clone()],
        [get.clone(), rule("methods = [\"GET\", \"HEAD\"]")],
        [rule("inspect = true"), beside.clone()],
        [rule("inspect = true"), rule("")],
    ];
    for rules in &can_never_match {
        assert!(said(rules).unwrap_err().contains("already decides"), "{rules:?}");
    }
    let wildcard = "[[network.allow]]\nhost = \"*.example.com\"\n";
    let restrict_nothing =
        [[get.clone(), rule("")], [get.clone(), wildcard.to_owned()], [rule("paths = [\"/c\"]"), beside]];
    for rules in &restrict_nothing {
        assert!(said(rules).unwrap_err().contains("restrict nothing"), "{rules:?}");
    }
    assert_eq!(said(&[get.clone(), format!("{wildcard}apps = [\"/usr/bin/gh\"]\n")]), Ok(()));
    let elsewhere = [get, rule("methods = [\"POST\"]\naddress = \"127.0.0.1:8443\"")];
    assert!(said(&elsewhere).unwrap_err().contains("different places"));
}
