//! S1a to S6 at the seam: what goes out, what is refused, what is on record.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use wardroom_model::Secret;
use wardroom_model::supply::Material;
use wardroom_scribe::Handoff;

use super::*;
use crate::placeholder::{Shape, make};

const REAL: &str = "sk-ant-real-0123456789abcdef";

struct Bench {
    credentials: Credentials,
    handoff: Arc<Handoff>,
    tag: Tag,
    placeholder: String,
    aws: String,
}

const POLICY: &str = r#"
[agent]
name = "scout"

[isolation]
kind = "cell"

[[network.allow]]
host = "api.example.com"

[[network.allow]]
host = "s3.example.com"

[[network.allow]]
host = "other.example.com"

[[credential]]
env    = "EXAMPLE_API_KEY"
host   = "api.example.com"
header = "x-api-key"
max_age = "30 days"
overdue = "refuse"

[[credential]]
env  = "AWS_ACCESS_KEY_ID"
host = "s3.example.com"
kind = "aws-sigv4"
"#;

impl Bench {
    fn new() -> Self {
        let tag = Tag::new(&[1; 32]);
        let host = HostName::parse("api.example.com").unwrap();
        let shape = Shape::of("EXAMPLE_API_KEY", &host, wardroom_policy::CredentialKind::Header);
        let (placeholder, aws) = (make(shape, &tag, &[2; 32]), make(Shape::AwsKeyId, &tag, &[3; 32]));
        let handoff = Arc::new(Handoff::in_memory());
        let recorder = Rc::new(Recorder::new(Arc::clone(&handoff)));
        let placeholders = vec![("example".to_owned(), placeholder.clone()), ("aws".to_owned(), aws.clone())];
        let credentials = Credentials::new(recorder, meter(), tag.as_str(), placeholders, &policy(POLICY));
        let bench = Self { credentials, handoff, tag, placeholder, aws };
        bench.supply(1, Material::Plain(Secret::new(REAL.as_bytes().to_vec())));
        bench.records();
        bench
    }

    fn supply(&self, version: u64, material: Material) {
        let (name, source) = ("example".to_owned(), "a test".to_owned());
        let host = HostName::parse("api.example.com").unwrap();
        self.credentials.take(Supply::Value {
            name,
            version,
            material,
            set_at: 0,
            expires: None,
            source,
            host,
        });
    }

    fn admit(&self, host: &str, head: &mut request::Parts) -> Result<Exchange, Refusal> {
        let host = HostName::parse(host).unwrap();
        self.credentials.admit(Asked { host: &host, port: 443, actor: None }, head)
    }

    /// A request to the bound host with the placeholder in its place.
    fn begun(&self) -> (Exchange, request::Parts) {
        let mut head = head("/v1/messages", &[("x-api-key", &self.placeholder)]);
        let exchange = self.admit("api.example.com", &mut head).unwrap();
        (exchange, head)
    }

    fn records(&self) -> Vec<CredentialNote> {
        let notes = self.handoff.taken().into_iter().filter_map(|event| {
            let Event::Credential(note) = event else { return None };
            Some(note)
        });
        notes.collect()
    }

    /// The one record of a refusal: whose, and what.
    fn seen(&self) -> (String, CredentialAct) {
        let mut notes = self.records();
        assert_eq!(notes.len(), 1, "{notes:?}");
        let note = notes.remove(0);
        assert!(note.verdict.is_some_and(|verdict| verdict.outcome == Outcome::Refused));
        (note.name, note.act)
    }
}

fn meter() -> Meter {
    Meter::new(crate::meter::Prices::built_in().unwrap(), None, Box::new(drop))
}

fn policy(text: &str) -> Policy {
    Policy::parse("scout.toml", text).unwrap()
}

fn head(target: &str, headers: &[(&str, &str)]) -> request::Parts {
    let request = Request::get(target).header("host", "api.example.com");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap().into_parts().0
}

fn misused(place: &str) -> CredentialAct {
    CredentialAct::Misused { place: place.to_owned() }
}

#[test]
fn the_real_value_takes_the_placeholder_s_seat_and_no_other() {
    let bench = Bench::new();
    let (mut exchange, mut head) = bench.begun();
    assert_eq!(exchange.credential(), Some("example"));
    assert!(!format!("{head:?}").contains(REAL), "not before it is sent");
    exchange.insert(&mut head).unwrap();
    assert_eq!(head.headers.get("x-api-key").unwrap(), REAL);
    assert_eq!(head.headers.get("accept-encoding").unwrap(), "identity");
    assert!(!format!("{head:?} {exchange:?} {:?}", bench.credentials).contains("real-01"), "nor shown");
    assert!(bench.records().is_empty());
}

