//! From what was said to what is counted: the estimate before a request, and the usage after it.

use super::api::Shape;
use super::prices::{Prices, Rate, Tokens};
use super::scan::{Field, Found};

/// Bytes of a request's body for a token in. Text of natural language and programs has some 4; what is between two quotes
/// of JSON is less dense, and pictures far less.
const BYTES_A_TOKEN: u64 = 4;
/// What a model of a table without a bound of its own can put out: none such is in the table that comes with Wardroom.
const SOME_OUTPUT: u64 = 1;

/// What a request may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub(crate) rate: Rate,
    /// Whether the table knows the model.
    pub(crate) priced: bool,
    /// The usual number of tokens for so many bytes.
    pub(crate) input: u64,
    /// A token a byte, as no tokenizer makes more of them.
    pub(crate) worst_input: u64,
    pub(crate) output: u64,
}

impl Estimate {
    /// Of a request of so many bytes. `said` is what its body says; none where it cannot be read.
    pub(crate) fn new(shape: &Shape, prices: &Prices, said: Option<&Found>, bytes: u64) -> Self {
        let known = said.and_then(|said| said.text(Field::Model)).and_then(|model| prices.of(model));
        let rate = known.unwrap_or_else(|| prices.worst(shape.vendor));
        let fits = |tokens: u64| tokens.min(rate.context);
        Self {
            rate,
            priced: known.is_some(),
            input: fits(bytes.div_ceil(BYTES_A_TOKEN)),
            worst_input: fits(bytes),
            output: if shape.talks { output(said, rate.max_output.max(SOME_OUTPUT)) } else { 0 },
        }
    }

    pub(crate) fn expected(&self) -> Tokens {
        Tokens { input: self.input, output: self.output, ..Tokens::default() }
    }
}

/// The most that may come out: as said, or as much as the model can.
fn output(said: Option<&Found>, most: u64) -> u64 {
    let Some(said) = said else { return most };
    let each = match said.get(Field::MaxOutput) {
        Some(_) => said.number(Field::MaxOutput).unwrap_or(most),
        None => most,
    };
    let choices = match said.get(Field::Choices) {
        // OpenAI's bound on `n`.
        Some(_) => said.number(Field::Choices).unwrap_or(128).max(1),
        None => 1,
    };
    each.saturating_mul(choices)
}

/// What an answer says it used; what it does not say is the worst. True where anything is assumed.
pub(crate) fn used(shape: &Shape, answer: &Found, complete: bool, worst: &Estimate) -> (Tokens, bool) {
    let input = answer.number(Field::Input);
    let output = answer.number(Field::Output);
    let known = |field| answer.number(field).unwrap_or_default();
    let cached = known(Field::Cached);
    let written_long = known(Field::WrittenLong);
    let written = known(Field::Written).saturating_sub(written_long);
    let input_alone = match input {
        Some(input) if shape.cached_in_input => input.saturating_sub(cached),
        Some(input) => input,
        None => worst.worst_input,
    };
    // Without an end nobody knows what else came out.
    let output = if shape.talks { output } else { Some(0) };
    let whole = complete && output.is_some();
    let output =
        if whole { output.unwrap_or_default() } else { worst.output.max(output.unwrap_or_default()) };
    let tokens = Tokens { input: input_alone, output, cached, written, written_long };
    (tokens, input.is_none() || !whole)
}
