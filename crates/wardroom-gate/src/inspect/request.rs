//! What a request asks for, read before anything is decided: one host, one method, one path.
//!
//! A request that names another host than its connection, or that two servers could read differently, ends here.

use http::header::{CONNECTION, HOST, UPGRADE};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, request};
use wardroom_model::{Captured, HostName, Outcome, Reason, Verdict};
use wardroom_policy::RequestLine;

use crate::credential::Refusal;

/// The port that a name without one means (RFC 9110, 4.2.2).
const HTTPS: u16 = 443;
/// Names of the header by which some servers take another method than the one in the request line.
pub(crate) const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
/// Names of headers by which some frameworks take another path than the one in the request line.
const OTHER_PATHS: [&str; 3] = ["x-original-url", "x-rewrite-url", "x-http-path-override"];
/// Names of headers by which servers behind a proxy take another host than the one in `Host`. An agent is no proxy.
const OTHER_HOSTS: [&str; 5] =
    ["forwarded", "x-forwarded-host", "x-forwarded-server", "x-host", "x-http-host-override"];
/// The longest foreign host name that is kept for the record.
const NAME_BOUND: usize = 256;

/// The longest method that is read. Of those that are registered the longest, UPDATEREDIRECTREF, has 17 bytes.
const METHOD_BOUND: usize = 64;

/// A request as it will be decided.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) line: RequestLine,
    /// The same with the method of an override header. Both must be permitted.
    pub(super) overridden: Option<RequestLine>,
    /// It asks for a WebSocket.
    pub(super) upgrade: bool,
}

/// The line alone, for a record of whatever came.
pub(super) fn line(head: &request::Parts) -> RequestLine {
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    // A method is made of ASCII.
    let method = head.method.as_str();
    RequestLine::new(method.get(..METHOD_BOUND).unwrap_or(method), target)
}

/// Reads a head; an error is a refusal that is yet to be recorded.
pub(super) fn read(head: &request::Parts, host: &HostName, port: u16) -> Result<Asking, Refusal> {
    if head.method == Method::CONNECT {
        return Err(refused(StatusCode::FORBIDDEN, Reason::MethodNotNamed("CONNECT".to_owned())));
    }
    if head.method.as_str().len() > METHOD_BOUND {
        return Err(malformed("a method of more than 64 bytes"));
    }
    names(head, host, port)?;
    unredirected(&head.headers)?;
    let line = line(head);
    if !line.path().starts_with('/') {
        return Err(malformed("a target that is no path"));
    }
    let mut overrides = named(&head.headers, &OVERRIDES);
    let overridden = match (overrides.next(), overrides.next()) {
        (None, _) => None,
        (Some(method), None) => {
            let method = method.to_str().ok().filter(|method| method.len() <= METHOD_BOUND);
            let method = method.ok_or_else(|| malformed("a method override that is no method"))?;
            let target = head.uri.path_and_query().map_or("", |target| target.as_str());
            Some(RequestLine::new(method, target))
        }
        (Some(_), Some(_)) => return Err(malformed("several method overrides")),
    };
    Ok(Asking { line, overridden, upgrade: upgrade(head)? })
}

/// Whether a header asks for another method than the line does.
pub(super) fn is_overridden(head: &request::Parts) -> bool {
    named(&head.headers, &OVERRIDES).next().is_some()
}

/// The values of all headers of these names. Gateway interfaces after CGI (RFC 3875, 4.1.18) cannot tell `_` from `-`.
fn named<'a>(headers: &'a HeaderMap, names: &'a [&str]) -> impl Iterator<Item = &'a HeaderValue> {
    let is = |name: &HeaderName| names.iter().any(|one| name.as_str().replace('_', "-") == *one);
    headers.iter().filter_map(move |(name, value)| is(name).then_some(value))
}

