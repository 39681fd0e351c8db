//! Control groups: the limits on memory, processors and tasks of a whole cell, and its freezer.

use std::io;

use rustix::process::Pid;
use wardroom_model::event::Mechanism;
use wardroom_model::plan::{CellPlan, LimitsBy};

use crate::error::CellError;

/// The control group of one cell, removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {}

impl Cgroup {
    pub(crate) fn create(plan: &CellPlan) -> Result<Option<Self>, CellError> {
        let asked = plan.limits.memory.is_some() || plan.limits.cpus.is_some() || plan.limits.tasks.is_some();
        if plan.limits.by == LimitsBy::RlimitsOnly || !asked {
            return Ok(None);
        }
        Err(CellError::Limits {
            why: "no control groups".into(),
            remedy: "say limits = \"rlimits-only\" in the policy",
        })
    }

    pub(crate) fn add(&self, _pid: Pid) -> Result<(), CellError> {
        Ok(())
    }

    pub(crate) fn check(&self, _plan: &CellPlan) -> Result<Vec<Mechanism>, CellError> {
        Ok(Vec::new())
    }

    pub(crate) fn freeze(&self) -> io::Result<bool> {
        Ok(false)
    }

    pub(crate) fn thaw(&self) -> io::Result<bool> {
        Ok(false)
    }

    pub(crate) fn remove(self) -> io::Result<()> {
        Ok(())
    }
}
