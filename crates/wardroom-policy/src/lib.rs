//! Policy text in; a verdict, or a plan, out.
//!
//! Everything here is a function of its arguments. This crate opens no file, asks no resolver, reads no clock and holds
//! no state; what it must know of the host comes in as [`plan::HostFacts`].

pub mod canary;
mod credential;
mod diagnose;
pub mod edit;
mod explain;
pub mod network;
mod parse;
pub mod plan;
mod policy;
pub mod sensitive;
mod special;
pub mod templates;
mod why;

pub use credential::{
    Credential, CredentialKind, CredentialLimits, GithubApp, Grant, ModelApi, ModelFields, ModelShape,
    Oauth2, Overdue, Particulars, SecretCommand, SecretSource, Vault, VaultAuth,
};
pub use diagnose::{Diagnostic, PolicyErrors};
pub use edit::{EditError, add_host, allow_arguments, allow_command};
pub use explain::explain;
pub use network::{
    Decision, NetworkPolicy, Permit, RequestDecision, RequestLine, RequestPermit, TlsExpectation,
};
pub use plan::{HostFacts, PlanError, PlanErrors, plan};
pub use policy::{
    Agent, Files, Hours, Isolation, IsolationKind, Outside, PathRule, Policy, Retention, Unsupported,
};
pub use special::is_special;
pub use templates::{HereError, TEMPLATES, here_policy, template, template_at};
pub use why::{Answer, why};
