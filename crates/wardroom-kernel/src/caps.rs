//! Giving up privileges for good, and asking the kernel what is left.
//!
//! Nothing here can give a privilege back.

use std::io;

use rustix::thread::{
    CapabilitiesSecureBits as Bits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    set_capabilities, set_capabilities_secure_bits,
};

/// Empties the bounding set and locks the secure bits: no later exec, uid change or ambient set gives a capability.
///
/// # Errors
/// What `prctl(2)` says; it needs `CAP_SETPCAP` in the cell's user namespace.
pub fn close_bounding_set() -> io::Result<()> {
    empty_bounding_set()?;
    Ok(set_capabilities_secure_bits(locked_bits())?)
}

/// Empties the bounding set alone: no later exec gives a capability.
///
/// # Errors
/// What `prctl(2)` says; it needs `CAP_SETPCAP`.
pub fn empty_bounding_set() -> io::Result<()> {
    for number in 0..=63_u32 {
        let Some(capability) = 1_u64.checked_shl(number) else { break };
        let set = CapabilitySet::from_bits_retain(capability);
        match rustix::thread::remove_capability_from_bounding_set(set) {
            Ok(()) => {}
            // The first number beyond the kernel's last capability.
            Err(rustix::io::Errno::INVAL) if number > 36 => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The secure bits of a cell: root means nothing, changing uids changes no capability, and all of it is locked.
fn locked_bits() -> Bits {
    Bits::NO_ROOT
        | Bits::NO_ROOT_LOCKED
        | Bits::NO_SETUID_FIXUP
        | Bits::NO_SETUID_FIXUP_LOCKED
        | Bits::KEEP_CAPS_LOCKED
        | Bits::NO_CAP_AMBIENT_RAISE
        | Bits::NO_CAP_AMBIENT_RAISE_LOCKED
}

/// Empties the ambient, effective, permitted and inheritable sets.
///
/// # Errors
/// What `prctl(2)` and `capset(2)` say.
pub fn drop_all() -> io::Result<()> {
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}

/// A line of `/proc/self/status`, such as `CapEff`, out of the text of that file.
#[must_use]
pub fn status_line<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_found_by_its_whole_key() {
        let status = "CapBndX:\t1\nCapBnd:\t0000\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        assert_eq!(status_line(status, "CapBnd"), Some("0000"));
        assert_eq!(status_line(status, "Seccomp"), Some("2"));
        assert_eq!(status_line(status, "CapEff"), None);
    }
}
