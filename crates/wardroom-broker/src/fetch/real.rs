//! A real OpenBao server, where this machine has one (`bao` on the path): everything that the doubles say that it does. What it
//! makes dynamic secrets of is a double of RabbitMQ's interface, for a lease needs somebody who has users.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::tests::{Bench, bench, is};
use super::*;
use crate::double::Double;
use crate::ending::{Extent, GivenBack};

/// A server in memory, with everything open to its root token.
struct Bao {
    address: String,
    home: tempfile::TempDir,
    server: Child,
}

impl Bao {
    #[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
    fn start(test: &str) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let listen = format!("-dev-listen-address=127.0.0.1:{port}");
        let server =
            command(&home, &["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root", &listen])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
        let Ok(server) = server else {
            eprintln!("SKIPPED: {test}: no OpenBao here");
            return None;
        };
        let bao = Self { address: format!("http://127.0.0.1:{port}"), home, server };
        let begun = clock::steady();
        while bao.said(&["status"]).is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(bao)
    }

    fn said(&self, arguments: &[&str]) -> Option<String> {
        let mut command = command(&self.home, arguments);
        let output = command.env("BAO_ADDR", &self.address).env("BAO_TOKEN", "root").output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    fn does(&self, line: &str) -> String {
        let arguments: Vec<_> = line.split(' ').collect();
        self.said(&arguments).unwrap_or_else(|| panic!("{line}"))
    }

    /// A credential whose source is a path of this server.
    fn source(&self, proof: &str, more: &str) -> Bench {
        let vault = format!(
            "kind = \"bearer\"\nsource = {{ vault = {{ address = \"{}\", {more} }} }}\n",
            self.address
        );
        bench(&vault, proof)
    }

    /// The role and a secret id of an AppRole that may do what a policy of one path says.
    fn role(&self, path: &str) -> (String, String) {
        let policy = self.home.path().join("policy.hcl");
        let rules = format!("path \"{path}\" {{ capabilities = [\"read\"] }}\n");
        std::fs::write(&policy, rules).unwrap();
        self.does(&format!("policy write scout {}", policy.display()));
        self.does("auth enable approle");
        self.does("write auth/approle/role/scout token_policies=scout token_ttl=10m");
        let role = self.does("read -field=role_id auth/approle/role/scout/role-id");
        (role, self.does("write -force -field=secret_id auth/approle/role/scout/secret-id"))
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests start a server")]
fn command(home: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new("bao");
    command.args(arguments).env("HOME", home.path());
    command
}

#[test]
fn a_real_server_gives_values_of_both_kv_engines_by_token_and_by_app_role() {
    let Some(bao) = Bao::start("a_real_server_gives_values") else { return };
    bao.does("secrets enable -path=old -version=1 kv");
    for (put, path) in
        [("kv put -mount=secret scout", "secret/data/scout"), ("kv put -mount=old scout", "old/scout")]
    {
        bao.does(&format!("{put} key=sk-1 other=x"));
        let by_token = bao.source("root", &format!("path = \"{path}\", field = \"key\""));
        let got = by_token.get().unwrap();
        assert!(is(&got, "sk-1") && got.expires.is_none() && !got.is_leased(), "{path}");
        bao.does(&format!("{put} key=sk-2"));
        assert!(is(&by_token.get().unwrap(), "sk-2"), "{path}");
        let missing = bao.source("root", &format!("path = \"{path}\", field = \"none\"")).get().unwrap_err();
        assert!(missing.to_string().contains("no field"), "{missing}");
    }
    let (role, secret) = bao.role("secret/data/scout");
    let more =
        format!("path = \"secret/data/scout\", field = \"key\", auth = \"approle\", role_id = \"{role}\"");
    assert!(is(&bao.source(&secret, &more).get().unwrap(), "sk-2"));
    // The token that was made for one reading is gone with it: the root's is left.
    let tokens = bao.does("list -format=json auth/token/accessors");
    assert_eq!(serde_json::from_str::<Vec<String>>(&tokens).unwrap().len(), 1, "{tokens}");
    let wrong = bao.source("wrong", "path = \"secret/data/scout\", field = \"key\"").get().unwrap_err();
    assert!(wrong.to_string().contains("403") && !wrong.to_string().contains("wrong"), "{wrong}");
    let elsewhere =
        format!("path = \"old/scout\", field = \"key\", auth = \"approle\", role_id = \"{role}\"");
    assert!(bao.source(&secret, &elsewhere).get().unwrap_err().to_string().contains("403"));
}

#[test]
fn a_real_server_s_lease_is_renewed_and_given_back() {
    let Some(bao) = Bao::start("a_real_server_s_lease") else { return };
    // Made, permitted; taken away.
    let users = Double::answering(&[(201, ""), (201, ""), (204, "")]);
    bao.does("secrets enable rabbitmq");
    bao.does(&format!(
        "write rabbitmq/config/connection connection_uri={} username=u password=p verify_connection=false",
        users.base
    ));
    bao.does("write rabbitmq/config/lease ttl=60 max_ttl=3600");
    bao.does("write rabbitmq/roles/scout vhosts={\"/\":{\"read\":\".*\"}}");
    let (role, secret) = bao.role("rabbitmq/creds/scout");
    let more = format!(
        "path = \"rabbitmq/creds/scout\", field = \"password\", auth = \"approle\", role_id = \"{role}\""
    );
    let bench = bao.source(&secret, &more);
    let mut got = bench.get().unwrap();
    let leases = || bao.said(&["list", "sys/leases/lookup/rabbitmq/creds/scout"]);
    assert!(got.is_leased() && leases().is_some());
    got.expires = Some(0);
    assert!(bench.sources.refresh(&bench.credential, &mut got).unwrap().is_none(), "it lasts longer now");
    assert!(got.expires.unwrap() >= clock::unix() + 50, "{:?}", got.expires);
    let said = bench.sources.end(&bench.credential, &got, Extent::Use);
    assert!(matches!(&said[..], [GivenBack { outcome: Ok(()), .. }]), "{said:?}");
    let gone = || leases().is_none() && users.bodies("").len() >= 3;
    let begun = clock::steady();
    while !gone() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the user is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(users.asked(2).line.starts_with("DELETE /api/users/"), "{}", users.asked(2).line);
    let tokens = bao.does("list -format=json auth/token/accessors");
    assert_eq!(serde_json::from_str::<Vec<String>>(&tokens).unwrap().len(), 1, "{tokens}");
}