#[test]
fn a_request_without_the_placeholder_goes_out_without_the_value() {
    let bench = Bench::new();
    let mut head = head("/v1/models", &[("accept-encoding", "gzip")]);
    let mut exchange = bench.admit("api.example.com", &mut head).unwrap();
    exchange.insert(&mut head).unwrap();
    assert_eq!((exchange.credential(), head.headers.get("x-api-key")), (None, None));
    assert_eq!(head.headers.get("accept-encoding").unwrap(), "identity", "its answer is masked as well");
}

#[test]
fn s1a_a_credential_of_the_agent_s_own_is_refused_where_one_is_bound_and_seen() {
    let bench = Bench::new();
    for (target, header, value, place) in [
        ("/", "x-api-key", "sk-planted", "x-api-key"),
        ("/", "authorization", "Bearer sk-planted", "authorization"),
        ("/", "cookie", "session=planted", "cookie"),
        ("/?api_key=planted", "accept", "*/*", "apikey"),
    ] {
        let mut head = head(target, &[(header, value)]);
        let refusal = bench.admit("api.example.com", &mut head).unwrap_err();
        assert_eq!(refusal.verdict.reason, Reason::OwnCredential(place.to_owned()));
        assert_eq!(refusal.verdict.rule.as_ref().map(|rule| rule.line), Some(18));
        let expected = CredentialAct::OwnCredential { place: place.to_owned() };
        assert_eq!(bench.seen(), ("example".to_owned(), expected));
    }
    let mut both = head("/", &[("x-api-key", &bench.placeholder), ("authorization", "Bearer planted")]);
    assert!(bench.admit("api.example.com", &mut both).is_err());
    let mut elsewhere = head("/", &[("authorization", "Bearer its-own")]);
    assert!(bench.admit("other.example.com", &mut elsewhere).is_ok(), "its own key where none is bound");
}

#[test]
fn s1a_one_in_a_trailer_is_refused_like_one_in_a_header() {
    let bench = Bench::new();
    let (exchange, _head) = bench.begun();
    let trailer = |name: &'static str, value: &str| {
        let mut trailers = http::HeaderMap::new();
        trailers.insert(name, value.parse().unwrap());
        trailers
    };
    for (name, value) in [("x-api-key", "own"), ("authorization", "Bearer own"), ("cookie", "a=own")] {
        let refusal = exchange.outgoing_trailers(&trailer(name, value)).unwrap_err();
        assert_eq!(refusal.verdict.reason, Reason::OwnCredential(name.to_owned()));
        let expected = CredentialAct::OwnCredential { place: name.to_owned() };
        assert_eq!(bench.seen(), ("example".to_owned(), expected));
    }
    assert!(exchange.outgoing_trailers(&trailer("grpc-status", "0")).is_ok());
    let elsewhere = bench.admit("other.example.com", &mut head("/", &[])).unwrap();
    assert!(elsewhere.outgoing_trailers(&trailer("x-api-key", "its own")).is_ok());
}

#[test]
fn s1a_cookies_of_a_bound_host_are_not_given_out() {
    let bench = Bench::new();
    let (mut exchange, mut head) = bench.begun();
    exchange.insert(&mut head).unwrap();
    let answer = Response::builder().header("set-cookie", "session=1").body(()).unwrap();
    let mut answer = answer.into_parts().0;
    exchange.answered(&mut answer).unwrap();
    assert!(answer.headers.is_empty());
}

