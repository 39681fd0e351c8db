//! Synthetic addresses: each name that a cell has resolved, and the address that stands for it.
//!
//! An address means something only inside its own cell and only in this session. It is never given to a second name,
//! not even after the gate was restarted: each start of the gate draws from a block of its own.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use wardroom_model::HostName;

/// Names that one gate can give addresses to. It bounds memory (about 1 MiB), and with it how much could be said
/// through names below an allowed wildcard; a working day of a coding agent needs some hundred.
pub(crate) const NAMES: u32 = 8_191;
/// How often a gate can be started within a session: 198.18.0.0/15 divided by the block of one.
pub const GENERATIONS: u8 = 16;

const BASE: u32 = u32::from_be_bytes([198, 18, 0, 0]);
const BLOCK: u32 = NAMES + 1;

/// Whether an address is one that stands for a name, given out or not.
pub(crate) fn is_synthetic(ip: Ipv4Addr) -> bool {
    let [a, b, _, _] = ip.octets();
    a == 198 && (b == 18 || b == 19)
}

/// The table of one start of the gate.
#[derive(Debug)]
pub(crate) struct Synthetic {
    first: u32,
    names: Vec<HostName>,
    places: BTreeMap<HostName, u32>,
}

impl Synthetic {
    /// An empty table, for this start of the gate (from 0). None when the addresses of the session are used up.
    pub(crate) fn new(generation: u8) -> Option<Self> {
        let first = BASE + u32::from(generation) * BLOCK + 1;
        (generation < GENERATIONS).then(|| Self { first, names: Vec::new(), places: BTreeMap::new() })
    }

    /// The address of a name: always the same, made when first asked. None when the table is full.
    pub(crate) fn address(&mut self, name: &HostName) -> Option<Ipv4Addr> {
        if let Some(place) = self.places.get(name) {
            return Some(Ipv4Addr::from(self.first + place));
        }
        let place = u32::try_from(self.names.len()).ok().filter(|place| *place < NAMES)?;
        self.names.push(name.clone());
        self.places.insert(name.clone(), place);
        Some(Ipv4Addr::from(self.first + place))
    }

    /// The name that an address stands for. None for an address that was never given out by this table.
    pub(crate) fn name(&self, address: Ipv4Addr) -> Option<&HostName> {
        let place = u32::from(address).checked_sub(self.first)?;
        self.names.get(usize::try_from(place).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    #[test]
    fn a_name_keeps_its_address_and_an_address_its_name() {
        let mut table = Synthetic::new(0).unwrap();
        let a = table.address(&name("a.example")).unwrap();
        let b = table.address(&name("b.example")).unwrap();
        assert_eq!(a, Ipv4Addr::new(198, 18, 0, 1));
        assert_ne!(a, b);
        assert_eq!(table.address(&name("a.example")), Some(a));
        assert_eq!(table.name(b), Some(&name("b.example")));
        assert_eq!(table.name(Ipv4Addr::new(198, 18, 0, 0)), None);
        assert_eq!(table.name(Ipv4Addr::new(198, 18, 0, 3)), None);
        assert_eq!(table.name(Ipv4Addr::new(8, 8, 8, 8)), None);
    }

    #[test]
    fn no_restart_gives_an_old_address_to_another_name() {
        let old = Synthetic::new(0).unwrap().address(&name("old.example")).unwrap();
        let mut new = Synthetic::new(1).unwrap();
        let fresh = new.address(&name("new.example")).unwrap();
        assert_eq!(new.name(old), None);
        assert!(is_synthetic(fresh));
        assert!(Synthetic::new(GENERATIONS).is_none());
    }

    #[test]
    fn the_table_is_bounded_and_stays_within_the_network() {
        let mut table = Synthetic::new(GENERATIONS - 1).unwrap();
        let last =
            (0..NAMES).map(|n| table.address(&name(&format!("h{n}.example")))).last().unwrap().unwrap();
        assert!(is_synthetic(last));
        assert_eq!(table.address(&name("one.too.many")), None);
    }
}
