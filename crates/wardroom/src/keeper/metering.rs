//! What a gate counts with: the file of an agent's counters, which outlives every process, and the operator's prices.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use wardroom_gate::{Counters, Prices};
use wardroom_model::exit::Exit;
use wardroom_policy::Policy;

use super::state::{nofollow, whole};
use crate::failure::{Failure, OrExit};
use crate::screen;

/// The file of counters, made where there is none. Whether what is in it can be counted with is for the gate to say:
/// damaged counters refuse what is limited.
pub(super) fn counters(path: &Path) -> anyhow::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600).custom_flags(nofollow());
    let file = options.open(path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.metadata()?.len() > 0 {
        return Ok(file.into());
    }
    // Half of them would refuse every limit from then on.
    let file = whole(path, 0o600, |file| {
        Counters::format(file)?;
        Ok(())
    })?;
    Ok(file.into())
}

/// The prices for a policy. Where it counts nothing, a table with mistakes is said to have them and stops nothing.
pub(super) fn prices_for(policy: &Policy, path: &Path) -> Result<String, Failure> {
    match prices(path) {
        Err(error) if !counts(policy) => {
            screen::talk(&format!(
                "wardroom: {error:#}; this policy limits nothing by prices, and has those that come with Wardroom"
            ));
            Ok(String::new())
        }
        found => found.or_exit(Exit::Policy),
    }
}

/// Whether the prices matter to a policy, so that a mistake in them stops its start.
pub(super) fn counts(policy: &Policy) -> bool {
    !policy.credentials().is_empty() || !policy.model_apis().is_empty()
}

/// The text of the operator's price table; empty where there is none, which means the one that comes with Wardroom.
pub(super) fn prices(path: &Path) -> anyhow::Result<String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    Prices::parse(&path.display().to_string(), &text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_whose_making_was_cut_short_are_made_again() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("counters");
        std::fs::write(path.with_extension("new"), "half").unwrap();
        let first = counters(&path).unwrap();
        assert!(Counters::open(&first).is_ok() && !path.with_extension("new").exists());
        let again = std::fs::File::from(counters(&path).unwrap()).metadata().unwrap();
        assert_eq!(again.len(), std::fs::File::from(first).metadata().unwrap().len());
    }
}
