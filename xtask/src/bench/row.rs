//! A row of the table, and the arithmetic of medians.

use std::borrow::Cow;

use anyhow::{Context, Result};
use serde::Serialize;

/// One measured row.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Its name, as `cargo xtask bench NAME` takes it.
    pub(crate) name: &'static str,
    /// What was done.
    pub(crate) what: Cow<'static, str>,
    /// The unit of the sides' numbers.
    pub(crate) unit: &'static str,
    /// Name and median of each side; the first is Wardroom's.
    pub(crate) sides: Vec<(String, f64)>,
    /// What is judged.
    pub(crate) result: f64,
    /// How the result is to be read, such as `times bare`.
    pub(crate) means: &'static str,
    /// What it should be.
    pub(crate) goal: Goal,
    /// Whether it is.
    pub(crate) reached: bool,
}

/// A goal.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
}

impl Goal {
    /// Whether a result is good enough.
    pub(crate) fn holds(self, result: f64) -> bool {
        match self {
            Self::AtMost(most) => result <= most,
            Self::AtLeast(least) => result >= least,
            Self::Exactly(value) => (result - value).abs() < 0.5,
        }
    }
}

/// One side of a comparison: a name, and how to get one number.
pub(crate) struct Side<'a> {
    pub(crate) name: &'static str,
    pub(crate) measure: Box<dyn FnMut() -> Result<f64> + 'a>,
}

impl<'a> Side<'a> {
    /// A side.
    pub(crate) fn new(name: &'static str, measure: impl FnMut() -> Result<f64> + 'a) -> Self {
        Self { name, measure: Box::new(measure) }
    }
}

/// Lets every side run once a round, after one round that does not count, and gives the medians.
pub(crate) fn interleaved(rounds: usize, mut sides: Vec<Side<'_>>) -> Result<Vec<(String, f64)>> {
    let mut taken: Vec<Vec<f64>> = sides.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (side, numbers) in sides.iter_mut().zip(&mut taken) {
            let number = (side.measure)().with_context(|| side.name)?;
            if round > 0 {
                numbers.push(number);
            }
        }
    }
    sides
        .iter()
        .zip(taken)
        .map(|(side, numbers)| Ok((side.name.to_owned(), at(numbers, 0.5).context("no rounds")?)))
        .collect()
}

/// The number below which a part of the numbers lies.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index from a proportion of a small length"
)]
pub(crate) fn at(mut numbers: Vec<f64>, part: f64) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let last = numbers.len().checked_sub(1)?;
    numbers.get((last as f64 * part).round() as usize).copied()
}

/// The first side over the second.
pub(crate) fn ratio(sides: &[(String, f64)]) -> Result<f64> {
    match sides {
        [(_, ours), (_, theirs), ..] if *theirs > 0.0 => Ok(ours / theirs),
        _ => anyhow::bail!("nothing to compare with"),
    }
}

#[cfg(test)]
mod tests {
    use super::at;

    #[test]
    fn the_median_of_three_is_the_middle_one() {
        assert_eq!(at(vec![9.0, 1.0, 2.0], 0.5), Some(2.0));
        assert_eq!(at(vec![], 0.5), None);
    }
}
