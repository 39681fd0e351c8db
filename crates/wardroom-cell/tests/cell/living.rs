//! What a cell does while it stands.

use crate::harness::Case;

pub(crate) const CASES: &[Case] = &[];
