//! What an agent must not be able to do.

use crate::harness::Case;

pub(crate) const CASES: &[Case] = &[];