/// No header may lead to another place than the one that is decided: a path that no rule was asked about, or a host that
/// the connection is not for.
fn unredirected(headers: &HeaderMap) -> Result<(), Refusal> {
    if named(headers, &OTHER_PATHS).next().is_some() {
        return Err(malformed("a header that names another path"));
    }
    if named(headers, &OTHER_HOSTS).next().is_some() {
        return Err(malformed("a header of proxies that names a host"));
    }
    Ok(())
}

/// Every name that a request gives its host must be the connection's, and there must be one.
fn names(head: &request::Parts, host: &HostName, port: u16) -> Result<(), Refusal> {
    if head.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS) {
        return Err(malformed("a target with another scheme than https"));
    }
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut headers = head.headers.get_all(HOST).iter().map(|value| value.as_bytes());
    let (first, second) = (headers.next(), headers.next());
    if second.is_some() {
        return Err(malformed("several Host headers"));
    }
    if authority.is_none() && first.is_none() {
        return Err(malformed("no host"));
    }
    for name in authority.into_iter().chain(first) {
        if !is(name, host, port) {
            let other = Reason::OtherHost(Captured::cut(name, NAME_BOUND));
            return Err(refused(StatusCode::MISDIRECTED_REQUEST, other));
        }
    }
    Ok(())
}

/// Whether these bytes are the host, with its port where it is not the usual one.
fn is(name: &[u8], host: &HostName, port: u16) -> bool {
    let (name, said) = match name.iter().position(|b| *b == b':') {
        Some(colon) => (name.get(..colon), name.get(colon + 1..).and_then(number)),
        None => (Some(name), Some(HTTPS)),
    };
    said == Some(port) && name.is_some_and(|name| name.eq_ignore_ascii_case(host.as_str().as_bytes()))
}

/// A port as digits, and nothing but digits.
fn number(digits: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    text.parse().ok()
}

/// Whether it asks for a WebSocket; every other upgrade is refused: nobody decides what comes after it.
fn upgrade(head: &request::Parts) -> Result<bool, Refusal> {
    let mut wanted = head.headers.get_all(UPGRADE).iter();
    let (first, second) = (wanted.next(), wanted.next());
    let Some(first) = first else { return Ok(false) };
    let websocket = second.is_none()
        && first.as_bytes().eq_ignore_ascii_case(b"websocket")
        && head.version == Version::HTTP_11
        && head.method == Method::GET
        && listed(&head.headers, "upgrade");
    if websocket { Ok(true) } else { Err(malformed("an upgrade to something else than a WebSocket")) }
}

/// Whether `Connection` lists this option.
pub(super) fn listed(headers: &HeaderMap, option: &str) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(option))
}

fn malformed(what: &str) -> Refusal {
    refused(StatusCode::BAD_REQUEST, Reason::Malformed(what.to_owned()))
}

