//! From a control, an attempt and a trace to a result. Whatever is missing is never a pass.

use super::outcome::{Outcome, Report};
use super::probe::{Aim, Expect, Layer, Probe};
use super::scene::Scene;
use super::trace::Trace;

/// What a probe shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Finding {
    /// The containment held, and the attempt is on record.
    Pass,
    /// It did not hold, or nobody saw it.
    Fail,
    /// Nothing is known, for the reason given.
    CouldNotTest,
}

impl Finding {
    /// The word in tables, in JSON and on the ledger.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::CouldNotTest => "could not test",
        }
    }
}

/// A probe's result with all that led to it.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    /// The probe.
    pub(crate) id: String,
    /// What was attempted.
    pub(crate) title: String,
    /// The result.
    pub(crate) finding: Finding,
    /// Why: what came of the attempt, or what is missing.
    pub(crate) because: String,
    /// What the control showed.
    pub(crate) control: String,
    /// The record that the attempt left.
    pub(crate) record: Option<String>,
    /// Why only the program that made the attempt is on record, where that is so.
    pub(crate) unrecorded: Option<&'static str>,
    /// How long the attempt took.
    pub(crate) milliseconds: Option<u64>,
}

impl Judged {
    /// The group that it is listed in.
    pub(crate) fn layer(&self) -> Layer {
        Layer::of(&self.id)
    }
}

/// "At once", in milliseconds: far above any refusal (0.1 ms), far below any timeout of the network (1 s and up).
const AT_ONCE: u64 = 900;

/// Judges one probe.
pub(crate) fn judge(
    probe: &Probe,
    control: &Report,
    attempt: Option<&Report>,
    trace: &Trace<'_>,
    scene: &Scene,
) -> Judged {
    let record = trace.evidence(probe, scene);
    let (finding, because) = weigh(probe, control, attempt, &record);
    Judged {
        id: probe.id.to_owned(),
        title: probe.title.to_owned(),
        finding,
        because,
        control: control.outcome.to_string(),
        record: record.ok(),
        unrecorded: by_program_only(probe),
        milliseconds: attempt.map(Report::milliseconds),
    }
}

fn weigh(
    probe: &Probe,
    control: &Report,
    attempt: Option<&Report>,
    record: &Result<String, String>,
) -> (Finding, String) {
    let Some(attempt) = attempt else {
        return (Finding::CouldNotTest, "the cell ended before its turn".to_owned());
    };
    if let Some(failure) = broke(probe, attempt) {
        return (Finding::Fail, failure);
    }
    if let Outcome::Impossible(why) = &attempt.outcome {
        return (Finding::CouldNotTest, why.clone());
    }
    if !control.outcome.shows_that_it_works() {
        return (Finding::CouldNotTest, format!("the control did not work: {}", control.outcome));
    }
    match record {
        Ok(_) => (Finding::Pass, said(attempt)),
        Err(missing) => (Finding::Fail, format!("{}, and nobody saw it: {missing}", attempt.outcome)),
    }
}

/// How the containment failed, if it did.
fn broke(probe: &Probe, attempt: &Report) -> Option<String> {
    match (&attempt.outcome, probe.aim) {
        (Outcome::Succeeded(what), Aim::Refused | Aim::RefusedInTime) => Some(what.clone()),
        (Outcome::Hung, _) => Some("it hung: an agent must get an answer".to_owned()),
        // Where a refusal leaves no record of its own, an answer from the kernel is one too many.
        (Outcome::Reached(what), Aim::Refused | Aim::RefusedInTime) if by_program_only(probe).is_some() => {
            Some(what.clone())
        }
        (Outcome::Blocked(_), Aim::Refused) if attempt.milliseconds() > AT_ONCE => {
            Some(format!("refused after {} ms, and not at once", attempt.milliseconds()))
        }
        (Outcome::Reached(_) | Outcome::Blocked(_) | Outcome::Killed(_), Aim::Permitted) => {
            Some(format!("it is permitted, and did not work: {}", attempt.outcome))
        }
        (
            Outcome::Succeeded(_)
            | Outcome::Reached(_)
            | Outcome::Blocked(_)
            | Outcome::Impossible(_)
            | Outcome::Killed(_),
            Aim::Refused | Aim::RefusedInTime | Aim::Permitted | Aim::OnRecord,
        ) => None,
    }
}

