//! `log`: what is on an agent's record, for people in lines and for programs in OCSF JSON.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use wardroom_ledger::show::{self, Part, Role};
use wardroom_ledger::{Query, Record, ocsf};
use wardroom_model::exit::Exit;
use wardroom_model::{Kind, Outcome};
use wardroom_scribe::records;

use super::agent_name;
use crate::cli;
use crate::clock;
use crate::failure::{Done, Failure, OrExit};
use crate::ledger_key::{self, origin};
use crate::places::Places;
use crate::screen;

/// How long a follower sleeps at most before it looks again; a change of the ledger wakes it at once.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Shows records, and with `--follow` those to come.
pub(super) fn log(places: &Places, asked: &cli::Log) -> Done {
    let name = agent_name(&asked.name)?;
    let agent = places.agent(&name);
    let ledger = ledger_key::ledger(&agent, &name)?;
    let show = Show { json: asked.json, coloured: screen::data_has_colours(), origin: origin(&agent, &name) };
    let mut found = records(ledger, query(asked)?).or_exit(Exit::Ledger)?;
    loop {
        for record in found.by_ref() {
            if !show.show(&record.or_exit(Exit::Ledger)?) {
                return Ok(0);
            }
        }
        if !asked.follow {
            return Ok(0);
        }
        found.wait(LOOK_AGAIN).or_exit(Exit::Ledger)?;
    }
}

/// The question that the arguments ask.
fn query(asked: &cli::Log) -> Result<Query, Failure> {
    Ok(Query {
        since: asked.since.as_deref().map(when).transpose()?,
        until: asked.until.as_deref().map(when).transpose()?,
        kinds: asked.kind.iter().map(|word| kind(word)).collect::<Result<_, _>>()?,
        outcomes: asked.outcome.iter().map(|word| outcome(word)).collect::<Result<_, _>>()?,
        program: asked.program.clone(),
        host: asked.host.clone(),
        path: asked.path.clone(),
        pid: None,
        from: 0,
    })
}

/// A time, or a duration back from now.
pub(super) fn when(text: &str) -> Result<u64, Failure> {
    let back = text.parse::<Span>().ok().and_then(|span| clock::now().checked_sub(span_of_hours(span)?).ok());
    let local = || {
        text.parse::<jiff::civil::DateTime>()
            .ok()?
            .to_zoned(TimeZone::system())
            .ok()
            .map(|zoned| zoned.timestamp())
    };
    let time = back.or_else(|| text.parse::<Timestamp>().ok()).or_else(local);
    time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).ok_or_else(|| {
        let why =
            format!("{text:?} is no time: say 90s, 15m, 24h or 7d back from now, or 2026-01-31T08:00:00Z");
        Failure::new(Exit::Usage, why)
    })
}

/// Days and weeks of 24 hours: a log knows no calendar.
fn span_of_hours(span: Span) -> Option<jiff::SignedDuration> {
    span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()
}

fn kind(word: &str) -> Result<Kind, Failure> {
    Kind::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::word).join(", ");
        Failure::new(Exit::Usage, format!("{word:?} is no kind of record; there are: {known}"))
    })
}

fn outcome(word: &str) -> Result<Outcome, Failure> {
    let all = [Outcome::Allowed, Outcome::Refused, Outcome::Observed, Outcome::Failed];
    all.into_iter().find(|outcome| outcome.word() == word).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("{word:?} is no outcome; there are: allowed, refused, seen, failed"),
        )
    })
}

/// How records are shown.
struct Show {
    json: bool,
    coloured: bool,
    origin: String,
}

impl Show {
    /// Shows one. False when nobody reads any more.
    fn show(&self, record: &Record) -> bool {
        if self.json {
            return screen::data(&ocsf::line(record, &self.origin));
        }
        let parts = show::line(record, local_time);
        let texts: Vec<String> = parts.into_iter().map(|part| self.paint(&part)).collect();
        screen::data(texts.join(" ").trim_end())
    }

    fn paint(&self, part: &Part) -> String {
        let style = if self.coloured { style(part.role) } else { Style::new() };
        format!("{style}{}{style:#}", part.text)
    }
}

/// The operator's own time of day, to the millisecond.
pub(crate) fn local_time(wall: u64) -> String {
    let time =
        i64::try_from(wall / 1_000_000).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    time.map_or_else(
        || format!("{wall} ns"),
        |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
    )
}

fn style(role: Role) -> Style {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    match role {
        Role::Time | Role::Rule => Style::new().dimmed(),
        Role::Kind => colour(AnsiColor::Cyan),
        Role::Outcome(Some(Outcome::Refused)) => colour(AnsiColor::Red).bold(),
        Role::Outcome(Some(Outcome::Allowed)) => colour(AnsiColor::Green),
        Role::Outcome(Some(Outcome::Failed)) | Role::Reason => colour(AnsiColor::Yellow),
        Role::Outcome(Some(Outcome::Observed) | None) | Role::Subject => Style::new(),
        Role::Program => Style::new().bold(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_durations_back_or_points() {
        let now = u64::try_from(clock::now().as_nanosecond()).unwrap();
        for (text, seconds) in [("90s", 90), ("15m", 900), ("24h", 86_400), ("7d", 604_800)] {
            let back = now - when(text).unwrap();
            assert!(back.abs_diff(seconds * 1_000_000_000) < 5_000_000_000, "{text}: {back}");
        }
        assert_eq!(when("1970-01-01T00:00:01Z").unwrap(), 1_000_000_000);
        assert!(when("yesterday-ish").is_err());
    }
}
