//! Results for people and for programs.

use serde_json::{Value, json};
use wardroom_model::bytes::escape;
use wardroom_model::exit::Exit;

use super::judge::{Finding, Judged};
use super::probe::Layer;
use crate::layout::{cut, wrap};

/// How a table is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Columns of the screen.
    pub(crate) width: usize,
    /// Whether colours are understood.
    pub(crate) colour: bool,
}

const LAYERS: [Layer; 4] = [Layer::Services, Layer::Network, Layer::Cell, Layer::Ledger];
const FINDINGS: [Finding; 3] = [Finding::Pass, Finding::Fail, Finding::CouldNotTest];
/// The widest id, and a space.
const ID: usize = 23;
/// "could not test" is said in the reason's column, so that the mark stays narrow.
const MARK: usize = 5;
/// From here on, the evidence stands beside the title; below, under it.
const WIDE: usize = 120;
const TITLE: usize = 54;

/// The table, grouped by layer, with the counts at the end.
pub(crate) fn table(agent: &str, results: &[Judged], style: Style) -> Vec<String> {
    let mut lines = vec![format!("Containment of {agent}, tried on this machine"), String::new()];
    for layer in LAYERS {
        let rows: Vec<&Judged> = results.iter().filter(|judged| judged.layer() == layer).collect();
        if rows.is_empty() {
            continue;
        }
        lines.push(painted(layer.heading(), Paint::Bold, style));
        for judged in rows {
            lines.extend(row(judged, style));
        }
        lines.push(String::new());
    }
    lines.push(summary(results));
    lines
}

fn row(judged: &Judged, style: Style) -> Vec<String> {
    let (mark, paint) = match judged.finding {
        Finding::Pass => ("pass", Paint::Green),
        Finding::Fail => ("FAIL", Paint::Red),
        Finding::CouldNotTest => ("?", Paint::Yellow),
    };
    let mark = painted(&format!("{mark:MARK$}"), paint, style);
    let evidence = evidence(judged);
    let head = format!("  {mark}{:ID$}", clean(&judged.id));
    if style.width >= WIDE {
        let room = style.width.saturating_sub(2 + MARK + ID + TITLE);
        let title = cut(&clean(&judged.title), TITLE - 2);
        return vec![format!("{head}{title:TITLE$}{}", cut(&evidence, room)).trim_end().to_owned()];
    }
    let room = style.width.saturating_sub(2 + MARK + ID);
    let mut lines = vec![format!("{head}{}", cut(&clean(&judged.title), room))];
    // A pass needs no second line where there is no room; its evidence is in the JSON and on the ledger.
    if judged.finding != Finding::Pass {
        let indent = " ".repeat(2 + MARK + ID);
        lines.extend(wrap(&evidence, room).into_iter().map(|part| format!("{indent}{part}")));
    }
    lines
}

/// Why, and by which record.
fn evidence(judged: &Judged) -> String {
    let because = without_numbers(&clean(&judged.because));
    match (judged.finding, &judged.record) {
        (Finding::Pass, Some(record)) => format!("{} · {because}", clean(record)),
        (Finding::CouldNotTest, _) => format!("could not test: {because}"),
        (Finding::Pass | Finding::Fail, _) => because,
    }
}

/// The library says every error twice: in words, and by its number.
fn without_numbers(text: &str) -> String {
    match text.split_once(" (os error ").map(|(before, after)| (before, after.split_once(')'))) {
        Some((before, Some((_, after)))) => format!("{before}{after}"),
        Some((_, None)) | None => text.to_owned(),
    }
}

/// The counts, in one sentence.
pub(crate) fn summary(results: &[Judged]) -> String {
    let [passed, failed, unknown] = FINDINGS.map(|finding| count(results, finding));
    format!("{} probes: {passed} passed, {failed} FAILED, {unknown} could not be tested", results.len())
}

fn count(results: &[Judged], finding: Finding) -> usize {
    results.iter().filter(|judged| judged.finding == finding).count()
}

/// The exit code: a failure outweighs what could not be tested, and nothing tested at all is no success.
pub(crate) fn exit(results: &[Judged]) -> u8 {
    if count(results, Finding::Fail) > 0 {
        return Exit::ProbeFailed.code();
    }
    if results.is_empty() || count(results, Finding::CouldNotTest) > 0 {
        return Exit::CouldNotTest.code();
    }
    0
}

