//! Every hostile program stands in the manifest, and what stands there exists.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::tidy::Tracked;

const DIRECTORY: &str = "hostile/";
const MANIFEST: &str = "hostile/manifest.toml";

/// Programs that the manifest forgets, and entries without a program.
pub(crate) fn unlisted(tracked: &[Tracked]) -> Result<Vec<String>> {
    let Some(manifest) = tracked.iter().find(|file| file.path == MANIFEST) else {
        return Ok(vec![format!("{MANIFEST}: missing")]);
    };
    let listed = listed(&manifest.text).context(MANIFEST)?;
    let present: BTreeSet<String> = tracked
        .iter()
        .filter_map(|file| file.path.strip_prefix(DIRECTORY))
        .filter(|name| name.starts_with("programs/"))
        .map(str::to_owned)
        .collect();
    let forgotten = present.difference(&listed).map(|name| format!("{MANIFEST} does not list {name}"));
    let absent =
        listed.difference(&present).map(|name| format!("{MANIFEST} lists {name}, which is not there"));
    Ok(forgotten.chain(absent).collect())
}

/// The files that the manifest names.
fn listed(text: &str) -> Result<BTreeSet<String>> {
    let manifest: toml::Table = text.parse()?;
    let programs = manifest.get("program").and_then(toml::Value::as_array).context("no [[program]]")?;
    programs
        .iter()
        .map(|program| {
            let file =
                program.get("file").and_then(toml::Value::as_str).context("a program without a file")?;
            Ok(file.to_owned())
        })
        .collect()
}
