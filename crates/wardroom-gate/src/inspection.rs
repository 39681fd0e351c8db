//! What a gate needs to look into connections: told by the keeper once, at each start of the gate, in a file in memory.
//!
//! It never comes from the policy's text, and it is never written anywhere by a gate.

use minicbor::{Decode, Encode};
use thiserror::Error;

use crate::authority::AuthorityParts;

/// Everything that inspection takes besides the policy.
#[derive(Debug, Default, Encode, Decode)]
pub struct Inspection {
    /// The authority that vouches for the hosts it stands in for. Without it, what must be inspected is refused.
    #[n(0)]
    pub authority: Option<AuthorityParts>,
    /// What every placeholder of this host contains.
    #[n(1)]
    pub tag: String,
    /// Each credential's name and the placeholder that the agent holds for it.
    #[n(2)]
    pub placeholders: Vec<(String, String)>,
    /// The price table of model APIs, as text.
    #[n(3)]
    pub prices: String,
}

/// The bytes are none of the keeper's.
#[derive(Debug, Error)]
#[error("what the keeper says about inspection cannot be read: {0}")]
pub struct InspectionError(String);

impl Inspection {
    /// As it goes to the gate.
    ///
    /// # Errors
    /// None in practice: memory takes every byte.
    pub fn encode(&self) -> Result<Vec<u8>, InspectionError> {
        minicbor::to_vec(self).map_err(|e| InspectionError(e.to_string()))
    }

    /// As the gate reads it.
    ///
    /// # Errors
    /// Not what [`Self::encode`] makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, InspectionError> {
        minicbor::decode(bytes).map_err(|e| InspectionError(e.to_string()))
    }
}
