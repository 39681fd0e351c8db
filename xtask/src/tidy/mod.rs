//! What no compiler checks. Each check is a module with one function that returns the faults it found, in words.

mod dependencies;
mod files;
mod hostile;
mod promises;
mod registries;
mod unsafety;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::say::say;
use crate::spawn;

/// One tracked text file.
#[derive(Debug)]
pub(crate) struct Tracked {
    /// The path from the top directory.
    pub(crate) path: String,
    /// Its text, with what is no UTF-8 replaced.
    pub(crate) text: String,
}

impl Tracked {
    /// Whether this is Rust source.
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }
}

/// Runs every check and fails with all faults of all of them.
pub(crate) fn tidy() -> Result<()> {
    let tracked = tracked()?;
    let mut faults = dependencies::direction()?;
    faults.extend(dependencies::member_comments(&tracked));
    faults.extend(unsafety::outside_the_border(&tracked));
    faults.extend(registries::named(&tracked));
    faults.extend(promises::without_a_witness(&tracked));
    faults.extend(hostile::unlisted(&tracked)?);
    faults.extend(files::too_long(&tracked));
    for fault in &faults {
        say!("tidy: {fault}");
    }
    if faults.is_empty() {
        say!("tidy: {} files, no faults", tracked.len());
        return Ok(());
    }
    bail!("{} faults", faults.len());
}

/// Every file that git knows of or would add, as text.
fn tracked() -> Result<Vec<Tracked>> {
    let list = spawn::read(spawn::command("git").args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let top = crate::workspace();
    let mut files = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        let full = top.join(path);
        if !full.is_file() {
            continue; // deleted but not yet committed, or a symbolic link to a directory
        }
        let bytes = fs::read(&full).with_context(|| path.to_owned())?;
        files.push(Tracked { path: path.to_owned(), text: String::from_utf8_lossy(&bytes).into_owned() });
    }
    Ok(files)
}