#[test]
fn s2_a_placeholder_anywhere_but_in_its_place_is_refused_and_seen() {
    let bench = Bench::new();
    let p = bench.placeholder.as_str();
    let coded = format!("Basic {}", STANDARD.encode(format!("me:{p}")));
    let escaped: String = p.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let two = format!("{p}, {p}");
    for (host, target, header, value, place) in [
        ("other.example.com", "/", "x-api-key", p, "x-api-key"),
        ("other.example.com", "/", "authorization", coded.as_str(), "authorization"),
        ("api.example.com", "/", "x-other", p, "x-other"),
        ("api.example.com", "/", "authorization", coded.as_str(), "authorization"),
        ("api.example.com", "/", "x-api-key", two.as_str(), "x-api-key"),
        ("api.example.com", &format!("/?a={p}"), "accept", "*/*", "query"),
        ("api.example.com", &format!("/?a={escaped}"), "accept", "*/*", "query"),
        ("api.example.com", &format!("/x/{p}/y"), "accept", "*/*", "path"),
    ] {
        let mut head = head(target, &[(header, value)]);
        let refusal = bench.admit(host, &mut head).unwrap_err();
        assert_eq!(refusal.verdict.reason, Reason::CredentialMisused(place.to_owned()), "{host} {target}");
        assert_eq!(refusal.status, StatusCode::FORBIDDEN);
        assert_eq!(bench.seen(), ("example".to_owned(), misused(place)), "{host} {target} {header}");
    }
    let mut method = head("/", &[]);
    method.method = p.parse().unwrap();
    let refusal = bench.admit("other.example.com", &mut method).unwrap_err();
    assert_eq!(refusal.verdict.reason, Reason::CredentialMisused("method".to_owned()));
    assert_eq!(bench.seen(), ("example".to_owned(), misused("method")));
}

#[test]
fn s2_a_placeholder_in_a_body_is_refused_wherever_its_parts_end() {
    let bench = Bench::new();
    let body = format!("{{\"leak\":\"{}\"}}", bench.placeholder).into_bytes();
    for size in [1, 7, 20, body.len()] {
        let (mut exchange, _head) = bench.begun();
        let mut parts = body.chunks(size).map(Bytes::copy_from_slice);
        let refusal = parts.find_map(|part| exchange.outgoing(part).err()).unwrap();
        assert_eq!(refusal.verdict.reason, Reason::CredentialMisused("body".to_owned()), "parts of {size}");
        assert_eq!(bench.seen().1, misused("body"));
    }
}

#[test]
fn s2_a_placeholder_in_a_file_that_is_sent_as_base64_is_refused_by_its_name() {
    let bench = Bench::new();
    for before in ["", "K", "KE", "KEY=", "export KEY='"] {
        let file = STANDARD.encode(format!("{before}{}\n", bench.placeholder));
        let body = format!("{{\"message\":\"add\",\"content\":\"{file}\"}}");
        let (mut exchange, _head) = bench.begun();
        let refusal = exchange.outgoing(Bytes::from(body)).unwrap_err();
        assert_eq!(refusal.verdict.reason, Reason::CredentialMisused("body".to_owned()), "{before}");
        assert_eq!(bench.seen(), ("example".to_owned(), misused("body")), "{before}");
    }
}

#[test]
fn a_credential_that_a_policy_binds_to_another_host_goes_nowhere_until_it_is_supplied_for_that() {
    let bench = Bench::new();
    let other = POLICY.replace(
        "host   = \"api.example.com\"\nheader = \"x-api-key\"",
        "host   = \"other.example.com\"\nheader = \"x-api-key\"",
    );
    assert_ne!(other, POLICY);
    bench.credentials.replace(&policy(&other));
    let mut head = head("/v1/messages", &[("x-api-key", &bench.placeholder), ("host", "other.example.com")]);
    let refusal = bench.admit("other.example.com", &mut head).unwrap_err();
    assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
    let why = "what was supplied is for api.example.com".to_owned();
    assert_eq!(refusal.verdict.reason, Reason::CredentialUnavailable(why));
}

#[test]
fn s3_a_value_that_is_reflected_is_masked_in_head_body_and_trailers_and_seen_once() {
    let bench = Bench::new();
    let (mut exchange, mut request) = bench.begun();
    exchange.insert(&mut request).unwrap();
    let answer = Response::builder().header("location", format!("https://x/?k={REAL}"));
    let answer = answer.header(format!("x-{REAL}"), "1");
    let mut answer = answer.body(()).unwrap().into_parts().0;
    exchange.answered(&mut answer).unwrap();
    assert_eq!(answer.headers.len(), 1, "one whose name tells it is left out: {answer:?}");
    assert!(!answer.headers.get("location").unwrap().to_str().unwrap().contains("real"));
    let body = format!("data: {REAL}\n\n");
    let (one, two) = body.split_at(20);
    let mut out = exchange.incoming(Bytes::copy_from_slice(one.as_bytes())).unwrap().to_vec();
    out.extend(exchange.incoming(Bytes::copy_from_slice(two.as_bytes())).unwrap());
    out.extend(exchange.finish());
    let out = String::from_utf8(out).unwrap();
    assert!(!out.contains("real") && out.len() == body.len() && out.ends_with("\n\n"), "{out}");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-key", REAL.parse().unwrap());
    exchange.trailed(&mut trailers);
    assert_ne!(trailers.get("x-key").unwrap(), REAL);
    let notes = bench.records();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(notes[0].act, CredentialAct::Masked { place: "header name".to_owned() });
}

