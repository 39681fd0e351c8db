//! The kinds whose secret is not what is sent: it is exchanged for a token that lives shortly and can do less.

pub(crate) mod github;
pub(crate) mod oauth2;

use wardroom_model::Secret;

/// A token that was given for a secret.
#[derive(Debug)]
pub(crate) struct Token {
    /// What is sent.
    pub(crate) token: Secret,
    /// When it ends, in seconds since the epoch.
    pub(crate) expires: Option<u64>,
    /// What the server wants to see the next time, where that is another secret.
    pub(crate) next: Option<Secret>,
    /// What it takes to end it, where that is more than the token.
    pub(crate) halves: Option<oauth2::Halves>,
}