pub(super) fn refused(status: StatusCode, reason: Reason) -> Refusal {
    let verdict = Box::new(Verdict { outcome: Outcome::Refused, reason, rule: None });
    Refusal { verdict, status, retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn head(build: request::Builder) -> request::Parts {
        build.body(()).unwrap().into_parts().0
    }

    fn host() -> HostName {
        HostName::parse("api.example.com").unwrap()
    }

    #[test]
    fn n12_only_the_connection_s_own_host_and_port_pass() {
        let own = [("api.example.com", 443), ("API.example.COM:443", 443), ("api.example.com:8443", 8443)];
        for (name, port) in own {
            assert!(is(name.as_bytes(), &host(), port), "{name}");
        }
        let other = [
            ("evil.example", 443),
            ("api.example.com.", 443),
            ("api.example.com:80", 443),
            ("api.example.com", 8443),
            ("api.example.com:", 443),
            ("api.example.com:+443", 443),
            ("user@api.example.com", 443),
            ("api.example.com:443@evil.example", 443),
            ("api.example.com evil.example", 443),
            ("", 443),
        ];
        for (name, port) in other {
            assert!(!is(name.as_bytes(), &host(), port), "{name}");
        }
    }

    #[test]
    fn n12_a_target_and_a_host_header_must_both_be_the_host() {
        let target = |uri: &str| Request::get(uri).header(HOST, "api.example.com");
        let read =
            |build| read(&head(build), &host(), 443).map(|asking| asking.line).map_err(|r| r.verdict.reason);
        assert_eq!(read(target("/a")).unwrap().path(), "/a");
        assert_eq!(read(target("https://api.example.com/a")).unwrap().path(), "/a");
        let foreign = Reason::OtherHost(Captured::from("evil.example"));
        assert_eq!(read(target("https://evil.example/a")), Err(foreign.clone()));
        assert_eq!(
            read(Request::get("https://api.example.com/a").header(HOST, "evil.example")),
            Err(foreign)
        );
        assert!(matches!(read(target("http://api.example.com/a")), Err(Reason::Malformed(_))));
        assert!(matches!(read(Request::get("/a")), Err(Reason::Malformed(_))));
        assert!(matches!(read(target("/a").header(HOST, "api.example.com")), Err(Reason::Malformed(_))));
        assert!(matches!(read(target("*").method("OPTIONS")), Err(Reason::Malformed(_))));
    }

    #[test]
    fn n13_no_upgrade_but_a_websocket_by_get() {
        let ask = |method: &str, to: &str| {
            let build = Request::builder().method(method).uri("/").header(HOST, "api.example.com");
            upgrade(&head(build.header(UPGRADE, to).header(CONNECTION, "keep-alive, Upgrade")))
        };
        assert!(ask("GET", "websocket").unwrap());
        assert!(ask("GET", "WebSocket").unwrap());
        for (method, to) in
            [("GET", "h2c"), ("POST", "websocket"), ("GET", "websocket, h2c"), ("GET", "TLS/1.0")]
        {
            assert!(ask(method, to).is_err(), "{method} {to}");
        }
    }

    #[test]
    fn a_method_is_of_a_length_that_methods_have_in_the_decision_and_on_record() {
        let of = |length: usize| {
            let method = "M".repeat(length);
            head(Request::builder().method(method.as_str()).uri("/a").header(HOST, "api.example.com"))
        };
        assert_eq!(read(&of(64), &host(), 443).unwrap().line.method().len(), 64);
        let refusal = read(&of(30_000), &host(), 443).unwrap_err();
        assert!(matches!(refusal.verdict.reason, Reason::Malformed(_)));
        assert_eq!(line(&of(30_000)).method().len(), 64);
        let mut overriding = head(Request::post("/a").header(HOST, "api.example.com"));
        overriding.headers.insert("x-http-method", "M".repeat(65).parse().unwrap());
        assert!(read(&overriding, &host(), 443).is_err());
    }

    #[test]
    fn n14a_a_method_override_is_read_as_a_request_of_its_own() {
        let build = || Request::post("/a").header(HOST, "api.example.com");
        let asking = read(&head(build().header("X-HTTP-Method-Override", "DELETE")), &host(), 443).unwrap();
        assert_eq!(asking.overridden.unwrap().method(), "DELETE");
        let below = read(&head(build().header("X_HTTP_Method_Override", "DELETE")), &host(), 443).unwrap();
        assert_eq!(below.overridden.unwrap().method(), "DELETE", "the same to a server that speaks CGI");
        let twice = build().header("X-HTTP-Method-Override", "GET").header("X-Method-Override", "DELETE");
        assert!(read(&head(twice), &host(), 443).is_err());
    }

    #[test]
    fn n14a_no_header_leads_to_a_path_or_a_host_that_was_not_decided() {
        for (name, value) in [
            ("X-Original-URL", "/admin"),
            ("X_Rewrite_URL", "/admin"),
            ("X-Forwarded-Host", "tenant.example"),
            ("Forwarded", "for=192.0.2.1;host=tenant.example"),
        ] {
            let head = head(Request::get("/a").header(HOST, "api.example.com").header(name, value));
            assert!(read(&head, &host(), 443).is_err(), "{name}");
        }
        let plain = head(Request::get("/a").header(HOST, "api.example.com").header("X-Forwarded-For", "::1"));
        assert!(read(&plain, &host(), 443).is_ok());
    }
}
