//! HashiCorp Vault and OpenBao: KV values and dynamic secrets, by a token or an AppRole. A dynamic secret has a lease,
//! which is renewed while the agent runs and given back at the end.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use wardroom_model::Secret;
use wardroom_policy::{Vault, VaultAuth};
use zeroize::Zeroizing;

use crate::fetch::FetchError;
use crate::raw::Raw;
use crate::web::{Question, Web, WebError};

/// What was read, and what it takes to keep it.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) raw: Raw,
    /// Of a dynamic secret.
    pub(crate) lease: Option<Lease>,
}

/// A lease of a dynamic secret, with the token that holds it: should that end, so does the lease.
#[derive(Debug)]
pub(crate) struct Lease {
    id: String,
    token: Secret,
    /// Whether the token was made for this lease alone.
    own_token: bool,
    /// Seconds that it lasts from its last renewal on.
    pub(crate) seconds: u64,
    pub(crate) renewable: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    lease_id: String,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
    data: Option<BTreeMap<String, Value>>,
    auth: Option<Auth>,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
}

/// Reads the secret, proving ourselves with what the store holds.
pub(crate) fn read(vault: &Vault, proof: &Secret, web: &Web) -> Result<Reading, FetchError> {
    let server = Server { vault, web };
    let (token, own_token) = match &vault.auth {
        VaultAuth::Token => (proof.duplicate(), false),
        VaultAuth::AppRole { role_id, mount } => (server.log_in(mount, role_id, proof)?, true),
    };
    let answer = server.ask("GET", &vault.path, Some(&token), None);
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            server.leave(&token, own_token);
            return Err(error.into());
        }
    };
    let Answer { lease_id, lease_duration, renewable, data, auth: _ } = answer;
    let raw = fields(data.unwrap_or_default(), vault.field.as_deref());
    if lease_id.is_empty() {
        server.leave(&token, own_token);
        return Ok(Reading { raw: raw?, lease: None });
    }
    let lease = Lease { id: lease_id, token, own_token, seconds: lease_duration, renewable };
    match raw {
        Ok(raw) => Ok(Reading { raw, lease: Some(lease) }),
        Err(error) => {
            let _ends_anyway = give_back(vault, &lease, web);
            Err(error)
        }
    }
}

/// Makes a lease last longer, and its token too. Returns the seconds that it lasts now.
pub(crate) fn renew(vault: &Vault, lease: &Lease, web: &Web) -> Result<u64, FetchError> {
    let server = Server { vault, web };
    // A token that cannot be renewed may still live long enough; if not, the lease says so.
    let _may_fail = server.ask("POST", "auth/token/renew-self", Some(&lease.token), Some(&json!({})));
    let asked = json!({"lease_id": lease.id, "increment": lease.seconds});
    let answer = server.ask("POST", "sys/leases/renew", Some(&lease.token), Some(&asked))?;
    Ok(answer.lease_duration)
}

/// Gives a lease back: the server ends the secret. One that cannot be given back ends with its time.
pub(crate) fn give_back(vault: &Vault, lease: &Lease, web: &Web) -> Result<(), WebError> {
    let server = Server { vault, web };
    let asked = json!({"lease_id": lease.id});
    let given = server.tell("sys/leases/revoke", &lease.token, &asked);
    if !lease.own_token {
        return given;
    }
    // A token's leases end with it, whatever came of the lease.
    server.tell("auth/token/revoke-self", &lease.token, &json!({})).or(given)
}

/// The value in an answer: one field, or all.
fn fields(data: BTreeMap<String, Value>, field: Option<&str>) -> Result<Raw, FetchError> {
    // KV version 2 wraps the value, with what it knows of its versions beside it.
    let mut data = data;
    let wrapped = data.contains_key("metadata");
    if let Some(Value::Object(inner)) = data.get("data").filter(|_| wrapped) {
        data = inner.clone().into_iter().collect();
    }
    let text = |value: Value| match value {
        Value::String(text) => Some(Secret::new(text.into_bytes())),
        Value::Number(number) => Some(Secret::new(number.to_string().into_bytes())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match field {
        Some(field) => {
            let missing = || FetchError::Shape(format!("there is no field {field:?} at this path"));
            Ok(Raw::bytes(&data.remove(field).and_then(text).ok_or_else(missing)?))
        }
        None => {
            let fields: BTreeMap<_, _> =
                data.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect();
            if fields.is_empty() {
                return Err(FetchError::Shape("there is no value at this path".to_owned()));
            }
            Ok(Raw::Fields(fields))
        }
    }
}

struct Server<'a> {
    vault: &'a Vault,
    web: &'a Web,
}

impl Server<'_> {
    fn log_in(&self, mount: &str, role: &str, proof: &Secret) -> Result<Secret, FetchError> {
        let proof = std::str::from_utf8(proof.expose())
            .map_err(|_cause| FetchError::Shape("the AppRole's secret id is no text".to_owned()))?;
        let asked = json!({"role_id": role, "secret_id": proof});
        let answer = self.ask("POST", &format!("auth/{mount}/login"), None, Some(&asked))?;
        let token = answer.auth.map(|auth| Secret::new(auth.client_token.into_bytes()));
        token.ok_or_else(|| FetchError::Shape("the server gave no token".to_owned()))
    }

    /// Ends a token that was made for us; one that is left ends with its time.
    fn leave(&self, token: &Secret, own: bool) {
        if own {
            let _ends_anyway = self.tell("auth/token/revoke-self", token, &json!({}));
        }
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&Secret>,
        body: Option<&Value>,
    ) -> Result<Answer, WebError> {
        self.web.ask(self.question(method, path, token, body))
    }

    fn tell(&self, path: &str, token: &Secret, body: &Value) -> Result<(), WebError> {
        self.web.tell(self.question("POST", path, Some(token), Some(body)))
    }

    fn question<'q>(
        &self,
        method: &'q str,
        path: &str,
        token: Option<&Secret>,
        body: Option<&Value>,
    ) -> Question<'q> {
        let mut headers = vec![("x-vault-request", Secret::new(b"true".to_vec()))];
        headers.extend(token.map(|token| ("x-vault-token", token.duplicate())));
        let namespace = self.vault.namespace.as_ref();
        headers.extend(namespace.map(|name| ("x-vault-namespace", Secret::new(name.clone().into_bytes()))));
        let url = format!("{}/v1/{path}", self.vault.address);
        let body = body.map(|body| ("application/json", Zeroizing::new(body.to_string().into_bytes())));
        Question { method, url, headers, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str) -> BTreeMap<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn both_versions_of_kv_give_the_same_value() {
        for text in [r#"{"key":"sk-1","note":"x"}"#, r#"{"data":{"key":"sk-1"},"metadata":{"version":2}}"#] {
            let Raw::Bytes(value) = fields(data(text), Some("key")).unwrap() else { panic!("one value") };
            assert!(value.eq_ct(b"sk-1"), "{text}");
            assert!(fields(data(text), Some("other")).is_err());
        }
        assert!(fields(data("{}"), None).is_err());
        assert!(fields(data(r#"{"data":null,"metadata":{}}"#), Some("key")).is_err());
        assert!(
            matches!(fields(data(r#"{"a":"1","b":"2"}"#), None), Ok(Raw::Fields(found)) if found.len() == 2)
        );
    }
}
