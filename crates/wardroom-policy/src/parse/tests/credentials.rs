use std::collections::BTreeMap;

use super::{one_mistake, with};
use crate::credential::{
    Credential, GithubApp, Grant, ModelShape, Oauth2, Particulars, SecretCommand, SecretSource, Vault,
    VaultAuth,
};
use crate::{Policy, TlsExpectation};

const ALLOW: &str = "[[network.allow]]\nhost = \"a.net\"\n";

fn parsed(rest: &str) -> Policy {
    let text = with(&format!("{ALLOW}{rest}\n"));
    Policy::parse("scout.toml", &text).unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

fn credential(rest: &str) -> Credential {
    parsed(&format!("[[credential]]\nenv = \"A_KEY\"\nhost = \"a.net\"\n{rest}")).credentials()[0].clone()
}

fn mistake(rest: &str) -> String {
    one_mistake(&format!("{ALLOW}[[credential]]\nenv = \"A_KEY\"\n{rest}\n"))
}

#[test]
fn credentials_are_bound_to_one_permitted_host() {
    assert!(mistake("host = \"b.net\"\nheader = \"x\"").contains("can never be used"));
    assert!(mistake("host = \"*.a.net\"\nheader = \"x\"").contains("exactly one host"));
    assert!(mistake("host = \"a.net\"").contains("`header` is missing"));
    assert!(mistake("host = \"a.net\"\nkind = \"bearer\"\nheader = \"x\"").contains("belongs to"));
    assert!(mistake("host = \"a.net\"\nheader = \"x\"\nmax_age = \"30\"").contains("needs its unit"));
    let raw = "[[network.allow]]\nhost = \"a.net\"\nports = [443]\nprotocol = \"tcp\"\n[[credential]]\nenv = \"A\"\n";
    assert!(one_mistake(&format!("{raw}host = \"a.net\"\nheader = \"x\"\n")).contains("only with `protocol"));
    assert!(mistake("host = \"a.net\"\nheader = \"Content-Length\"").contains("how a request travels"));
}

#[test]
fn a_bound_host_is_looked_at() {
    let policy = parsed("[[credential]]\nenv = \"A_KEY\"\nhost = \"a.net\"\nkind = \"bearer\"\n");
    assert_eq!(policy.unsupported(), []);
    let rule = policy.network().allow().next().unwrap();
    assert!(rule.http().is_none());
    let host = wardroom_model::HostName::parse("a.net").unwrap();
    let crate::Decision::Permit(permit) = policy.network().decide(&host, 443, None) else {
        panic!("refused")
    };
    assert_eq!(permit.tls(), TlsExpectation::Inspect);
}

#[test]
fn a_credential_is_named_after_its_variable() {
    for (env, name) in [
        ("ANTHROPIC_API_KEY", "anthropic"),
        ("GITHUB_TOKEN", "github"),
        ("AWS_ACCESS_KEY_ID", "aws"),
        ("DB_PASSWORD", "db"),
        ("KEY", "key"),
    ] {
        let text = format!("[[credential]]\nenv = \"{env}\"\nhost = \"a.net\"\nkind = \"bearer\"\n");
        assert_eq!(parsed(&text).credentials()[0].name, name);
    }
    assert_eq!(credential("kind = \"bearer\"\nname = \"work\"").name, "work");
    assert!(mistake("host = \"a.net\"\nkind = \"bearer\"\nname = \"a b\"").contains("no credential's name"));
}

#[test]
fn each_kind_has_its_own_keys() {
    let basic = credential("kind = \"basic\"\nuser = \"bot\"");
    assert_eq!(
        (basic.particulars.clone(), basic.header()),
        (Particulars::Basic { user: "bot".into() }, "authorization")
    );
    let aws = credential("kind = \"aws-sigv4\"\nregion = \"eu-central-1\"");
    assert_eq!(aws.particulars, Particulars::Aws { region: Some("eu-central-1".into()), service: None });
    let github = credential(
        "kind = \"github-app\"\napp_id = 1\ninstallation_id = 2\nrepositories = [\"site\"]\n\
         permissions = { contents = \"read\" }",
    );
    let wanted = GithubApp {
        app_id: 1,
        installation_id: 2,
        api: "https://api.github.com".into(),
        repositories: vec!["site".into()],
        permissions: BTreeMap::from([("contents".into(), "read".into())]),
    };
    assert_eq!(github.particulars, Particulars::GithubApp(wanted));
    let oauth2 = credential(
        "kind = \"oauth2\"\ntoken_url = \"https://id.example.com/token\"\nrevoke_url = \"https://id.example.com/revoke\"\nclient_id = \"c\"\nscopes = [\"a\", \"b\"]\n\
         grant = \"refresh\"",
    );
    let wanted = Oauth2 {
        token_url: "https://id.example.com/token".into(),
        revoke_url: Some("https://id.example.com/revoke".into()),
        client_id: "c".into(),
        scopes: vec!["a".into(), "b".into()],
        grant: Grant::Refresh,
    };
    assert_eq!(oauth2.particulars, Particulars::Oauth2(wanted));
    for (rest, wanted) in [
        ("kind = \"basic\"", "`user` is missing"),
        ("kind = \"basic\"\nuser = \"a:b\"", "no colon"),
        ("kind = \"bearer\"\nuser = \"a\"", "`user` belongs to `kind = \"basic\"`"),
        ("kind = \"basic\"\nuser = \"a\"\nscopes = [\"x\"]", "`scopes` belongs to `kind = \"oauth2\"`"),
        ("kind = \"aws-sigv4\"\nregion = \"EU\"", "no `region` of AWS"),
        ("kind = \"github-app\"\napp_id = 1", "`installation_id` is missing"),
        (
            "kind = \"github-app\"\napp_id = 1\ninstallation_id = 2\nrepositories = [\"acme/site\"]",
            "\"site\"",
        ),
        (
            "kind = \"github-app\"\napp_id = 1\ninstallation_id = 2\npermissions = { contents = \"all\" }",
            "no level",
        ),
        ("kind = \"oauth2\"\ntoken_url = \"http://id.net/t\"\nclient_id = \"c\"", "travels only by `https`"),
        ("kind = \"oauth2\"\ntoken_url = \"https://u:p@id.net/t\"\nclient_id = \"c\"", "no user"),
        (
            "kind = \"oauth2\"\ntoken_url = \"https://id.net/t\"\nrevoke_url = \"http://id.net/r\"\nclient_id = \"c\"",
            "travels only by `https`",
        ),
        (
            "kind = \"oauth2\"\ntoken_url = \"https://id.net/t\"\nclient_id = \"c\"\ngrant = \"password\"",
            "unknown value",
        ),
    ] {
        let found = mistake(&format!("host = \"a.net\"\n{rest}"));
        assert!(found.contains(wanted), "{found}\ndoes not say\n{wanted}");
    }
}

#[test]
fn a_secret_has_one_source() {
    let source = |text: &str| credential(&format!("kind = \"bearer\"\n{text}")).source;
    assert_eq!(source(""), SecretSource::Store);
    assert_eq!(source("source = \"store\""), SecretSource::Store);
    let command =
        SecretCommand { argv: vec!["/usr/bin/pass".into(), "show".into()], timeout: 5, every: Some(3600) };
    assert_eq!(
        source(
            "source = { command = [\"/usr/bin/pass\", \"show\"], timeout = \"5 seconds\", every = \"1 hour\" }"
        ),
        SecretSource::Command(command)
    );
    let vault = Vault {
        address: "https://vault.example.com:8200".into(),
        path: "secret/data/scout".into(),
        field: Some("key".into()),
        namespace: None,
        ca: None,
        auth: VaultAuth::AppRole { role_id: "r".into(), mount: "approle".into() },
    };
    assert_eq!(
        source(
            "source = { vault = { address = \"https://vault.example.com:8200/\", path = \"secret/data/scout\", \
             field = \"key\", auth = \"approle\", role_id = \"r\" } }"
        ),
        SecretSource::Vault(vault)
    );
    for (text, wanted) in [
        ("source = \"stroe\"", "did you mean `store`?"),
        ("source = {}", "names no source"),
        ("source = { command = [\"pass\"] }", "not absolute"),
        ("source = { command = [] }", "`command` is empty"),
        ("source = { command = [\"/bin/a\"], timeout = \"1 day\" }", "at most 600 seconds"),
        ("source = { vault = { address = \"http://vault.net\", path = \"a\" } }", "travels only by `https`"),
        ("source = { vault = { address = \"https://vault.net\", path = \"/a/\" } }", "no path of a secret"),
        (
            "source = { vault = { address = \"https://vault.net\", path = \"a\", role_id = \"r\" } }",
            "belongs to `auth",
        ),
        (
            "source = { vault = { address = \"https://v.net\", path = \"a\" }, command = [\"/a\"] }",
            "has one source",
        ),
    ] {
        let found = mistake(&format!("host = \"a.net\"\nkind = \"bearer\"\n{text}"));
        assert!(found.contains(wanted), "{found}\ndoes not say\n{wanted}");
    }
}

#[test]
fn two_credentials_are_told_apart_by_variable_name_and_header() {
    let two = |second: &str| {
        let first = "[[credential]]\nenv = \"A_KEY\"\nhost = \"a.net\"\nheader = \"x-a\"\n";
        format!("{ALLOW}{first}[[credential]]\nhost = \"a.net\"\n{second}\n")
    };
    assert!(Policy::parse("x", &with(&two("env = \"B_KEY\"\nheader = \"x-b\""))).is_ok());
    for (second, wanted) in [
        ("env = \"A_KEY\"\nheader = \"x-b\"", "has two credentials"),
        ("env = \"A_TOKEN\"\nheader = \"x-b\"", "are called `a`"),
        ("env = \"B_KEY\"\nheader = \"X-A\"", "go into the header `x-a`"),
    ] {
        let found = one_mistake(&two(second));
        assert!(found.contains(wanted), "{found}");
    }
    let text = "[[credential]]\nenv = \"A_ID\"\nhost = \"a.net\"\nheader = \"x\"\n[agent.environment]\nA_ID = \"x\"\n";
    assert!(one_mistake(&format!("{ALLOW}{text}")).contains("in `[agent.environment]` as well"));
}

#[test]
fn a_model_s_api_says_where_its_numbers_are() {
    let bound = "[[credential]]\nenv = \"A_KEY\"\nhost = \"a.net\"\nkind = \"bearer\"\n";
    let api = |rest: &str| format!("{bound}[[model_api]]\nhost = \"a.net\"\npath = \"/v1/chat\"\n{rest}\n");
    let known = parsed(&api("like = \"openai-chat\""));
    assert_eq!(known.model_apis()[0].shape, ModelShape::OpenaiChat);
    let fields = parsed(&api("model = \"/model\"\ninput = \"/u/i\"\noutput = \"/u/o\""));
    assert!(matches!(&fields.model_apis()[0].shape, ModelShape::Fields(fields) if fields.output == "/u/o"));
    for (text, wanted) in [
        (api("like = \"openai-chat\"\ninput = \"/a\""), "exclude each other"),
        (api("model = \"/model\"\ninput = \"u.i\"\noutput = \"/o\""), "no JSON pointer"),
        (
            "[[model_api]]\nhost = \"a.net\"\npath = \"/v1\"\nlike = \"openai-chat\"".to_owned(),
            "nothing is counted",
        ),
    ] {
        let found = one_mistake(&format!("{ALLOW}{text}"));
        assert!(found.contains(wanted), "{found}");
    }
}
