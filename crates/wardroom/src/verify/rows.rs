//! The probes, as a table: one file a family of attacks, each row with its attempt beside it.

mod confinement;
mod execution;
mod files;
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

/// The probe of this id.
pub(crate) fn named(id: &str) -> Option<&'static Probe> {
    all().find(|probe| probe.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique() {
        let ids: BTreeSet<_> = all().map(|probe| probe.id).collect();
        assert_eq!(ids.len(), all().count());
    }

    #[test]
    fn there_are_at_least_sixty_probes() {
        assert!(all().count() >= 60, "{}", all().count());
    }

    #[test]
    fn a_title_fits_a_narrow_table() {
        for probe in all() {
            assert!(probe.title.chars().count() <= 60, "{}: {}", probe.id, probe.title);
        }
    }
}
