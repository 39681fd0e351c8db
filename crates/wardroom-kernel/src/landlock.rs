//! Landlock, asked hard: either the kernel enforces every right that the level has, or the answer is an error.
//! There is no best effort here.
#![expect(unsafe_code, reason = "asking for the level has no safe wrapper")]

use std::io;
use std::os::fd::AsFd;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, RestrictSelfError, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The lowest level that makes a cell: 3 is the first that governs truncation (Linux 6.2).
pub const LOWEST: u32 = 3;

/// What is permitted beneath a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// List directories and nothing else.
    List,
    /// Read files and list directories.
    Read,
    /// And execute.
    ReadExecute,
    /// Everything but making device nodes.
    ReadWriteExecute,
    /// Read, write and control existing device files.
    Device,
}

/// A place and what is permitted beneath it.
pub type Rule<'a, F> = (&'a F, Rights);

/// Why Landlock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// The kernel has no Landlock, or too old a one.
    #[error("Landlock level {got}, but at least {LOWEST} is needed")]
    TooOld {
        /// The level at hand; 0 means none.
        got: u32,
    },
    /// The ruleset was refused.
    #[error("Landlock refused the rules")]
    Rules(#[from] RulesetError),
    /// A place of a rule cannot be looked at.
    #[error("a place in the rules cannot be looked at")]
    Place(#[from] io::Error),
    /// The kernel enforces less than was asked.
    #[error("Landlock enforces only a part")]
    Partial,
}

/// The level that the running kernel has; 0 when it has none.
#[must_use]
pub fn level() -> u32 {
    const VERSION: u32 = 1;
    let nothing: *const libc::c_void = std::ptr::null();
    // SAFETY: with the VERSION flag the kernel takes a null attribute of size 0 and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    u32::try_from(result).unwrap_or(0)
}

/// Restricts the calling process and all its descendants, for ever, at `level`.
///
/// Network rights are not handled: the cell's network namespace and the gate govern connections, by name.
///
/// # Errors
/// When the level is below [`LOWEST`], or the kernel does not enforce every right of it.
pub fn restrict<F: AsFd>(rules: &[Rule<'_, F>], level: u32) -> Result<(), LandlockError> {
    let abi = abi_of(level)?;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    if level >= 6 {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    }
    let mut created = ruleset.create()?;
    for (place, rights) in rules {
        created = permit(created, place, access(*rights, abi, is_directory(place)?))?;
    }
    match created.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => Err(LandlockError::Partial),
    }
}

/// How many domains this process can enter, each within the one before: as many as the kernel stacks, less those that it is in
/// already. It is in all of them afterwards, and can make no block devices any more.
///
/// # Errors
/// What Landlock says but that no more fit.
pub fn enter_as_many_as_fit() -> Result<u32, LandlockError> {
    for entered in 0..MOST_DOMAINS {
        let created = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::MakeBlock)?
            .create()?;
        match created.restrict_self() {
            Ok(_status) => {}
            Err(RulesetError::RestrictSelf(RestrictSelfError::RestrictSelfCall { source, .. }))
                if source.raw_os_error() == Some(libc::E2BIG) =>
            {
                return Ok(entered);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(MOST_DOMAINS)
}

/// `LANDLOCK_MAX_NUM_LAYERS` (landlock(7)).
pub const MOST_DOMAINS: u32 = 16;

fn permit<F: AsFd>(
    created: RulesetCreated,
    place: &F,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    created.add_rule(PathBeneath::new(place.as_fd(), access))
}

fn is_directory<F: AsFd>(place: &F) -> Result<bool, LandlockError> {
    let stat = rustix::fs::fstat(place).map_err(io::Error::from)?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

fn access(rights: Rights, abi: ABI, directory: bool) -> BitFlags<AccessFs> {
    let device = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::IoctlDev;
    let wanted = match rights {
        Rights::List => AccessFs::ReadDir.into(),
        Rights::Read => AccessFs::ReadFile | AccessFs::ReadDir,
        Rights::ReadExecute => AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute,
        Rights::ReadWriteExecute => AccessFs::from_all(abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock),
        Rights::Device => device,
    };
    let possible = if directory { AccessFs::from_all(abi) } else { AccessFs::from_file(abi) };
    wanted & possible
}

/// The highest level whose rights are known here; a newer kernel is asked for these.
const NEWEST: u32 = 7;

fn abi_of(level: u32) -> Result<ABI, LandlockError> {
    match level {
        0..LOWEST => Err(LandlockError::TooOld { got: level }),
        3 => Ok(ABI::V3),
        4 => Ok(ABI::V4),
        5 => Ok(ABI::V5),
        6 => Ok(ABI::V6),
        NEWEST.. => Ok(ABI::V7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_level_is_an_error_and_not_less_protection() {
        let none: [Rule<'_, std::fs::File>; 0] = [];
        for old in 0..LOWEST {
            assert!(matches!(restrict(&none, old), Err(LandlockError::TooOld { got }) if got == old));
        }
    }
}
