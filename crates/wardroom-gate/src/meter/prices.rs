//! What models cost: the table that comes with Wardroom, or the operator's copy of it.
//!
//! A table says its date and is used as a whole. A model that is not in it has no price, and counts with the highest ones:
//! nothing is ever free because nobody knew it. Nothing here reads a file or fetches a price.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

/// The table that comes with Wardroom.
const BUILT_IN: &str = include_str!("prices.toml");

/// A table of prices.
#[derive(Debug, Clone)]
pub struct Prices {
    date: String,
    models: Vec<ModelPrice>,
}

/// A table that is none: where in the text, and what to write.
#[derive(Debug, Error)]
#[error("{file}:{line}:{column}: {what}")]
pub struct PriceError {
    /// The file, as the operator knows it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// A price in millionths of a dollar for a million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerMillion(u64);

impl Display for PerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:06}", self.0 % 1_000_000);
        let shown = fraction.trim_end_matches('0');
        write!(f, "{}.{shown:0<2}", self.0 / 1_000_000)
    }
}

/// One model of a table.
#[derive(Debug, Clone)]
pub struct ModelPrice {
    /// Its name at the vendor's API, without a date.
    pub name: String,
    /// Whose it is.
    pub vendor: String,
    /// The prices.
    pub rate: Rate,
}

/// The prices of a model, and the bounds of one request to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// Tokens in.
    pub input: PerMillion,
    /// Tokens out.
    pub output: PerMillion,
    /// Tokens read from a cache.
    pub cached: PerMillion,
    /// Tokens written to a cache for some minutes.
    pub written: PerMillion,
    /// Tokens written to a cache for an hour.
    pub written_long: PerMillion,
    /// Tokens that fit the model.
    pub context: u64,
    /// Tokens out, where a request does not limit them.
    pub max_output: u64,
    /// With more input than this all prices are higher by a factor, in thousandths.
    pub long: Option<(u64, u64)>,
}

/// What a request used, as its API counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// In, without the three below.
    pub input: u64,
    /// Out.
    pub output: u64,
    /// Read from a cache.
    pub cached: u64,
    /// Written to a cache for some minutes.
    pub written: u64,
    /// Written to a cache for an hour.
    pub written_long: u64,
}

impl Tokens {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.all_input().saturating_add(self.output)
    }

    fn all_input(&self) -> u64 {
        let written = self.written.saturating_add(self.written_long);
        self.input.saturating_add(self.cached).saturating_add(written)
    }
}

impl Rate {
    /// Millionths of a dollar, rounded up.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens) -> u64 {
        let parts = [
            (tokens.input, self.input),
            (tokens.output, self.output),
            (tokens.cached, self.cached),
            (tokens.written, self.written),
            (tokens.written_long, self.written_long),
        ];
        let cost = |(count, PerMillion(price)): (u64, PerMillion)| u128::from(count) * u128::from(price);
        let sum = parts.into_iter().map(cost).fold(0, u128::saturating_add);
        let factor = match self.long {
            Some((above, factor)) if tokens.all_input() > above => factor,
            Some(_) | None => ONE,
        };
        let whole = sum.saturating_mul(u128::from(factor)).div_ceil(u128::from(ONE) * 1_000_000);
        u64::try_from(whole).unwrap_or(u64::MAX)
    }

    /// The higher of each.
    fn or_worse(self, other: Self) -> Self {
        let long = match (self.long, other.long) {
            (Some((above, factor)), Some((also, other))) => Some((above.min(also), factor.max(other))),
            (one, other) => one.or(other),
        };
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cached: self.cached.max(other.cached),
            written: self.written.max(other.written),
            written_long: self.written_long.max(other.written_long),
            context: self.context.max(other.context),
            max_output: self.max_output.max(other.max_output),
            long,
        }
    }
}

/// A factor of one, in thousandths.
const ONE: u64 = 1_000;

impl Prices {
    /// The table that comes with Wardroom.
    ///
    /// # Errors
    /// None, as a test shows.
    pub fn built_in() -> Result<Self, PriceError> {
        Self::parse("prices.toml", BUILT_IN)
    }

