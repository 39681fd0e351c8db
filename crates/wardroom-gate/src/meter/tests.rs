//! The meter as a whole: requests and answers as their APIs send them, races at a limit, days and restarts.

use std::cell::{Cell, RefCell};
use std::fs::File;

use http::response;
use wardroom_model::Reason;

use super::*;

thread_local! {
    static NOW: Cell<Now> = const { Cell::new(Now { wall: 0, boot: 0 }) };
}

/// Noon of a day.
const NOON: u64 = 20_000 * 86_400 + 43_200;

fn set(wall: u64) {
    NOW.set(Now { wall: wall * 1_000, boot: NOW.get().boot });
}

fn pass(seconds: u64) {
    let Now { wall, boot } = NOW.get();
    NOW.set(Now { wall: wall + seconds * 1_000, boot: boot + seconds * 1_000 });
}

const NO_LIMITS: CredentialLimits = CredentialLimits {
    requests_per_minute: None,
    bytes_per_day: None,
    tokens_per_day: None,
    usd_per_day: None,
};

struct Bench {
    file: File,
    limits: CredentialLimits,
    notes: Rc<RefCell<Vec<CredentialAct>>>,
    meter: Meter,
}

impl Bench {
    fn new(limits: CredentialLimits) -> Self {
        set(NOON);
        let file = tempfile::tempfile().unwrap();
        Counters::format(&file).unwrap();
        Self::on(file, limits)
    }

    fn on(file: File, limits: CredentialLimits) -> Self {
        let notes = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&notes);
        let counters = Counters::open(&file).unwrap();
        let tell = Box::new(move |note: CredentialNote| told.borrow_mut().push(note.act));
        let meter =
            Meter::with_clock(Prices::built_in().unwrap(), Some(counters), tell, || NOW.with(Cell::get));
        meter.put_in_force([("anthropic".to_owned(), limits)], Vec::new());
        Self { file, limits, notes, meter }
    }

    /// As after a start of the gate.
    fn again(self) -> Self {
        let Self { file, limits, meter, .. } = self;
        drop(meter);
        Self::on(file, limits)
    }

    fn ask(&self, length: Option<u64>) -> Result<Reservation, NoRoom> {
        self.meter.reserve(Ask {
            credential: Some("anthropic"),
            host: &HostName::parse("api.anthropic.com").unwrap(),
            method: "POST",
            path: "/v1/messages",
            length,
            plain: true,
        })
    }

    fn used(&self) -> Amount {
        Counters::open(&self.file)
            .unwrap()
            .look("anthropic")
            .unwrap()
            .map(|account| account.used)
            .unwrap_or_default()
    }
}

fn head(kind: &str, status: u16) -> response::Parts {
    let response = http::Response::builder().status(status).header("content-type", kind).body(()).unwrap();
    response.into_parts().0
}

fn request(max_tokens: u64) -> Vec<u8> {
    format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"model":"claude-sonnet-4-5","max_tokens":{max_tokens}}}"#)
        .into_bytes()
}

const ANSWER: &[u8] = br#"{"id":"m","model":"claude-sonnet-4-5-20250929","content":[{"type":"text","text":"{\"usage\":1}"}],
    "usage":{"input_tokens":10,"cache_creation_input_tokens":200,"cache_read_input_tokens":3000,"output_tokens":40}}"#;

#[test]
fn an_answer_settles_what_was_reserved() {
    let bench =
        Bench::new(CredentialLimits { tokens_per_day: Some(100_000), usd_per_day: Some(1.0), ..NO_LIMITS });
    let body = request(1_000);
    let mut one = bench.ask(Some(u64::try_from(body.len()).unwrap())).unwrap();
    one.observe_request(&body).unwrap();
    assert!(bench.used().tokens >= 1_000);
    one.answered(&head("application/json", 200));
    one.observe(ANSWER).unwrap();
    let usage = one.settle(true).unwrap();
    assert_eq!(usage.model, "claude-sonnet-4-5-20250929");
    assert_eq!((usage.input, usage.output, usage.cached, usage.assumed), (210, 40, 3_000, false));
    // 10 at $3, 200 at $3.75, 3000 at $0.30, 40 at $15.
    assert_eq!(usage.micro_usd, Some(30 + 750 + 900 + 600));
    assert_eq!(bench.used().tokens, 3_250);
    assert_eq!(bench.used().micro_usd, 2_280);
}

