//! The meter as a whole: requests and answers as their APIs send them, races at a limit, days and restarts.

use std::cell::{Cell, RefCell};
use std::fs::File;

use http::response;

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
        })
    }

    fn used(&self) -> Amount {
        Counters::open(&self.file).unwrap().look("anthropic").unwrap().unwrap().used
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