    /// The text of the table that comes with Wardroom, for an operator who wants to keep a copy.
    #[must_use]
    pub fn built_in_text() -> &'static str {
        BUILT_IN
    }

    /// Reads a table. `file` is its name in errors.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(file: &str, text: &str) -> Result<Self, PriceError> {
        let wrong = |at: usize, what: String| error(file, text, at, what);
        let table: Table = toml::from_str(text)
            .map_err(|e| wrong(e.span().unwrap_or_default().start, e.message().to_owned()))?;
        let Table { date, model } = table;
        if date.get_ref().parse::<Date>().is_err() {
            return Err(wrong(date.span().start, "write the date as \"2026-03-01\"".to_owned()));
        }
        if model.is_empty() {
            return Err(wrong(0, "a table without a model: every model would be unknown".to_owned()));
        }
        let mut models: Vec<ModelPrice> = Vec::new();
        for entry in model {
            let at = entry.name.span().start;
            let price = one(entry).map_err(|what| wrong(at, what))?;
            if models.iter().any(|other| other.name == price.name) {
                return Err(wrong(at, format!("`{}` has two prices", price.name)));
            }
            models.push(price);
        }
        Ok(Self { date: date.into_inner(), models })
    }

    /// The day on which the prices held.
    #[must_use]
    pub fn date(&self) -> &str {
        &self.date
    }

    /// All models, in the table's order.
    #[must_use]
    pub fn models(&self) -> &[ModelPrice] {
        &self.models
    }

    /// The price of a model, by its name with or without a date.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<Rate> {
        let covers = |price: &&ModelPrice| model.strip_prefix(price.name.as_str()).is_some_and(is_version);
        // The longest name that covers it: a dated name may have a price of its own.
        let found = self.models.iter().filter(covers).max_by_key(|price| price.name.len());
        found.map(|price| price.rate)
    }

    /// The highest of each price of a vendor, or of the table where the vendor is not known.
    #[must_use]
    pub fn worst(&self, vendor: Option<&str>) -> Rate {
        let of_vendor = |price: &&ModelPrice| vendor.is_some_and(|vendor| price.vendor == vendor);
        let of = |models: &mut dyn Iterator<Item = &ModelPrice>| {
            models.map(|price| price.rate).reduce(Rate::or_worse)
        };
        let worst = of(&mut self.models.iter().filter(of_vendor));
        worst.or_else(|| of(&mut self.models.iter())).unwrap_or_default()
    }
}