#[test]
fn s3_a_compressed_answer_that_was_not_asked_for_is_refused() {
    let bench = Bench::new();
    let (mut exchange, mut request) = bench.begun();
    exchange.insert(&mut request).unwrap();
    let answer =
        |coding| Response::builder().header("content-encoding", coding).body(()).unwrap().into_parts().0;
    let refusal = exchange.answered(&mut answer("gzip")).unwrap_err();
    assert_eq!(refusal.status, StatusCode::BAD_GATEWAY);
    assert!(exchange.answered(&mut answer("identity")).is_ok());
}

#[test]
fn s3_no_answer_comes_in_pieces_that_are_too_small_to_know_a_value_by() {
    let bench = Bench::new();
    let ranges = [("range", "bytes=0-3"), ("if-range", "\"tag\""), ("request-range", "bytes=0-3")];
    let mut asked = head("/last", &ranges);
    bench.admit("api.example.com", &mut asked).unwrap().insert(&mut asked).unwrap();
    assert!(ranges.iter().all(|(name, _)| !asked.headers.contains_key(*name)), "{:?}", asked.headers);
}

#[test]
fn s3_a_value_that_a_server_kept_is_masked_for_who_asks_without_it() {
    let bench = Bench::new();
    let mut asked = head("/last", &[]);
    let mut exchange = bench.admit("api.example.com", &mut asked).unwrap();
    exchange.insert(&mut asked).unwrap();
    let (_begun, mut with) = bench.begun();
    let (mut other, _) = bench.begun();
    other.insert(&mut with).unwrap();
    let real = with.headers.get("x-api-key").unwrap().as_bytes().to_vec();
    let mut out = exchange.incoming(real.clone().into()).unwrap().to_vec();
    out.extend(exchange.finish());
    assert_eq!(out.len(), real.len());
    assert_ne!(out, real);
    let coded = Response::builder().header("transfer-encoding", "gzip, chunked").body(()).unwrap();
    assert!(exchange.answered(&mut coded.into_parts().0).is_err(), "compressed on the way");
}

/// What becomes of these bytes in an answer.
fn answer(exchange: &mut Exchange, bytes: &[u8]) -> Vec<u8> {
    let out = exchange.incoming(Bytes::copy_from_slice(bytes)).unwrap();
    [out, exchange.finish()].concat()
}

#[test]
fn s3_every_value_there_has_been_is_masked_whatever_became_of_it() {
    let bench = Bench::new();
    let asks = || bench.admit("api.example.com", &mut head("/last", &[])).unwrap();
    let (mut open, _) = bench.begun();
    bench.credentials.orphan("the broker is gone");
    assert_ne!(answer(&mut asks(), REAL.as_bytes()), REAL.as_bytes());
    let next = b"sk-next-0123456789";
    bench.supply(2, Material::Plain(Secret::new(next.to_vec())));
    assert_ne!(answer(&mut open, next), next, "what was open before it was supplied");
    bench.credentials.take(Supply::Revoked { name: "example".to_owned() });
    bench.credentials.replace(&policy("[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\n"));
    for value in [REAL.as_bytes(), next] {
        assert_ne!(answer(&mut asks(), value), value);
    }
    let elsewhere = bench.admit("other.example.com", &mut head("/", &[]));
    assert_eq!(answer(&mut elsewhere.unwrap(), next), next, "which has never been sent it");
}

#[test]
fn s5_a_revocation_ends_what_is_open_and_refuses_what_comes() {
    let bench = Bench::new();
    let (exchange, _head) = bench.begun();
    let mut endings = bench.credentials.endings();
    assert!(!exchange.ended());
    bench.supply(2, Material::Plain(Secret::new(b"sk-next".to_vec())));
    assert!(!exchange.ended(), "a rotation ends nothing");
    endings.mark_unchanged();
    bench.credentials.take(Supply::Revoked { name: "example".to_owned() });
    assert!(endings.has_changed().unwrap() && exchange.ended());
    let mut next = head("/", &[("x-api-key", &bench.placeholder)]);
    let refusal = bench.admit("api.example.com", &mut next).unwrap_err();
    assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refusal.verdict.reason, Reason::CredentialUnavailable("it was revoked".to_owned()));
}

