use age::secrecy::ExposeSecret;
use age::x25519;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use wardroom_kernel::message;
use wardroom_model::credential::AgeStep;
use wardroom_model::{AgentName, Material, Supply};

use super::*;
use crate::double::Double;

const POLICY: &str = r#"
[agent]
name = "scout"
[isolation]
kind = "cell"
[[network.allow]]
host = "api.example.com"
[[credential]]
env = "EXAMPLE_API_KEY"
host = "api.example.com"
header = "x-api-key"
"#;

/// A broker in a thread of its own, and both ends that it talks to.
struct Bench {
    directory: tempfile::TempDir,
    keeper: OwnedFd,
    gate: OwnedFd,
    identity: x25519::Identity,
    broker: Option<thread::JoinHandle<Result<(), BrokerError>>>,
}

impl Bench {
    fn start(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (keeper, control) = message::pair().unwrap();
        let (gate, ours) = message::pair().unwrap();
        set_socket_timeout(&gate, Timeout::Recv, Some(Duration::from_secs(10))).unwrap();
        let setup = BrokerSetup {
            control,
            gate: ours,
            programs: None,
            store: directory.path().to_owned(),
            policy_file: "scout.toml".to_owned(),
            policy_text: text.to_owned(),
        };
        let policy = parse("scout.toml", text).unwrap();
        let web = Web::with_host_authorities();
        let broker = Some(thread::spawn(move || Broker::new(setup, &policy, web)?.run()));
        Self { directory, keeper, gate, identity: x25519::Identity::generate(), broker }
    }

    fn store(&self) -> Store {
        Store::at(self.directory.path(), &AgentName::parse("scout").unwrap(), None)
    }

    fn set(&self, value: &str, set_at: u64) {
        let secret = Secret::new(value.as_bytes().to_vec());
        self.store().put("example", &secret, &self.identity.to_public(), set_at).unwrap();
    }

    fn unlock(&self) {
        let identity = self.identity.to_string().expose_secret().as_bytes().to_vec();
        control::send_identity(&self.keeper, &Secret::new(identity)).unwrap();
    }

    fn hear(&self) -> Supply {
        let mut packet = vec![0; Supply::LONGEST];
        let (length, _) = message::receive(&self.gate, &mut packet).unwrap().unwrap();
        Supply::from_packet(&packet[..length]).unwrap()
    }

    /// Hears until there is a value, and returns it.
    fn value(&self) -> (u64, Secret) {
        loop {
            if let Supply::Value { version, material: Material::Plain(secret), .. } = self.hear() {
                return (version, secret);
            }
        }
    }

    /// What the keeper hears of a source that was to end a value.
    fn given_back(&self) -> Option<String> {
        loop {
            match control::receive(&self.keeper).unwrap().expect("an answer") {
                Answer::GivenBack { name, why_not, .. } if name == "example" => return why_not,
                Answer::GivenBack { .. } | Answer::Ready { .. } | Answer::Pong | Answer::Settled => {}
            }
        }
    }

    fn unavailable(&self) -> String {
        let Supply::Unavailable { why, .. } = self.hear() else { panic!("there is no value") };
        why
    }
}

impl Bench {
    fn finish(&mut self) {
        let Some(broker) = self.broker.take() else { return };
        rustix::net::shutdown(&self.keeper, rustix::net::Shutdown::Write).unwrap();
        broker.join().unwrap().unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.finish();
    }
}

#[test]
fn a_locked_store_gives_nothing_until_it_is_unlocked() {
    let bench = Bench::start(POLICY);
    bench.set("sk-1", clock::unix());
    assert!(bench.unavailable().contains("credential unlock"));
    bench.unlock();
    let (version, secret) = bench.value();
    assert!(version == 1 && secret.eq_ct(b"sk-1"));
}

#[test]
fn what_an_operator_sets_or_revokes_is_in_force_within_a_second() {
    let bench = Bench::start(POLICY);
    bench.unlock();
    while !bench.unavailable().contains("credential set scout example") {}
    let begun = clock::steady();
    bench.set("sk-1", clock::unix());
    assert!(bench.value().1.eq_ct(b"sk-1"));
    bench.set("sk-2", clock::unix());
    let (version, secret) = bench.value();
    assert!(version == 2 && secret.eq_ct(b"sk-2"));
    bench.store().revoke("example").unwrap();
    assert!(matches!(bench.hear(), Supply::Revoked { name } if name == "example"));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    bench.set("sk-3", clock::unix());
    assert_eq!(bench.value().0, 3);
}

#[test]
fn a_file_that_is_damaged_while_it_is_used_ends_its_use() {
    let bench = Bench::start(POLICY);
    bench.set("sk-1", clock::unix());
    bench.unlock();
    bench.value();
    std::fs::write(bench.directory.path().join("example.age"), "garbage").unwrap();
    assert!(bench.unavailable().contains("damaged"));
}