fn body_length(body: &[u8]) -> Option<u64> {
    u64::try_from(body.len()).ok()
}

/// Asks, sends its body whole, and is answered.
fn sent(bench: &Bench, body: &[u8], kind: &str, status: u16) -> Result<Reservation, NoRoom> {
    let mut reservation = bench.ask(body_length(body))?;
    reservation.observe_request(body)?;
    reservation.answered(&head(kind, status));
    Ok(reservation)
}

const STREAM: &str = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-sonnet-4-5\",\
    \"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":7,\"output_tokens\":1}}}\r\n\r\n\
    : ping\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"hello\"}}\n\n\
    data: {\"type\":\"message_delta\",\ndata: \"usage\":{\"output_tokens\":15}}\n\nevent: message_stop\ndata: {}\n\n";

#[test]
fn a_stream_says_the_same_wherever_its_parts_end() {
    let bench = Bench::new(CredentialLimits { tokens_per_day: Some(1_000_000), ..NO_LIMITS });
    let (stream, body) = (STREAM.as_bytes(), request(100));
    for border in 0..=stream.len() {
        let mut one = sent(&bench, &body, "text/event-stream; charset=utf-8", 200).unwrap();
        let (first, second) = stream.split_at(border);
        one.observe(first).unwrap();
        one.observe(second).unwrap();
        let usage = one.settle(true).unwrap();
        let said = (usage.input, usage.output, usage.cached, usage.assumed);
        assert_eq!(said, (25, 15, 7, false), "parts end at {border}");
    }
}

#[test]
fn a_request_says_the_same_wherever_its_parts_end() {
    let bench = Bench::new(CredentialLimits { tokens_per_day: Some(1_000_000), ..NO_LIMITS });
    let body = request(777);
    for border in 0..=body.len() {
        let before = bench.used().tokens;
        let mut one = bench.ask(None).unwrap();
        let (first, second) = body.split_at(border);
        one.observe_request(first).unwrap();
        one.observe_request(second).unwrap();
        let estimate = 777 + body_length(&body).unwrap().div_ceil(4);
        assert_eq!(bench.used().tokens - before, estimate, "parts end at {border}");
        one.answered(&head("application/json", 500));
        assert_eq!(one.settle(true), None, "a failure of the server's costs nothing");
        assert_eq!(bench.used().tokens, before);
    }
}

