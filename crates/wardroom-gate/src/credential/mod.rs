//! Credentials at the gate: an agent's placeholder goes in, the real value goes out, to the bound host alone.
//!
//! A value is put in last, after the policy has permitted the request, after the limits have been reserved, after the
//! record, over a connection whose server has been verified. It never goes into a record, an error or an answer.
#![expect(dead_code, reason = "the seam stands before both of its sides do")]

use bytes::Bytes;
use http::{StatusCode, request, response};
use wardroom_model::event::Actor;
use wardroom_model::request::Usage;
use wardroom_model::{HostName, Verdict};

/// The credentials of one agent.
#[derive(Debug)]
pub(crate) struct Credentials {}

/// The request that asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) host: &'a HostName,
    pub(crate) port: u16,
    pub(crate) actor: Option<&'a Actor>,
}

/// A refusal that is yet to be recorded, and how it is answered.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) verdict: Box<Verdict>,
    pub(crate) status: StatusCode,
    /// Seconds after which it may be tried again, for a limit.
    pub(crate) retry_after: Option<u64>,
}

/// One request and its answer, from the moment it is admitted. Dropped before it is settled, it counts as the worst case.
#[derive(Debug)]
pub(crate) struct Exchange {}

impl Credentials {
    /// Looks at the head of a permitted request: whose placeholders it carries and where, which credential is bound,
    /// whether its limits have room. Nothing real is put in yet.
    pub(crate) fn admit(&self, _asked: Asked<'_>, _head: &mut request::Parts) -> Result<Exchange, Refusal> {
        Ok(Exchange {})
    }
}

impl Exchange {
    /// The credential that is put in, by its name.
    pub(crate) fn credential(&self) -> Option<&str> {
        None
    }

    /// Puts the real value in: the last thing before the head is sent.
    pub(crate) fn insert(&mut self, _head: &mut request::Parts) -> Result<(), Refusal> {
        Ok(())
    }

    /// A part of the request's body on its way out.
    pub(crate) fn outgoing(&mut self, part: Bytes) -> Result<Bytes, Refusal> {
        Ok(part)
    }

    /// The head of the answer, masked in place.
    pub(crate) fn answered(&mut self, _head: &mut response::Parts) -> Result<(), Refusal> {
        Ok(())
    }

    /// A part of the answer's body, masked; its end may be held back until more is seen.
    pub(crate) fn incoming(&mut self, part: Bytes) -> Bytes {
        part
    }

    /// What was held back.
    pub(crate) fn finish(&mut self) -> Bytes {
        Bytes::new()
    }

    /// Settles what was reserved, by what the answer says, or by the worst case.
    pub(crate) fn settle(self, _complete: bool) -> Option<Usage> {
        None
    }

    /// Waits until the credential may not be used any more.
    pub(crate) async fn revoked(&self) {
        std::future::pending::<()>().await;
    }
}