#[test]
fn a_new_gate_is_told_everything_again_and_ages_are_said_once() {
    let mut bench = Bench::start(&format!("{POLICY}max_age = \"10 days\"\n"));
    bench.set("sk-1", clock::unix() - 12 * 86_400);
    bench.unlock();
    bench.value();
    assert!(matches!(bench.hear(), Supply::Age { step: AgeStep::Overdue, .. }));
    let (gate, ours) = message::pair().unwrap();
    control::send_gate(&bench.keeper, ours.as_fd()).unwrap();
    bench.gate = gate;
    assert!(bench.value().1.eq_ct(b"sk-1"));
    assert!(matches!(bench.hear(), Supply::Age { step: AgeStep::Overdue, .. }));
    control::send_ping(&bench.keeper).unwrap();
    assert_eq!(control::receive(&bench.keeper).unwrap(), Some(Answer::Settled));
    assert_eq!(control::receive(&bench.keeper).unwrap(), Some(Answer::Pong));
}

const TOKEN: &str = r#"{"access_token":"at-1","token_type":"bearer","expires_in":3600}"#;

fn oauth2(double: &Double, more: &str) -> String {
    let kind = format!(
        "kind = \"oauth2\"\ntoken_url = \"{0}/token\"\nrevoke_url = \"{0}/revoke\"\nclient_id = \"me\"\n{more}",
        double.base
    );
    POLICY.replace("header = \"x-api-key\"", &kind)
}

/// A broker of a credential of OAuth 2, unlocked, which has had its first token.
fn exchanging(double: &Double, more: &str) -> Bench {
    let bench = Bench::start(&oauth2(double, more));
    bench.set("stored", clock::unix());
    bench.unlock();
    assert!(bench.value().1.eq_ct(b"at-1"));
    bench
}

#[test]
fn a_revocation_is_in_force_first_and_told_to_the_server_then() {
    let double = Double::answering(&[(200, TOKEN), (200, ""), (200, "")]);
    let bench = exchanging(&double, "grant = \"refresh\"");
    bench.store().revoke("example").unwrap();
    assert!(matches!(bench.hear(), Supply::Revoked { .. }));
    assert_eq!(bench.given_back(), None);
    let hints = |body: String| body.split('&').nth(1).unwrap().to_owned();
    let told: Vec<_> = double.bodies("/revoke").into_iter().map(hints).collect();
    assert_eq!(told, ["token_type_hint=refresh_token", "token_type_hint=access_token"]);
}

#[test]
fn a_server_that_does_not_end_a_token_holds_nothing_up_and_is_reported() {
    let refusal = r#"{"error":"unsupported_token_type"}"#;
    let double = Double::answering(&[(200, TOKEN), (400, refusal)]);
    let bench = exchanging(&double, "");
    bench.store().revoke("example").unwrap();
    assert!(matches!(bench.hear(), Supply::Revoked { .. }));
    let why = bench.given_back().unwrap();
    assert!(why.contains("400 (unsupported_token_type)"), "{why}");
}

#[test]
fn a_server_that_is_unwell_is_told_again() {
    let double = Double::answering(&[(200, TOKEN), (503, ""), (200, "")]);
    let bench = exchanging(&double, "");
    bench.store().revoke("example").unwrap();
    assert_eq!(bench.given_back(), None);
    assert_eq!(double.bodies("/revoke").len(), 2);
}

#[test]
fn at_the_end_what_was_made_for_the_run_is_given_back_and_a_users_right_is_not() {
    let double = Double::answering(&[(200, TOKEN), (200, "")]);
    let mut bench = exchanging(&double, "");
    bench.finish();
    assert_eq!(bench.given_back(), None);
    assert_eq!(double.bodies("/revoke"), ["token=at-1&token_type_hint=access_token"]);

    let double = Double::answering(&[(200, TOKEN)]);
    let mut bench = exchanging(&double, "grant = \"refresh\"");
    bench.finish();
    assert!(double.bodies("/revoke").is_empty());
}

#[test]
fn a_token_that_comes_after_its_credential_has_left_and_the_run_has_ended_is_given_back() {
    let double = Double::answering(&[(200, TOKEN), (200, "")]);
    let mut bench = Bench::start(&oauth2(&double, ""));
    bench.set("stored", clock::unix());
    bench.unavailable();
    let held = double.hold();
    bench.unlock();
    let without = POLICY.split("[[credential]]").next().unwrap();
    control::send_policy(&bench.keeper, memory_file::make("policy", without.as_bytes()).unwrap().as_fd())
        .unwrap();
    rustix::net::shutdown(&bench.keeper, rustix::net::Shutdown::Write).unwrap();
    while message::receive(&bench.gate, &mut vec![0; Supply::LONGEST]).unwrap().is_some() {}
    drop(held);
    bench.finish();
    assert_eq!(bench.given_back(), None);
    assert_eq!(double.bodies("/revoke"), ["token=at-1&token_type_hint=access_token"]);
}
