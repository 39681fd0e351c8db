//! What the gate gives up before it reads its first byte: privileges, and the way back to them.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use thiserror::Error;

/// Why the gate cannot be confined. It must then not serve.
#[derive(Debug, Error)]
pub enum HardenError {
    /// The kernel refused a step.
    #[error("cannot {step}")]
    Kernel {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A capability is still held.
    #[error("the kernel reports that the gate still holds capabilities: {0}")]
    StillCapable(String),
}

/// Gives everything up and asks the kernel whether it is gone.
pub(crate) fn harden() -> Result<(), HardenError> {
    let at = |step| move |e: rustix::io::Errno| HardenError::Kernel { step, source: e.into() };
    // Descriptors: two a connection, and pipes.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).map_err(at("raise the number of descriptors"))?;
    set_no_new_privs(true).map_err(at("set no_new_privs"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("forbid core dumps"))?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(at("drop capabilities"))?;
    let left = capabilities(None).map_err(at("read capabilities back"))?;
    if (left.effective | left.permitted | left.inheritable).is_empty() {
        Ok(())
    } else {
        Err(HardenError::StillCapable(format!("{left:?}")))
    }
}
