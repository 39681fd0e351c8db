//! Sources and exchanges against doubles of their servers: what is asked and how answers are taken. The doubles are ours,
//! written after the providers' documentation; no real Vault, GitHub or token server takes part.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use wardroom_model::AgentName;
use wardroom_policy::Policy;

use super::*;
use crate::double::Double;
use crate::ending::{Extent, GivenBack};
use crate::programs::Here;

/// A credential with its store, unlocked, and a value in it.
pub(super) struct Bench {
    _directory: tempfile::TempDir,
    pub(super) sources: Sources,
    pub(super) credential: Credential,
}

pub(super) fn bench(more: &str, value: &str) -> Bench {
    let head = "[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\n[[network.allow]]\nhost = \"api.example.com\"\n\
                [[credential]]\nname = \"one\"\nenv = \"ONE_KEY\"\nhost = \"api.example.com\"\n";
    let policy = Policy::parse("scout.toml", &format!("{head}{more}"))
        .unwrap_or_else(|e| panic!("{}", e.render(false)));
    let directory = tempfile::tempdir().unwrap();
    let store = Store::at(directory.path(), &AgentName::parse("scout").unwrap(), None);
    let identity = x25519::Identity::generate();
    let secret = Secret::new(value.as_bytes().to_vec());
    store.put("one", &secret, &identity.to_public(), 1_000).unwrap();
    let (web, programs) = (Web::with_host_authorities(), Arc::new(Here));
    let sources = Sources { store, identity: Ok(identity), web, programs };
    Bench { _directory: directory, sources, credential: policy.credentials()[0].clone() }
}

impl Bench {
    pub(super) fn get(&self) -> Result<Got, FetchError> {
        self.sources.get(&self.credential)
    }

    fn stored(&self) -> Secret {
        self.sources.store.take("one", self.sources.identity.as_ref().unwrap()).unwrap().secret
    }
}

pub(super) fn is(got: &Got, value: &str) -> bool {
    matches!(&got.material, Material::Plain(secret) if secret.eq_ct(value.as_bytes()))
}

fn oauth2(double: &Double, more: &str) -> String {
    format!("kind = \"oauth2\"\ntoken_url = \"{}/token\"\nclient_id = \"me\"\n{more}\n", double.base)
}

#[test]
fn oauth2_client_credentials_prove_the_client_and_give_a_token_that_ends() {
    let answer = r#"{"access_token":"at-1","token_type":"Bearer","expires_in":3600}"#;
    let double = Double::answering(&[(200, answer)]);
    let bench = bench(&oauth2(&double, "scopes = [\"a\", \"b\"]"), "client secret");
    let got = bench.get().unwrap();
    assert!(is(&got, "at-1"));
    let left = got.expires.unwrap() - clock::unix();
    assert!((3_590..=3_600).contains(&left) && got.again.unwrap() < got.expires.unwrap());
    let asked = double.asked(0);
    assert_eq!(asked.line, "POST /token");
    assert_eq!(asked.body, "grant_type=client_credentials&scope=a+b");
    // me:client+secret, as RFC 6749 has it encoded.
    assert!(asked.head.contains("Basic bWU6Y2xpZW50K3NlY3JldA=="), "{}", asked.head);
}

