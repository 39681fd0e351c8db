//! One more path in a rule that stands there already, in place of a rule beside it.

use std::collections::{BTreeMap, BTreeSet};

use toml_edit::{DocumentMut, Table, Value};

use super::rules;

/// The text with a rule's paths in a rule that stands there already and differs in nothing else.
pub(super) fn joined(text: &str, rule: &Table) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let paths = rule.get("paths")?.as_array()?;
    let there =
        rules(&mut document, "allow").ok()?.iter_mut().find(|there| same_but_for_paths(there, rule))?;
    let list = there.get_mut("paths")?.as_array_mut()?;
    for path in paths {
        list.push(path.as_str()?);
    }
    Some(document.to_string())
}

fn same_but_for_paths(one: &Table, other: &Table) -> bool {
    let others = |table: &Table| {
        let keys = table.iter().filter(|(key, _)| *key != "paths");
        keys.map(|(key, item)| Some((key.to_owned(), plain(item.as_value()?))))
            .collect::<Option<BTreeMap<_, _>>>()
    };
    others(one).is_some_and(|keys| others(other) == Some(keys)) && one.contains_key("paths")
}

/// A value without its layout.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", text.value()),
        Value::Array(items) => {
            // Methods, ports and programs mean the same in any order.
            let items: BTreeSet<String> = items.iter().map(plain).collect();
            format!("{items:?}")
        }
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) => number.value().to_string(),
        Value::Boolean(word) => word.value().to_string(),
        Value::Datetime(time) => time.value().to_string(),
        Value::InlineTable(table) => table.to_string(),
    }
}