#[test]
fn s5_a_credential_that_leaves_the_policy_ends_what_is_open_with_it() {
    let bench = Bench::new();
    let (exchange, _head) = bench.begun();
    bench.credentials.replace(&policy(POLICY));
    assert!(!exchange.ended(), "the same policy");
    let mut endings = bench.credentials.endings();
    bench.credentials.replace(&policy("[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\n"));
    assert!(endings.borrow_and_update().eq(&()) && exchange.ended());
}

#[test]
fn s5a_without_a_broker_the_placeholder_is_never_forwarded() {
    let bench = Bench::new();
    let (mut begun, mut head_begun) = bench.begun();
    bench.credentials.orphan("the broker is gone");
    assert_eq!(bench.records()[0].act, CredentialAct::Unavailable { why: "the broker is gone".to_owned() });
    let mut next = head("/", &[("x-api-key", &bench.placeholder)]);
    assert!(bench.admit("api.example.com", &mut next).is_err());
    begun.insert(&mut head_begun).unwrap();
    assert_eq!(head_begun.headers.get("x-api-key").unwrap(), REAL, "what had begun goes on");
    bench.supply(1, Material::Plain(Secret::new(REAL.as_bytes().to_vec())));
    assert!(bench.admit("api.example.com", &mut next).is_ok(), "and again with the next broker");
}

#[test]
fn s5a_not_one_request_fails_through_a_rotation() {
    let bench = Bench::new();
    for version in 2..50 {
        let (mut old, mut old_head) = bench.begun();
        bench.supply(version, Material::Plain(Secret::new(format!("sk-{version}").into_bytes())));
        let (mut new, mut new_head) = bench.begun();
        old.insert(&mut old_head).unwrap();
        new.insert(&mut new_head).unwrap();
        assert_ne!(old_head.headers.get("x-api-key"), new_head.headers.get("x-api-key"));
    }
}

#[test]
fn s6_another_agent_s_placeholder_is_refused_and_seen_without_a_name() {
    let bench = Bench::new();
    for other in [
        make(
            Shape::of("K", &HostName::parse("a.b").unwrap(), wardroom_policy::CredentialKind::Bearer),
            &bench.tag,
            &[9; 32],
        ),
        make(Shape::AwsKeyId, &bench.tag, &[9; 32]),
    ] {
        let mut head = head("/", &[("x-api-key", &other)]);
        let refusal = bench.admit("api.example.com", &mut head).unwrap_err();
        assert_eq!(refusal.verdict.reason, Reason::CredentialMisused("x-api-key".to_owned()));
        assert_eq!(bench.seen(), (String::new(), misused("x-api-key")));
    }
}

#[test]
fn an_aws_request_is_signed_again_and_a_presigned_one_is_refused() {
    let bench = Bench::new();
    let material = Material::Aws {
        access_key_id: "AKIAREALREALREALREAL".to_owned(),
        secret_access_key: Secret::new(b"real-secret-key".to_vec()),
        session_token: None,
    };
    let (name, source) = ("aws".to_owned(), "a test".to_owned());
    let host = HostName::parse("s3.example.com").unwrap();
    bench.credentials.take(Supply::Value {
        name,
        version: 1,
        material,
        set_at: 0,
        expires: None,
        source,
        host,
    });
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/20261122/eu-central-1/s3/aws4_request, \
         SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=00",
        bench.aws
    );
    let mut signed = head(
        "/bucket/key",
        &[
            ("authorization", &authorization),
            ("x-amz-date", "20261122T120000Z"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ],
    );
    let mut exchange = bench.admit("s3.example.com", &mut signed).unwrap();
    assert!(!exchange.needs_digest(&signed));
    exchange.insert(&mut signed).unwrap();
    let sent = signed.headers.get("authorization").unwrap().to_str().unwrap();
    assert!(sent.contains("Credential=AKIAREALREALREALREAL/20261122/eu-central-1/s3/"), "{sent}");
    assert!(!sent.ends_with("Signature=00"), "{sent}");
    let mut presigned = head(&format!("/b/k?X-Amz-Credential={}%2F20261122", bench.aws), &[]);
    assert!(bench.admit("s3.example.com", &mut presigned).is_err());
}

#[test]
fn without_a_tag_a_bound_host_is_not_served() {
    let recorder = Rc::new(Recorder::new(Arc::new(Handoff::in_memory())));
    let credentials = Credentials::new(recorder, meter(), "", Vec::new(), &policy(POLICY));
    let host = HostName::parse("api.example.com").unwrap();
    let asked = Asked { host: &host, port: 443, actor: None };
    assert!(credentials.admit(asked, &mut head("/", &[])).is_err());
}