#[test]
fn a_rotated_refresh_token_is_in_the_store_before_its_access_token_is_used() {
    let answers = [
        (200, r#"{"access_token":"at-1","token_type":"bearer","expires_in":60,"refresh_token":"rt-2"}"#),
        (200, r#"{"access_token":"at-2","token_type":"bearer"}"#),
    ];
    let double = Double::answering(&answers);
    let bench = bench(&oauth2(&double, "grant = \"refresh\""), "rt-1");
    assert!(is(&bench.get().unwrap(), "at-1"));
    assert!(bench.stored().eq_ct(b"rt-2"));
    assert!(is(&bench.get().unwrap(), "at-2"));
    assert_eq!(double.asked(0).body, "grant_type=refresh_token&refresh_token=rt-1&client_id=me");
    assert!(double.asked(1).body.contains("refresh_token=rt-2"));
    assert!(bench.stored().eq_ct(b"rt-2"));
}

const ACCESS: &str = r#"{"access_token":"at-1","token_type":"bearer","expires_in":3600}"#;

fn revocable(double: &Double, more: &str) -> String {
    oauth2(double, &format!("revoke_url = \"{}/revoke\"\n{more}", double.base))
}

#[test]
fn a_clients_own_token_is_ended_after_its_use_with_proof_of_the_client() {
    let double = Double::answering(&[(200, ACCESS), (200, "")]);
    let bench = bench(&revocable(&double, ""), "client secret");
    let got = bench.get().unwrap();
    let said = bench.sources.end(&bench.credential, &got, Extent::Use);
    assert!(matches!(&said[..], [GivenBack { outcome: Ok(()), .. }]), "{said:?}");
    let asked = double.asked(1);
    assert_eq!(
        (asked.line.as_str(), asked.body.as_str()),
        ("POST /revoke", "token=at-1&token_type_hint=access_token")
    );
    assert!(asked.head.contains("Basic bWU6Y2xpZW50K3NlY3JldA=="), "{}", asked.head);
    let over = Got { expires: Some(clock::unix()), ..got };
    assert!(bench.sources.end(&bench.credential, &over, Extent::Use).is_empty(), "it ended by itself");
}

#[test]
fn a_users_right_outlives_its_use_and_ends_with_its_revocation_in_its_latest_form() {
    let rotated = r#"{"access_token":"at-1","token_type":"bearer","expires_in":3600,"refresh_token":"rt-2"}"#;
    let double = Double::answering(&[(200, rotated), (200, ""), (200, "")]);
    let bench = bench(&revocable(&double, "grant = \"refresh\""), "rt-1");
    let got = bench.get().unwrap();
    assert!(bench.sources.end(&bench.credential, &got, Extent::Use).is_empty());
    let said = bench.sources.end(&bench.credential, &got, Extent::Right);
    assert!(matches!(&said[..], [GivenBack { outcome: Ok(()), .. }]), "{said:?}");
    let wanted = [
        "token=rt-2&token_type_hint=refresh_token&client_id=me",
        "token=at-1&token_type_hint=access_token&client_id=me",
    ];
    assert_eq!(double.bodies("/revoke"), wanted);
}

#[test]
fn what_the_store_held_is_ended_at_its_server_after_it_is_revoked_there() {
    let double = Double::answering(&[(200, "")]);
    let bench =
        bench(&revocable(&double, "grant = \"refresh\""), r#"{"client_secret":"cs","refresh_token":"rt-1"}"#);
    assert_eq!(crate::stored_ends_at(&bench.credential), Some(format!("{}/revoke", double.base).as_str()));
    let sealed = bench.sources.store.revoke("one").unwrap().unwrap();
    assert!(matches!(bench.get(), Err(FetchError::Store(StoreError::Revoked { .. }))));
    bench.sources.end_stored(&bench.credential, &sealed).unwrap();
    assert_eq!(double.asked(0).body, "token=rt-1&token_type_hint=refresh_token");
    let locked = Sources { identity: Err("it is locked".to_owned()), ..bench.sources.clone() };
    let error = locked.end_stored(&bench.credential, &sealed).unwrap_err().to_string();
    assert_eq!(error, "it is locked");
}

#[test]
fn a_source_that_does_not_end_a_value_says_why_and_no_word_of_it() {
    for (status, body, wanted, again) in [
        (
            400,
            r#"{"error":"unsupported_token_type","error_description":"at-1"}"#,
            "unsupported_token_type",
            false,
        ),
        (503, "at-1", "503", true),
        (302, "", "302", false),
    ] {
        let double = Double::answering(&[(200, ACCESS), (status, body)]);
        let bench = bench(&revocable(&double, ""), "client secret");
        let got = bench.get().unwrap();
        let said = bench.sources.end(&bench.credential, &got, Extent::Right).remove(0);
        assert_eq!(said.is_worth_another_try(), again, "{said:?}");
        let error = said.outcome.unwrap_err().to_string();
        assert!(error.contains(wanted) && !error.contains("at-1"), "{error}");
    }
}

#[test]
fn without_a_revocation_endpoint_nobody_is_told() {
    let double = Double::answering(&[(200, ACCESS)]);
    let bench = bench(&oauth2(&double, ""), "client secret");
    let got = bench.get().unwrap();
    assert!(bench.sources.end(&bench.credential, &got, Extent::Right).is_empty());
    assert_eq!(crate::stored_ends_at(&bench.credential), None);
}

#[test]
fn a_refresh_that_was_under_way_does_not_undo_a_revocation() {
    let rotated = r#"{"access_token":"at-1","token_type":"bearer","refresh_token":"rt-2"}"#;
    let double = Double::answering(&[(200, rotated)]);
    let bench = bench(&oauth2(&double, "grant = \"refresh\""), "rt-1");
    let (secret, got) = bench.sources.held(&bench.credential).unwrap();
    bench.sources.store.revoke("one").unwrap();
    let got = bench.sources.made_of(&bench.credential, Raw::bytes(&secret), got).unwrap();
    assert_eq!(bench.sources.store.state("one").unwrap(), crate::State::Revoked);
    assert!(got.halves.is_some() && got.stored == Some(1), "and it can still be ended");
    // Nor what the operator has set meanwhile.
    let double = Double::answering(&[(200, rotated)]);
    let bench = self::bench(&oauth2(&double, "grant = \"refresh\""), "rt-1");
    let (secret, got) = bench.sources.held(&bench.credential).unwrap();
    let to = bench.sources.identity.as_ref().unwrap().to_public();
    bench.sources.store.put("one", &Secret::new(b"rt-9".to_vec()), &to, 2_000).unwrap();
    bench.sources.made_of(&bench.credential, Raw::bytes(&secret), got).unwrap();
    assert!(bench.stored().eq_ct(b"rt-9"));
}

#[test]
fn what_a_token_server_refuses_or_garbles_gives_no_value_and_no_word_of_it() {
    for (status, body, wanted) in [
        (400, r#"{"error":"invalid_grant","error_description":"rt-1 is over"}"#, "invalid_grant"),
        (500, "rt-1", "500"),
        (200, "<html>rt-1", "not what it should be"),
        (200, r#"{"access_token":"x","token_type":"mac"}"#, "bearer"),
        (200, "{\"access_token\":\"a\\nb\",\"token_type\":\"bearer\"}", "cannot be sent"),
        (302, "", "302"),
    ] {
        let double = Double::answering(&[(status, body)]);
        let error = bench(&oauth2(&double, "grant = \"refresh\""), "rt-1").get().unwrap_err().to_string();
        assert!(error.contains(wanted) && !error.contains("rt-1"), "{error}");
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
fn a_github_app_signs_for_itself_and_gets_a_token_that_is_narrowed() {
    let openssl = |arguments: &[&str], input: &[u8]| {
        let argv: Vec<_> =
            ["/usr/bin/openssl"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        crate::run::run(&argv, input, Duration::from_secs(60))
    };
    let Ok(key) = openssl(&["genrsa", "2048"], b"") else {
        eprintln!("SKIPPED: a_github_app_signs_for_itself: no openssl here");
        return;
    };
    let public = openssl(&["rsa", "-pubout"], key.expose()).unwrap();
    let narrow = r#"{"token":"ghs_1","expires_at":"2100-01-01T00:00:00Z","repositories":[{"name":"site"}]}"#;
    let wide = r#"{"token":"ghs_2","expires_at":"2100-01-01T00:00:00Z","repositories":[{"name":"site"},{"name":"x"}]}"#;
    let double = Double::answering(&[(201, narrow), (204, ""), (201, wide)]);
    let more = format!(
        "kind = \"github-app\"\napp_id = 12\ninstallation_id = 34\napi = \"{}\"\nrepositories = [\"site\"]\npermissions = {{ contents = \"read\" }}\n",
        double.base
    );
    let bench = bench(&more, std::str::from_utf8(key.expose()).unwrap());
    let got = bench.get().unwrap();
    assert!(is(&got, "ghs_1") && got.expires == Some(4_102_444_800));
    let asked = double.asked(0);
    assert_eq!(asked.line, "POST /app/installations/34/access_tokens");
    let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body, serde_json::json!({"repositories": ["site"], "permissions": {"contents": "read"}}));
    let token = asked.head.lines().find_map(|line| line.split_once("Bearer ")).unwrap().1;
    let key = DecodingKey::from_rsa_pem(public.expose()).unwrap();
    let claims = decode::<serde_json::Value>(token, &key, &Validation::new(Algorithm::RS256)).unwrap().claims;
    assert_eq!(claims["iss"], "12");
    assert!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap() <= 600);

    let said = bench.sources.end(&bench.credential, &got, Extent::Use);
    assert!(matches!(&said[..], [GivenBack { at, outcome: Ok(()) }] if *at == double.base), "{said:?}");
    assert_eq!(double.asked(1).line, "DELETE /installation/token");
    assert!(bench.get().unwrap_err().to_string().contains("other repositories"));
}

fn vault(double: &Double, more: &str) -> String {
    format!("kind = \"bearer\"\nsource = {{ vault = {{ address = \"{}\", {more} }} }}\n", double.base)
}

#[test]
fn a_vaults_kv_value_is_read_with_the_token_of_the_store() {
    let answer = r#"{"data":{"data":{"key":"sk-1"},"metadata":{"version":2}}}"#;
    let double = Double::answering(&[(200, answer), (403, r#"{"errors":["hvs.token denied"]}"#)]);
    let more = "path = \"secret/data/scout\", field = \"key\", namespace = \"team\", auth = \"token\"";
    let bench = bench(&vault(&double, more), "hvs.token");
    let got = bench.get().unwrap();
    assert!(is(&got, "sk-1") && got.expires.is_none() && got.again.is_some() && !got.is_leased());
    let asked = double.asked(0);
    assert_eq!(asked.line, "GET /v1/secret/data/scout");
    assert!(
        asked.head.contains("x-vault-token: hvs.token") && asked.head.contains("x-vault-namespace: team")
    );
    let error = bench.get().unwrap_err().to_string();
    assert!(error.contains("403") && !error.contains("hvs.token"), "{error}");
}

#[test]
fn a_dynamic_secret_is_renewed_while_it_can_be_and_given_back_at_the_end() {
    let answers = [
        (200, r#"{"auth":{"client_token":"s.1","lease_duration":600}}"#),
        (200, r#"{"lease_id":"db/1","lease_duration":60,"renewable":true,"data":{"password":"pw-1"}}"#),
        (200, r#"{"auth":{"client_token":"s.1"}}"#),
        (200, r#"{"lease_id":"db/1","lease_duration":60,"renewable":true}"#),
        (204, ""),
        (204, ""),
    ];
    let double = Double::answering(&answers);
    let more =
        "path = \"database/creds/scout\", field = \"password\", auth = \"approle\", role_id = \"role\"";
    let bench = bench(&vault(&double, more), "secret-id");
    let mut got = bench.get().unwrap();
    assert!(is(&got, "pw-1") && got.is_leased());
    assert!(bench.sources.refresh(&bench.credential, &mut got).unwrap().is_none());
    assert!(got.expires.unwrap() >= clock::unix() + 55);
    let said = bench.sources.end(&bench.credential, &got, Extent::Use);
    assert!(matches!(&said[..], [GivenBack { outcome: Ok(()), .. }]), "{said:?}");
    let lines: Vec<_> = (0..6).map(|number| double.asked(number).line).collect();
    let wanted = [
        "POST /v1/auth/approle/login",
        "GET /v1/database/creds/scout",
        "POST /v1/auth/token/renew-self",
        "POST /v1/sys/leases/renew",
        "POST /v1/sys/leases/revoke",
        "POST /v1/auth/token/revoke-self",
    ];
    assert_eq!(lines, wanted);
    assert!(double.asked(0).body.contains("secret-id") && double.asked(4).body.contains("db/1"));
}