/// The whole result as one JSON object.
pub(crate) fn json(agent: &str, results: &[Judged]) -> Value {
    let [passed, failed, unknown] = FINDINGS.map(|finding| count(results, finding));
    let probes: Vec<Value> = results
        .iter()
        .map(|judged| {
            json!({
                "id": judged.id,
                "title": judged.title,
                "result": judged.finding.word(),
                "because": judged.because,
                "control": judged.control,
                "record": judged.record,
                "only_the_program_is_recorded": judged.unrecorded,
                "milliseconds": judged.milliseconds,
            })
        })
        .collect();
    json!({
        "agent": agent,
        "passed": passed,
        "failed": failed,
        "could_not_test": unknown,
        "probes": probes,
    })
}

#[derive(Debug, Clone, Copy)]
enum Paint {
    Bold,
    Green,
    Red,
    Yellow,
}

fn painted(text: &str, paint: Paint, style: Style) -> String {
    if !style.colour {
        return text.to_owned();
    }
    let how = match paint {
        Paint::Bold => anstyle::Style::new().bold(),
        Paint::Green => anstyle::AnsiColor::Green.on_default(),
        Paint::Red => anstyle::AnsiColor::Red.on_default().bold(),
        Paint::Yellow => anstyle::AnsiColor::Yellow.on_default(),
    };
    format!("{how}{text}{how:#}")
}

/// What an agent chose is part of what is shown (paths, names): never raw.
fn clean(text: &str) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail. The backslashes are there already where a record was described.
    if text.chars().any(char::is_control) && escape(text.as_bytes(), &mut out).is_ok() {
        out
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(id: &str, title: &str, finding: Finding, because: &str, record: Option<&str>) -> Judged {
        Judged {
            id: id.to_owned(),
            title: title.to_owned(),
            finding,
            because: because.to_owned(),
            control: "it works".to_owned(),
            record: record.map(str::to_owned),
            unrecorded: None,
            milliseconds: Some(1),
        }
    }

    fn results() -> Vec<Judged> {
        vec![
            judged(
                "N2.literal-v4",
                "TCP to a public address",
                Finding::Pass,
                "connection refused",
                Some("#7 packet refused 203.0.113.1:443"),
            ),
            judged("C5.mount", "mounting a file system", Finding::Fail, "mount is done", None),
            judged(
                "L5.clock",
                "a clock that is set back",
                Finding::CouldNotTest,
                "this would set the clock of the whole machine, which verify does not do",
                None,
            ),
        ]
    }

    const NARROW: &str = "\
Containment of scout, tried on this machine

network: nothing leaves but what the policy names
  pass N2.literal-v4          TCP to a public address

cell: nothing of the host is within reach
  FAIL C5.mount               mounting a file system
                              mount is done

ledger: the record holds
  ?    L5.clock               a clock that is set back
                              could not test: this would set the clock of the
                              whole machine, which verify does not do

3 probes: 1 passed, 1 FAILED, 1 could not be tested";

    #[test]
    fn a_narrow_table_explains_what_is_not_a_pass() {
        let table = table("scout", &results(), Style { width: 80, colour: false });
        assert_eq!(table.join("\n"), NARROW);
        assert!(table.iter().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn a_wide_table_has_one_line_a_probe_with_its_evidence() {
        let table = table("scout", &results(), Style { width: 140, colour: false });
        let line = table.iter().find(|line| line.contains("N2.")).unwrap();
        assert!(line.ends_with("#7 packet refused 203.0.113.1:443 · connection refused"), "{line}");
        assert!(table.iter().all(|line| line.chars().count() <= 140));
    }

    #[test]
    fn colours_are_for_terminals_only() {
        let plain = table("scout", &results(), Style { width: 80, colour: false }).join("\n");
        let coloured = table("scout", &results(), Style { width: 80, colour: true }).join("\n");
        assert!(!plain.contains('\x1b') && coloured.contains('\x1b'));
    }

    #[test]
    fn what_an_agent_chose_cannot_speak_to_the_terminal() {
        let nasty = [judged("L4.x", "a name", Finding::Fail, "seen \x1b[2J", None)];
        let table = table("scout", &nasty, Style { width: 80, colour: false }).join("\n");
        assert!(!table.contains('\x1b'));
    }

    #[test]
    fn a_failure_outweighs_and_the_unknown_is_no_success() {
        let all = results();
        assert_eq!(exit(&all), Exit::ProbeFailed.code());
        let without_failure: Vec<Judged> =
            all.iter().filter(|judged| judged.finding != Finding::Fail).cloned().collect();
        assert_eq!(exit(&without_failure), Exit::CouldNotTest.code());
        assert_eq!(exit(&[]), Exit::CouldNotTest.code());
    }
}