#[test]
fn s5b_what_is_missing_or_cut_off_counts_as_the_worst() {
    let limits = CredentialLimits { tokens_per_day: Some(10_000_000), ..NO_LIMITS };
    let body = request(500);
    let worst_input = body_length(&body).unwrap();
    type Case = (&'static str, &'static [u8], bool, (u64, u64));
    let answers: [Case; 5] = [
        ("no usage", b"{}", true, (worst_input, 500)),
        ("no JSON", b"hello", true, (worst_input, 500)),
        ("cut off", br#"{"usage":{"input_tokens":3,"output_tokens":2}"#, false, (3, 500)),
        ("ended too early", br#"{"usage":{"input_tokens":3,"output_tokens":2}"#, true, (3, 500)),
        ("more than was asked for", br#"{"usage":{"output_tokens":900},"x":"#, false, (worst_input, 900)),
    ];
    for (what, answer, complete, expected) in answers {
        let bench = Bench::new(limits);
        let mut one = sent(&bench, &body, "application/json", 200).unwrap();
        one.observe(answer).unwrap();
        let usage = one.settle(complete).unwrap();
        assert_eq!(((usage.input, usage.output), usage.assumed), (expected, true), "{what}");
        assert_eq!(bench.used().tokens, expected.0 + expected.1, "{what}");
    }
    let bench = Bench::new(limits);
    let mut stream = sent(&bench, &body, "text/event-stream", 200).unwrap();
    stream.observe(&STREAM.as_bytes()[..300]).unwrap();
    drop(stream);
    assert_eq!(bench.used().tokens, 25 + 7 + 500, "a stream that was dropped after its first event");
}

#[test]
fn what_two_readers_could_read_differently_is_reserved_in_full() {
    let limits = CredentialLimits { tokens_per_day: Some(10_000_000), ..NO_LIMITS };
    let all = 64_000;
    let bodies = [
        (r#"{"model":"claude-sonnet-4-5","max_tokens":1,"max_tokens":900}"#, 900),
        (r#"{"model":"claude-sonnet-4-5","max_tokens":900,"MAX_TOKENS":1}"#, 900),
        (r#"{"model":"claude-sonnet-4-5","max\u005ftokens":900,"max_tokens":1}"#, 900),
        (r#"{"model":"claude-sonnet-4-5","max_tokens":1,"max_tokens":"900"}"#, all),
        (r#"{"model":"claude-sonnet-4-5","max_tokens":[1]}"#, all),
        (r#"{"model":"claude-sonnet-4-5","max_tokens":-1}"#, all),
        (r#"{"model":"claude-sonnet-4-5","max_tokens":null}"#, all),
        (r#"{"model":"claude-sonnet-4-5","metadata":{"max_tokens":1}}"#, all),
        (r#"{"model":"claude-sonnet-4-5"}"#, all),
        (r#"{"model":"claude-sonnet-4-5","max_tokens":1,}"#, 128_000),
        (r#"{"model":"claude-haiku-4-5","model":"claude-opus-4-1","max_tokens":1}"#, 1),
        (r#"{"model":"claude-sonnet-4-5","max_tokens":1}{}"#, 128_000),
        ("\u{1f}\u{8b}compressed", 128_000),
    ];
    for (body, output) in bodies {
        let bench = Bench::new(limits);
        let mut one = bench.ask(None).unwrap();
        one.observe_request(body.as_bytes()).unwrap();
        let input = u64::try_from(body.len()).unwrap().div_ceil(4);
        assert_eq!(bench.used().tokens, input + output, "{body}");
    }
}

#[test]
fn s4_a_race_at_the_limit_stops_at_the_limit() {
    let limits = CredentialLimits { tokens_per_day: Some(10_000), ..NO_LIMITS };
    let bench = Bench::new(limits);
    let body = request(900);
    let mut open = Vec::new();
    let refused = loop {
        match sent(&bench, &body, "application/json", 200) {
            Ok(reservation) => open.push(reservation),
            Err(none) => break none,
        }
        assert!(bench.used().tokens <= 10_000);
    };
    assert_eq!(open.len(), 10);
    // In flight alone: there may be room again at once.
    assert_eq!((refused.status().as_u16(), refused.retry_after()), (429, Some(5)));
    assert!(bench.notes.borrow().is_empty());
    let exact: &[u8] = br#"{"usage":{"input_tokens":200,"output_tokens":800}}"#;
    for mut one in open {
        one.observe(exact).unwrap();
        assert!(!one.settle(true).unwrap().assumed);
    }
    assert_eq!(bench.used().tokens, 10_000);
    let refused = sent(&bench, &body, "application/json", 200).unwrap_err();
    let ends = NOON + 43_200;
    assert_eq!((refused.retry_after(), refused.reset()), (Some(43_200), Some(("tokens_per_day", ends))));
    let limit = "tokens_per_day".to_owned();
    let near = CredentialAct::LimitNear { limit: limit.clone(), used: 8_000, of: 10_000 };
    let reached = CredentialAct::LimitReached { limit, of: 10_000, until: ends };
    assert_eq!(*bench.notes.borrow(), [near, reached], "each is said once");
}

#[test]
fn a_request_that_is_refused_is_refused_before_its_last_byte() {
    let bench = Bench::new(CredentialLimits { tokens_per_day: Some(500), ..NO_LIMITS });
    let body = request(1_000);
    let (all_but_one, last) = body.split_at(body.len() - 1);
    let mut one = bench.ask(None).unwrap();
    one.observe_request(all_but_one).unwrap();
    let refused = one.observe_request(last).unwrap_err();
    assert_eq!(refused.status().as_u16(), 429);
    assert!(refused.reason().to_string().contains("tokens_per_day"), "{}", refused.reason());
    assert_eq!(one.settle(false), None);
    assert_eq!(bench.used().tokens, 0, "it was never sent whole");
}

#[test]
fn s4_starting_again_gives_nothing_back() {
    let limits = CredentialLimits {
        requests_per_minute: Some(3),
        bytes_per_day: Some(100_000),
        tokens_per_day: Some(2_000),
        usd_per_day: Some(1.0),
    };
    let mut bench = Bench::new(limits);
    let body = request(500);
    for _ in 0..3 {
        drop(sent(&bench, &body, "application/json", 200).unwrap());
        bench = bench.again();
    }
    let before = bench.used();
    assert_eq!(bench.ask(None).unwrap_err().reset().unwrap().0, "requests_per_minute");
    pass(61);
    let mut one = bench.ask(None).unwrap();
    let refused = one.observe_request(&body).unwrap_err();
    assert_eq!(refused.reset().unwrap().0, "tokens_per_day");
    drop(one);
    assert_eq!(bench.used().tokens, before.tokens);
    set(NOON - 86_400);
    let bench = bench.again();
    pass(61);
    let mut one = bench.ask(None).unwrap();
    assert!(one.observe_request(&body).is_err(), "a clock that is set back gives nothing");
    drop(one);
    set(NOON + 43_200);
    let bench = bench.again();
    sent(&bench, &body, "application/json", 200).unwrap();
    assert!(bench.used().tokens < before.tokens, "a new day begins with nothing used");
}

#[test]
fn a_request_over_midnight_counts_on_the_day_that_reserved_it() {
    let limits = CredentialLimits { tokens_per_day: Some(2_000), bytes_per_day: Some(100_000), ..NO_LIMITS };
    let bench = Bench::new(limits);
    let body = request(1_000);
    let mut one = sent(&bench, &body, "text/event-stream", 200).unwrap();
    one.observe(&[b' '; 100]).unwrap();
    set(NOON + 50_000);
    one.observe(&[b' '; 50]).unwrap();
    one.observe(&[b' '; 25]).unwrap();
    assert_eq!((bench.used().bytes, bench.used().tokens), (75, 0));
    drop(one);
    let used = bench.used();
    let beyond = body_length(&body).unwrap() - body_length(&body).unwrap().div_ceil(4);
    assert_eq!((used.bytes, used.tokens), (75, beyond), "what was used beyond the reservation counts today");
}

#[test]
fn bytes_are_counted_both_ways_and_cut_off_at_the_limit() {
    let bench = Bench::new(CredentialLimits { bytes_per_day: Some(1_000), ..NO_LIMITS });
    assert!(bench.ask(Some(1_001)).is_err());
    let mut one = bench.ask(Some(400)).unwrap();
    one.observe_request(&[b' '; 400]).unwrap();
    assert_eq!(bench.used().bytes, 400);
    one.observe(&[0; 600]).unwrap();
    assert_eq!(one.observe(&[0; 1]).unwrap_err().reset().unwrap().0, "bytes_per_day");
    drop(one);
    assert_eq!(bench.ask(None).unwrap_err().status().as_u16(), 429);
}

#[test]
fn a_model_without_a_price_counts_as_the_dearest() {
    let bench = Bench::new(CredentialLimits { usd_per_day: Some(100.0), ..NO_LIMITS });
    let body = br#"{"model":"claude-nova-7","max_tokens":1000}"#;
    let mut one = sent(&bench, body, "application/json", 200).unwrap();
    one.observe(br#"{"model":"claude-nova-7","usage":{"input_tokens":1000,"output_tokens":1000}}"#).unwrap();
    let usage = one.settle(true).unwrap();
    // $15 and $75 for a million, the highest of the vendor's.
    assert_eq!((usage.micro_usd, usage.assumed), (Some(90_000), true));
    assert_eq!(bench.used().micro_usd, 90_000);
}

#[test]
fn what_cannot_be_counted_is_refused_where_a_limit_hangs_on_it() {
    set(NOON);
    let limits = CredentialLimits { tokens_per_day: Some(1_000), ..NO_LIMITS };
    let host = HostName::parse("api.anthropic.com").unwrap();
    let ask = |path| Ask {
        credential: Some("anthropic"),
        host: &host,
        method: "POST",
        path,
        length: None,
        plain: true,
    };
    let bench = Bench::new(limits);
    let batches = bench.meter.reserve(ask("/v1/messages/batches")).unwrap_err();
    assert_eq!((batches.status().as_u16(), batches.retry_after()), (403, None));
    assert!(bench.meter.reserve(ask("/v1/messages/count_tokens")).is_ok());
    let get = Ask { method: "GET", ..ask("/v1/models") };
    assert!(bench.meter.reserve(get).is_ok());
    let socket = bench.meter.reserve(Ask { plain: false, ..get });
    assert_eq!(socket.unwrap_err(), NoRoom::Unmetered, "a WebSocket, or a POST in disguise");
    let lost = Meter::with_clock(Prices::built_in().unwrap(), None, Box::new(drop), || NOW.with(Cell::get));
    lost.put_in_force([("anthropic".to_owned(), limits)], Vec::new());
    let refused = lost.reserve(ask("/v1/messages")).unwrap_err();
    assert_eq!(refused.status().as_u16(), 503);
    assert!(matches!(refused.reason(), Reason::FailedClosed(_)));
    lost.put_in_force([("anthropic".to_owned(), NO_LIMITS)], Vec::new());
    assert!(lost.reserve(ask("/v1/messages")).is_ok(), "without a limit there is nothing to count");
}

#[test]
fn usage_is_read_without_a_credential_and_without_limits() {
    set(NOON);
    let meter = Meter::with_clock(Prices::built_in().unwrap(), None, Box::new(drop), || NOW.with(Cell::get));
    let host = HostName::parse("api.openai.com").unwrap();
    let ask = Ask {
        credential: None,
        host: &host,
        method: "POST",
        path: "/v1/chat/completions",
        length: None,
        plain: true,
    };
    let mut one = meter.reserve(ask).unwrap();
    one.observe_request(br#"{"model":"gpt-5","n":2,"max_completion_tokens":10}"#).unwrap();
    one.answered(&head("application/json", 200));
    one.observe(br#"{"model":"gpt-5-2025-08-07","usage":{"prompt_tokens":100,"completion_tokens":20,"prompt_tokens_details":{"cached_tokens":60}}}"#).unwrap();
    let usage = one.settle(true).unwrap();
    assert_eq!((usage.input, usage.cached, usage.output, usage.assumed), (40, 60, 20, false));
    // 40 at $1.25, 60 at $0.125, 20 at $10.
    assert_eq!(usage.micro_usd, Some(258));
}

#[test]
fn a_limit_that_is_near_is_said_once_a_day() {
    let bench = Bench::new(CredentialLimits { requests_per_minute: Some(5), ..NO_LIMITS });
    for _ in 0..4 {
        drop(bench.ask(None).unwrap());
    }
    let near = CredentialAct::LimitNear { limit: "requests_per_minute".to_owned(), used: 4, of: 5 };
    assert_eq!(*bench.notes.borrow(), [near]);
    drop(bench.ask(None).unwrap());
    let refused = bench.ask(None).unwrap_err();
    assert_eq!((refused.retry_after(), bench.notes.borrow().len()), (Some(61), 2));
    pass(61);
    assert!(bench.ask(None).is_ok());
}

#[test]
fn s4_a_request_that_does_not_fit_is_no_limit_that_is_used_up() {
    let bench = Bench::new(CredentialLimits { bytes_per_day: Some(1_000), ..NO_LIMITS });
    bench.ask(Some(10)).unwrap().observe_request(&[b' '; 10]).unwrap();
    for _ in 0..2 {
        let refused = bench.ask(Some(5_000)).unwrap_err().reason().to_string();
        assert!(refused.contains("10 of 1000 used, too little is left for this request"), "{refused}");
    }
    let limit = || "bytes_per_day".to_owned();
    let no_fit = CredentialAct::NoFit { limit: limit(), used: 10, of: 1_000 };
    assert_eq!(*bench.notes.borrow(), std::slice::from_ref(&no_fit), "said once");
    bench.ask(Some(990)).unwrap().observe_request(&[b' '; 990]).unwrap();
    assert!(bench.ask(Some(1)).is_err());
    let reached = CredentialAct::LimitReached { limit: limit(), of: 1_000, until: NOON + 43_200 };
    assert_eq!(bench.notes.borrow().last(), Some(&reached), "and that it is used up, when it is");
}
