//! The probes, as a table: one file a family of attacks, each row with its attempt beside it.

mod confinement;
mod execution;
mod files;
pub(crate) mod governed;
mod kernel;
mod local;
mod names;
mod network;
mod processes;
mod record;

use super::probe::Probe;

const FAMILIES: &[&[Probe]] = &[
    network::PROBES,
    names::PROBES,
    local::PROBES,
    files::PROBES,
    kernel::PROBES,
    processes::PROBES,
    confinement::PROBES,
    execution::PROBES,
    record::PROBES,
];

/// Every probe that runs in the cell.
pub(crate) fn all() -> impl Iterator<Item = &'static Probe> {
    FAMILIES.iter().copied().flatten()
}

/// Every probe that needs services of our own, which a second cell permits.
pub(crate) fn governed() -> impl Iterator<Item = &'static Probe> {
    governed::PROBES.iter()
}

/// The probe of this id.
pub(crate) fn named(id: &str) -> Option<&'static Probe> {
    all().chain(governed()).find(|probe| probe.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::verify::ledger;

    #[test]
    fn ids_are_unique() {
        let ids: BTreeSet<_> = all().chain(governed()).map(|probe| probe.id).collect();
        assert_eq!(ids.len(), all().chain(governed()).count());
    }

    #[test]
    fn there_are_at_least_sixty_probes() {
        assert!(all().count() >= 60, "{}", all().count());
    }

    /// The line of attacks that an id belongs to.
    fn line_of(id: &'static str) -> &'static str {
        id.split_once('.').map_or(id, |(line, _)| line)
    }

    /// Issue 2's lines of attacks.md.
    #[test]
    fn every_line_of_attacks_has_a_probe() {
        let lines: BTreeSet<&str> = all()
            .chain(governed())
            .map(|probe| line_of(probe.id))
            .chain(ledger::ids().map(line_of))
            .collect();
        let wanted = (1..=16)
            .map(|number| format!("C{number}"))
            .chain(
                [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 15, 16, 17, 18, 20, 21, 22]
                    .map(|number| format!("N{number}")),
            )
            .chain((1..=5).map(|number| format!("L{number}")));
        let missing: Vec<String> = wanted.filter(|line| !lines.contains(line.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_title_fits_a_narrow_table() {
        for probe in all().chain(governed()) {
            assert!(probe.title.chars().count() <= 60, "{}: {}", probe.id, probe.title);
        }
    }
}
