//! `prices`: the price table that limits of dollars are counted by, with its date.

use std::io::ErrorKind;

use serde_json::json;
use wardroom_gate::{ModelPrice, Prices};
use wardroom_model::exit::Exit;

use crate::failure::{Done, Failure, OrExit};
use crate::places::Places;
use crate::screen;

/// Prints the text of the table that comes with Wardroom.
pub(super) fn built_in() -> Done {
    screen::data(Prices::built_in_text().trim_end());
    Ok(0)
}

/// Lists the table in force.
pub(super) fn prices(places: &Places, as_json: bool) -> Done {
    let path = places.prices();
    let (table, whose) = match std::fs::read_to_string(&path) {
        Ok(text) => {
            let shown = path.display().to_string();
            (Prices::parse(&shown, &text).or_exit(Exit::Policy)?, shown)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            (Prices::built_in().or_exit(Exit::Internal)?, "the table that comes with Wardroom".to_owned())
        }
        Err(error) => return Err(Failure::new(Exit::Policy, format!("{}: {error}", path.display()))),
    };
    for model in table.models() {
        if !screen::data(&if as_json { object(model, table.date()) } else { line(model) }) {
            return Ok(0);
        }
    }
    screen::talk(&format!(
        "US dollars for a million tokens, list prices of {}, from {whose}. Compare them with the vendors' own; a corrected copy belongs in {}.",
        table.date(),
        path.display()
    ));
    Ok(0)
}

fn line(model: &ModelPrice) -> String {
    let ModelPrice { name, vendor, rate } = model;
    format!(
        "{name:<26} {vendor:<10} in {:>7}  out {:>7}  cached {:>7}",
        rate.input.to_string(),
        rate.output.to_string(),
        rate.cached.to_string()
    )
}

fn object(model: &ModelPrice, date: &str) -> String {
    let ModelPrice { name, vendor, rate } = model;
    json!({
        "model": name,
        "vendor": vendor,
        "input": rate.input.to_string(),
        "output": rate.output.to_string(),
        "cached": rate.cached.to_string(),
        "cache_write": rate.written.to_string(),
        "cache_write_long": rate.written_long.to_string(),
        "context": rate.context,
        "max_output": rate.max_output,
        "date": date,
    })
    .to_string()
}