/// Why only the program is on record, where that is so; the record then cannot tell who answered.
fn by_program_only(probe: &Probe) -> Option<&'static str> {
    match probe.expect {
        Expect::Program(why) => Some(why),
        Expect::Privilege(_)
        | Expect::Destination
        | Expect::Name
        | Expect::Path(_)
        | Expect::Death(_)
        | Expect::Records(_) => None,
    }
}

/// What came of an attempt that was contained.
fn said(attempt: &Report) -> String {
    match &attempt.outcome {
        Outcome::Blocked(why) => why.clone(),
        Outcome::Killed(31) => "killed by the filter (SIGSYS)".to_owned(),
        other @ (Outcome::Succeeded(_)
        | Outcome::Reached(_)
        | Outcome::Impossible(_)
        | Outcome::Killed(_)
        | Outcome::Hung) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::rows;
    use crate::verify::scene::Place;
    use crate::verify::scene::tests::fixtures;

    fn report(outcome: Outcome, milliseconds: u64) -> Report {
        Report { id: String::new(), outcome, began: 0, ended: milliseconds * 1_000_000 }
    }

    fn finding(control: Outcome, attempt: Outcome, record: Result<&str, &str>) -> Finding {
        let probe = rows::named("N2.literal-v4").unwrap();
        let record = record.map(str::to_owned).map_err(str::to_owned);
        weigh(probe, &report(control, 1), Some(&report(attempt, 1)), &record).0
    }

    fn worked() -> Outcome {
        Outcome::Succeeded("connected".to_owned())
    }

    fn refused() -> Outcome {
        Outcome::Blocked("connection refused".to_owned())
    }

    #[test]
    fn refused_and_seen_with_a_working_control_is_a_pass() {
        assert_eq!(finding(worked(), refused(), Ok("#1")), Finding::Pass);
    }

    #[test]
    fn what_nobody_saw_fails_even_if_it_was_refused() {
        assert_eq!(finding(worked(), refused(), Err("no record")), Finding::Fail);
    }

    #[test]
    fn what_succeeds_fails_whatever_the_control_says() {
        assert_eq!(finding(worked(), worked(), Ok("#1")), Finding::Fail);
        assert_eq!(finding(refused(), worked(), Ok("#1")), Finding::Fail);
    }

    #[test]
    fn without_a_working_control_nothing_is_known() {
        assert_eq!(finding(refused(), refused(), Ok("#1")), Finding::CouldNotTest);
        assert_eq!(finding(Outcome::Hung, refused(), Ok("#1")), Finding::CouldNotTest);
        assert_eq!(finding(Outcome::Killed(9), refused(), Ok("#1")), Finding::CouldNotTest);
    }

    #[test]
    fn an_attempt_that_was_not_made_is_no_pass() {
        let probe = rows::named("N2.literal-v4").unwrap();
        let record = Ok("#1".to_owned());
        assert_eq!(weigh(probe, &report(worked(), 1), None, &record).0, Finding::CouldNotTest);
        let impossible = Outcome::Impossible("no socket".to_owned());
        assert_eq!(finding(worked(), impossible, Ok("#1")), Finding::CouldNotTest);
    }

    #[test]
    fn an_agent_must_not_hang() {
        let probe = rows::named("N2.literal-v4").unwrap();
        let record = Ok("#1".to_owned());
        let slow = report(refused(), 2000);
        assert_eq!(weigh(probe, &report(worked(), 1), Some(&slow), &record).0, Finding::Fail);
        assert_eq!(finding(worked(), Outcome::Hung, Ok("#1")), Finding::Fail);
    }

    #[test]
    fn an_empty_ledger_convicts_every_probe() {
        let scene = Scene { place: Place::Cell, id: String::new(), fixtures: fixtures() };
        for probe in rows::all() {
            let judged = judge(
                probe,
                &report(worked(), 1),
                Some(&report(refused(), 1)),
                &Trace::of(probe.id, &[]),
                &scene,
            );
            assert_eq!(judged.finding, Finding::Fail, "{}", probe.id);
        }
    }
}