/// Nothing, or what vendors put behind a model's name for one of its versions.
fn is_version(rest: &str) -> bool {
    let Some(version) = rest.strip_prefix('-') else { return rest.is_empty() };
    version == "latest" || (version.len() >= 8 && version.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
}

/// An amount of dollars in whole millionths. None for what is no amount.
pub(crate) fn millionths(usd: f64) -> Option<u64> {
    // A million dollars for a million tokens, or in a day: whoever means more means something else.
    const MOST: f64 = 1_000_000.0;
    (0.0..=MOST).contains(&usd).then(|| format!("{:.0}", usd * 1_000_000.0)).and_then(|n| n.parse().ok())
}

/// A date as `2026-03-01`, checked for its shape alone.
struct Date;

impl FromStr for Date {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let shape = |(at, b): (usize, u8)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() };
        if text.len() == 10 && text.bytes().enumerate().all(shape) { Ok(Self) } else { Err(()) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    date: Spanned<String>,
    #[serde(default)]
    model: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    vendor: String,
    input: f64,
    output: f64,
    cached: f64,
    cache_write: f64,
    cache_write_long: f64,
    context: u64,
    max_output: u64,
    long_above: Option<u64>,
    long_factor: Option<f64>,
}

fn one(entry: Entry) -> Result<ModelPrice, String> {
    let Entry { name, vendor, input, output, cached, cache_write, cache_write_long, .. } = entry;
    let Entry { context, max_output, long_above, long_factor, .. } = entry;
    let name = name.into_inner();
    if name.is_empty() || vendor.is_empty() {
        return Err("a model needs its name and its vendor".to_owned());
    }
    let price = |key: &str, usd: f64| {
        let wrong = || format!("`{name}`: `{key} = {usd}` is no price in dollars for a million tokens");
        millionths(usd).map(PerMillion).ok_or_else(wrong)
    };
    let long = match (long_above, long_factor) {
        (None, None) => None,
        (Some(above), Some(factor)) if (1.0..=1_000.0).contains(&factor) => {
            let thousandths = format!("{:.0}", (factor * 1_000.0).ceil()).parse();
            Some((above, thousandths.map_err(|e| format!("`{name}`: `long_factor`: {e}"))?))
        }
        _ => {
            return Err(format!(
                "`{name}`: write `long_above` and a `long_factor` of at least 1, or neither"
            ));
        }
    };
    let rate = Rate {
        input: price("input", input)?,
        output: price("output", output)?,
        cached: price("cached", cached)?,
        written: price("cache_write", cache_write)?,
        written_long: price("cache_write_long", cache_write_long)?,
        context,
        max_output,
        long,
    };
    Ok(ModelPrice { name, vendor, rate })
}

fn error(file: &str, text: &str, at: usize, what: String) -> PriceError {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    PriceError { file: file.to_owned(), line, column, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_that_comes_with_wardroom_is_one() {
        let prices = Prices::built_in().unwrap();
        assert_eq!(prices.date(), "2026-03-01");
        for model in prices.models() {
            let Rate { input, output, cached, context, max_output, .. } = model.rate;
            assert!(cached <= input && context >= max_output, "{}", model.name);
            assert!(input <= output || max_output == 0, "{}", model.name);
        }
    }

    #[test]
    fn a_name_covers_its_dated_versions_and_no_other_model() {
        let prices = Prices::built_in().unwrap();
        let known = |name: &str| prices.of(name).map(|rate| rate.input.to_string());
        assert_eq!(known("claude-sonnet-4-5-20250929").as_deref(), Some("3.00"));
        assert_eq!(known("claude-opus-4-1-20250805").as_deref(), Some("15.00"));
        assert_eq!(known("claude-3-5-haiku-latest").as_deref(), Some("0.80"));
        assert_eq!(known("gpt-4o-2024-08-06").as_deref(), Some("2.50"));
        assert_eq!(known("gpt-4o-2024-05-13").as_deref(), Some("5.00"));
        assert_eq!(known("gpt-5-nano").as_deref(), Some("0.05"));
        for unknown in ["gpt-4o-audio-preview", "claude-opus-9", "gpt-5-super", "", "claude", "gpt-4o-1"] {
            assert_eq!(known(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_cost_is_that_of_its_parts_and_rounded_up() {
        let prices = Prices::built_in().unwrap();
        let sonnet = prices.of("claude-sonnet-4-5").unwrap();
        let tokens = Tokens { input: 1_000, output: 500, cached: 10_000, written: 2_000, written_long: 100 };
        // 3,000 + 7,500 + 3,000 + 7,500 + 600 millionths.
        assert_eq!(sonnet.cost(&tokens), 21_600);
        assert_eq!(sonnet.cost(&Tokens { cached: 1, ..Tokens::default() }), 1);
        assert_eq!(sonnet.cost(&Tokens { input: 200_001, ..Tokens::default() }), 1_200_006);
        assert_eq!(sonnet.cost(&Tokens { input: u64::MAX, output: u64::MAX, ..Tokens::default() }), u64::MAX);
    }

    #[test]
    fn an_unknown_model_costs_what_the_dearest_does() {
        let prices = Prices::built_in().unwrap();
        assert_eq!(prices.worst(Some("anthropic")).output.to_string(), "75.00");
        assert_eq!(prices.worst(Some("anthropic")).max_output, 128_000);
        assert_eq!(prices.worst(Some("openai")).output.to_string(), "600.00");
        assert_eq!(prices.worst(None), prices.worst(Some("nobody")));
        assert!(prices.models().iter().all(|model| model.rate.output <= prices.worst(None).output));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let model = "[[model]]\nname = \"m\"\nvendor = \"v\"\ninput = 1\noutput = 1.0\ncached = 0.1\n\
                     cache_write = 1\ncache_write_long = 1\ncontext = 10\nmax_output = 10\n";
        let table = |model: &str| format!("date = \"2026-03-01\"\n{model}");
        assert!(Prices::parse("p", &table(model)).is_ok());
        let said = |text: &str| Prices::parse("p", text).unwrap_err().to_string();
        assert_eq!(said("date = \"March\"\n"), "p:1:8: write the date as \"2026-03-01\"");
        assert_eq!(said(&table(&format!("{model}{model}"))), "p:13:8: `m` has two prices");
        assert!(said(&table("")).contains("without a model"));
        assert!(said(&table(&model.replace("cached", "cahced"))).starts_with("p:7:1: unknown field"));
        for price in ["-1", "nan", "inf", "1e9"] {
            let wrong = said(&table(&model.replace("output = 1.0", &format!("output = {price}"))));
            assert!(wrong.contains("is no price"), "{wrong}");
        }
        assert!(said(&table(&format!("{model}long_above = 5\n"))).contains("long_factor"));
        assert!(said(&table(&format!("{model}long_above = 5\nlong_factor = 0.5\n"))).contains("long_factor"));
    }
}
