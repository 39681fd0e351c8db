//! N7, N9, N11: names outside the policy, asked in every way there is. None may be answered, and each must be seen.

use wardroom_model::{Event, Outcome as Verdict};

use crate::verify::dns::{self, A, AAAA, ANY, HTTPS, NULL, SRV, TXT};
use crate::verify::outcome::Outcome;
use crate::verify::probe::Attempt::{Ask, Run};
use crate::verify::probe::Control::Outside;
use crate::verify::probe::Expect::{Name, Records};
use crate::verify::probe::{Aim, Probe, probe};
use crate::verify::scene::Scene;
use crate::verify::trace::Trace;

#[rustfmt::skip]
pub(super) const PROBES: &[Probe] = &[
    probe("N7.a", "a name outside the policy: its IPv4 address", Ask(A), Outside, Name),
    probe("N7.aaaa", "a name outside the policy: its IPv6 address", Ask(AAAA), Outside, Name),
    probe("N7.txt", "a name outside the policy: TXT", Ask(TXT), Outside, Name),
    probe("N7.null", "a name outside the policy: NULL", Ask(NULL), Outside, Name),
    probe("N7.srv", "a name outside the policy: SRV", Ask(SRV), Outside, Name),
    probe("N7.any", "a name outside the policy: ANY", Ask(ANY), Outside, Name),
    probe("N7.long-labels", "a name of three labels of 63 bytes, as a tunnel uses", Run(long_labels), Outside, Records(long_labels_seen)),
    probe("N7.many", "1,000 random names outside the policy", Run(many), Outside, Records(many_seen)).aims(Aim::RefusedInTime).within(30),
    probe("N9.over-tcp", "a name outside the policy, asked over TCP", Run(over_tcp), Outside, Name),
    probe("N11.https", "a name outside the policy: HTTPS (its ECH keys)", Ask(HTTPS), Outside, Name),
];

/// As many as attacks.md's 10,000 would show, at a tenth of the time: the count on record must be exact.
const MANY: usize = 1000;

/// A name of the longest labels there are, within the 253 bytes of a name.
fn long_name(scene: &Scene) -> String {
    let label = "x".repeat(63);
    format!("{label}.{label}.{label}.{}.invalid", scene.fixtures.nonce)
}

fn long_labels(scene: &Scene) -> Outcome {
    dns::ask(scene, &long_name(scene), TXT)
}

fn long_labels_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    trace.name(&long_name(scene))
}

fn over_tcp(scene: &Scene) -> Outcome {
    dns::ask_over_tcp(scene, &scene.unknown_name(), A)
}

fn many(scene: &Scene) -> Outcome {
    let Some(resolver) = dns::resolver(scene) else {
        return Outcome::Impossible("no resolver is named".to_owned());
    };
    let mut answered = 0;
    let mut refused = 0;
    for number in 0..MANY {
        match dns::exchange(resolver, &dns::question(&format!("r{number}.{}", scene.unknown_name()), A)) {
            Ok(reply) if reply.answers > 0 => answered += 1,
            Ok(_) => refused += 1,
            Err(_no_reply) => {}
        }
    }
    match (answered, refused) {
        (0, MANY) => Outcome::Blocked(format!("all {MANY} names")),
        (0, _) => Outcome::Hung,
        _ => Outcome::Succeeded(format!("{answered} of {MANY} names were answered")),
    }
}

/// Coalesced or not, the counts must add up.
fn many_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    let parent = scene.unknown_name();
    let mut records = 0;
    let mut questions = 0;
    for seen in trace.all() {
        if let Event::Name(query) = &seen.event
            && query.verdict.outcome == Verdict::Refused
            && query.name.shown().ends_with(parent.as_bytes())
        {
            records += 1;
            questions += query.count;
        }
    }
    if questions == MANY.try_into().unwrap_or(u64::MAX) {
        return Ok(format!("{questions} questions in {records} records"));
    }
    Err(format!("{questions} of {MANY} questions are on record"))
}
