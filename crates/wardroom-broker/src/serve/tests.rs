use age::secrecy::ExposeSecret;
use age::x25519;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use wardroom_kernel::message;
use wardroom_model::credential::AgeStep;
use wardroom_model::{AgentName, Material, Supply};

use super::*;

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

    fn unavailable(&self) -> String {
        let Supply::Unavailable { why, .. } = self.hear() else { panic!("there is no value") };
        why
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        rustix::net::shutdown(&self.keeper, rustix::net::Shutdown::Write).unwrap();
        self.broker.take().unwrap().join().unwrap().unwrap();
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
