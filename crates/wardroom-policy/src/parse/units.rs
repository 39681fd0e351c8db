//! Quantities with their units: sizes, durations, times of day. A number without its unit is never accepted.

/// How a size is written.
pub(crate) const SIZE: &str = "a size between quotes, as \"4 GiB\"";

/// How a duration is written.
pub(crate) const DURATION: &str = "a duration between quotes, as \"30 days\"";

/// Bytes, as `4 GiB`.
///
/// # Errors
/// Says what to write instead.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    let (number, unit) = split(text).ok_or("write a whole number and a unit, as \"4 GiB\"")?;
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let factor = factor.ok_or_else(|| match unit {
        "" => format!("a size needs its unit: \"{number} GiB\"?"),
        _ => "the units are KiB, MiB, GiB and TiB (powers of 1024)".to_owned(),
    })?;
    positive(number)?.checked_mul(factor).ok_or_else(|| "more than 16 EiB".to_owned())
}

/// Seconds, as `30 days`.
///
/// # Errors
/// Says what to write instead.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 5] =
        [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400), ("week", 604_800)];
    let (number, unit) = split(text).ok_or("write a whole number and a unit, as \"30 days\"")?;
    let singular = unit.strip_suffix('s').unwrap_or(unit);
    let factor = UNITS.iter().find(|(name, _)| *name == singular).map(|(_, factor)| *factor);
    let factor = factor.ok_or_else(|| match unit {
        "" => format!("a duration needs its unit: \"{number} days\"?"),
        _ => "the units are seconds, minutes, hours, days and weeks".to_owned(),
    })?;
    positive(number)?.checked_mul(factor).ok_or_else(|| "longer than the universe is old".to_owned())
}

/// Minutes since midnight, as `08:30`; `24:00` is the end of the day.
///
/// # Errors
/// Says what to write instead.
pub(crate) fn minutes_of_day(text: &str) -> Result<u16, String> {
    let wrong = || "write hours and minutes, as \"08:30\", up to \"24:00\"".to_owned();
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !two_digits(hours) || !two_digits(minutes) {
        return Err(wrong());
    }
    let hours: u16 = hours.parse().map_err(|_cause| wrong())?;
    let minutes: u16 = minutes.parse().map_err(|_cause| wrong())?;
    let total = hours * 60 + minutes;
    if minutes < 60 && total <= 24 * 60 { Ok(total) } else { Err(wrong()) }
}

/// Digits (with `_` between them) and what follows.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    (!number.is_empty()).then_some((number, unit.trim_start()))
}

fn positive(number: &str) -> Result<u64, String> {
    match number.replace('_', "").parse::<u64>() {
        Ok(0) => Err("0 permits nothing".to_owned()),
        Ok(value) => Ok(value),
        Err(_) => Err("this number is too large".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_need_their_units() {
        assert_eq!(bytes("4 GiB"), Ok(4 << 30));
        assert_eq!(bytes("512MiB"), Ok(512 << 20));
        assert_eq!(seconds("30 days"), Ok(30 * 86_400));
        assert_eq!(seconds("1 hour"), Ok(3600));
        for wrong in
            ["4", "4 GB", "4 gib", "GiB", "", "0 GiB", "-1 GiB", "4.5 GiB", "99999999999999999999 GiB"]
        {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        for wrong in ["30", "30 d", "days", "0 days", "1 month"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_of_day_are_strict() {
        assert_eq!(minutes_of_day("08:30"), Ok(510));
        assert_eq!(minutes_of_day("24:00"), Ok(1440));
        for wrong in ["8:30", "08:60", "24:01", "08.30", "", "aa:bb", "+8:30"] {
            assert!(minutes_of_day(wrong).is_err(), "{wrong}");
        }
    }
}
