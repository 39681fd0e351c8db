use std::collections::BTreeMap;
use std::path::PathBuf;

use wardroom_model::plan::{CellPlan, Identity, Mount};

use super::{Entry, HostFacts, PlanError, Resolved, describe, in_text, survey};
use crate::Policy;

/// A Debian host with merged /usr and an operator at home.
pub(crate) fn host() -> HostFacts {
    let link = |to: &str| Entry::Symlink(PathBuf::from(to));
    let system = [
        ("/usr", Entry::Directory),
        ("/bin", link("usr/bin")),
        ("/sbin", link("usr/sbin")),
        ("/bin/bash", Entry::File),
        ("/lib", link("usr/lib")),
        ("/lib64", link("usr/lib64")),
        ("/etc/bash.bashrc", Entry::File),
        ("/etc/ld.so.cache", Entry::File),
        ("/etc/ssl/certs", Entry::Directory),
        ("/etc/localtime", link("/usr/share/zoneinfo/Europe/Berlin")),
        ("/etc/os-release", link("../usr/lib/os-release")),
        ("/etc/python3.11", Entry::Directory),
        // Facts that say too much, and a link that leads out of what the agent sees.
        ("/etc/shadow", Entry::File),
        ("/etc/services", link("/srv/services")),
    ];
    let directory = |path: &str| (PathBuf::from(path), Resolved::Directory(PathBuf::from(path)));
    HostFacts {
        identity: Identity::Operator { uid: 1001, gid: 1002 },
        operator_home: Some(PathBuf::from("/home/op")),
        agent_home: PathBuf::from("/home/op/.local/state/wardroom/scout/home"),
        own: vec![
            PathBuf::from("/home/op/.config/wardroom"),
            PathBuf::from("/home/op/.local/state/wardroom"),
            PathBuf::from("/run/user/1001/wardroom"),
        ],
        system: system.into_iter().map(|(path, entry)| (PathBuf::from(path), entry)).collect(),
        resolved: BTreeMap::from(["/home/op/work/scout", "/home/op/reference", "/srv/image"].map(directory)),
        environment: BTreeMap::from([
            ("TERM".to_owned(), "xterm-256color".to_owned()),
            ("LANG".to_owned(), "de_DE.UTF-8\u{1b}[2J".to_owned()),
            ("SSH_AUTH_SOCK".to_owned(), "/tmp/ssh".to_owned()),
        ]),
        landlock_abi: 6,
        command: None,
        trust: None,
    }
}

fn policy(rest: &str) -> Policy {
    let text = format!(
        "[agent]\nname = \"scout\"\ncommand = [\"bash\", \"-l\"]\n[isolation]\nkind = \"cell\"\n{rest}"
    );
    Policy::parse("scout.toml", &text).unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

/// The plan, or the first of what is in its way.
fn plan(policy: &Policy, facts: &HostFacts) -> Result<CellPlan, PlanError> {
    super::plan(policy, facts).map_err(|errors| errors.into_iter().next().unwrap())
}

#[test]
fn everything_that_is_in_the_way_is_found_at_once_and_shown_where_it_stands() {
    let text = "[agent]\nname = \"scout\"\ncommand = [\"true\"]\n[isolation]\nkind = \"cell\"\n\
        [files]\nread_write = [\n  \"/etc\",\n  '/etc/ssh',\n]\nread_only = [\"~/.ssh\"]\n\
        [[network.allow]]\nhost = \"a.net\"\napps = [\"/bin/gh\"]\n";
    let mut facts = host();
    let real = |path: &str| (PathBuf::from(path), Resolved::Directory(PathBuf::from(path)));
    facts.resolved.extend(["/etc", "/etc/ssh", "/home/op/.ssh"].map(real));
    let errors = super::plan(&Policy::parse("scout.toml", text).unwrap(), &facts).unwrap_err();
    let shown = in_text("scout.toml", text, &errors.into_iter().collect::<Vec<_>>());
    let lines = shown.lines();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    let wanted = [
        "scout.toml:8:3: \"/etc\" would give the agent /etc: the host's configuration",
        "scout.toml:9:3: \"/etc/ssh\" would give the agent /etc: ",
        "scout.toml:11:14: \"~/.ssh\" would give the agent ",
        "scout.toml:14:9: \"/bin/gh\" lies behind a link",
    ];
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{line}\n{wanted}");
    }
    assert!(shown.render(false).contains("\n8 |   \"/etc\",\n  |   ^^^^^^"), "{}", shown.render(false));
}

fn with_workspace(real: Resolved) -> Result<(), PlanError> {
    let mut facts = host();
    facts.resolved.insert(PathBuf::from("/home/op/x"), real);
    plan(&policy("[files]\nworkspace = \"~/x\"\n"), &facts).map(drop)
}

/// Compares with a golden file; `WARDROOM_BLESS=1` writes it anew.
fn golden(name: &str, wanted: &str, found: &str) {
    if std::env::var_os("WARDROOM_BLESS").is_some() {
        let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, found).unwrap();
    } else {
        assert_eq!(found, wanted, "{name}");
    }
}

#[test]
fn a_plan_in_user_mode_is_exactly_this() {
    let policy = policy(
        "memory = \"4 GiB\"\ncpus = 2.0\ntasks = 512\n[files]\nworkspace = \"~/work/scout\"\nread_only = [\"~/reference\"]\n\
         [[network.allow]]\naddress = \"192.0.2.7:9000\"\n",
    );
    let found = describe(&plan(&policy, &host()).unwrap());
    golden("plan-user.txt", include_str!("../../tests/golden/plan-user.txt"), &found);
}

#[test]
fn a_plan_in_system_mode_from_another_root_is_exactly_this() {
    let policy = policy(
        "root = \"/srv/image\"\ntrace_children = true\n[files]\nread_write = [\"/home/op/reference\"]\n",
    );
    let mut facts = host();
    facts.identity = Identity::Range { first: 1_000_000 };
    facts.operator_home = None;
    facts.agent_home = PathBuf::from("/var/lib/wardroom/scout/home");
    facts.own = vec![PathBuf::from("/var/lib/wardroom")];
    facts.system = BTreeMap::from([
        (PathBuf::from("/usr"), Entry::Directory),
        (PathBuf::from("/bin"), Entry::Directory),
        (PathBuf::from("/lib"), Entry::Directory),
    ]);
    let found = describe(&plan(&policy, &facts).unwrap());
    golden("plan-system.txt", include_str!("../../tests/golden/plan-system.txt"), &found);
}

#[test]
fn nothing_of_the_host_s_users_and_secrets_is_in_a_plan() {
    let plan = plan(&policy(""), &host()).unwrap();
    for mount in &plan.mounts {
        if let Mount::Bind { source, .. } = mount {
            assert!(!source.starts_with("/etc/shadow") && !source.starts_with("/root"), "{source:?}");
        }
    }
    let asked = survey(["shadow", "python3.11", "java-17-openjdk", "sudoers", "ssh", "../x"]);
    assert!(
        asked.contains(&PathBuf::from("/etc/java-17-openjdk"))
            && asked.contains(&PathBuf::from("/etc/python3.11"))
    );
    for secret in ["/etc/shadow", "/etc/sudoers", "/etc/ssh", "/etc/passwd", "/etc/ssl/private", "/etc/../x"]
    {
        assert!(!asked.contains(&PathBuf::from(secret)), "{secret}");
    }
}

#[test]
fn a_link_in_a_policy_leads_where_it_leads() {
    let cases = [
        ("/", "the whole file system"),
        ("/home", "your home directory"),
        ("/home/op", "your home directory"),
        ("/home/other", "a user's whole home"),
        ("/root", "a user's whole home"),
        ("/root/.ssh", "SSH keys"),
        ("/home/op/.ssh", "SSH keys"),
        ("/home/op/.config", "/home/op/.config/wardroom, which is Wardroom's own"),
        ("/home/op/.aws/cli", "AWS keys"),
        ("/home/op/.local/state/wardroom/other/home", "Wardroom's own"),
        ("/run/user/1001", "Wardroom's own"),
        ("/run/dbus", "control sockets"),
        ("/etc/ssh", "password hashes"),
        ("/usr/local", "the right to change the system's /usr"),
        ("/var/lib", "the right to change the system's /var/lib"),
    ];
    for (real, wanted) in cases {
        let error = with_workspace(Resolved::Directory(PathBuf::from(real))).unwrap_err();
        assert!(matches!(error, PlanError::Exposes { .. }), "{real}: {error}");
        assert!(error.to_string().contains(wanted), "{real}: {error}");
    }
    for real in ["/home/op/projects/x", "/root/projects/x", "/srv/x"] {
        with_workspace(Resolved::Directory(PathBuf::from(real))).unwrap();
    }
}

#[test]
fn a_path_that_is_not_there_or_was_not_looked_at_is_an_error_with_a_remedy() {
    let said = |real| with_workspace(real).unwrap_err().to_string();
    assert_eq!(said(Resolved::Missing), "scout.toml:7: \"~/x\" does not exist: `mkdir -p /home/op/x`");
    assert!(said(Resolved::File("/home/op/x".into())).contains("a workspace is a directory"));
    assert!(said(Resolved::Unusable("Permission denied".into())).contains("Permission denied"));
    let unseen = plan(&policy("[files]\nworkspace = \"~/y\"\n"), &host()).unwrap_err();
    assert!(unseen.to_string().contains("was not looked at"));
}

#[test]
fn two_things_at_one_place_are_an_error() {
    let mut facts = host();
    for path in ["/a/reference", "/a/usr", "/home/op/reference/sub"] {
        facts.resolved.insert(path.into(), Resolved::Directory(path.into()));
    }
    let said = |files: &str| plan(&policy(&format!("[files]\n{files}\n")), &facts).unwrap_err().to_string();
    assert!(said("read_only = [\"~/reference\", \"/a/reference\"]").contains("is \"~/reference\" already"));
    assert!(said("read_only = [\"/a/usr\"]").contains("is part of every cell"));
    let nested = said("read_only = [\"~/reference/sub\"]\nworkspace = \"~/reference\"");
    assert!(nested.contains("one of them writable and one not"), "{nested}");
}

#[test]
fn what_cannot_be_carried_out_is_refused_and_not_ignored() {
    let mut facts = host();
    let rule = "[[network.allow]]\nhost = \"a.net\"\n";
    let text = "[agent]\nname = \"scout\"\ncommand = [\"bash\"]\n[isolation]\nkind = \"vm\"\n";
    let unsupported = plan(&Policy::parse("scout.toml", text).unwrap(), &facts).unwrap_err();
    assert!(unsupported.to_string().starts_with("not yet supported: isolation `vm`"), "{unsupported}");
    let behind = plan(&policy(&format!("{rule}apps = [\"/bin/gh\"]\n")), &facts).unwrap_err();
    assert!(behind.to_string().contains("write \"/usr/bin/gh\""), "{behind}");
    facts.landlock_abi = 2;
    assert_eq!(plan(&policy(""), &facts).unwrap_err(), PlanError::Landlock { have: 2, need: 3 });
    facts.landlock_abi = 3;
    facts.system.remove(&PathBuf::from("/usr"));
    assert_eq!(plan(&policy(""), &facts).unwrap_err(), PlanError::NoSystem("/".into()));
}

#[test]
fn a_command_is_never_empty() {
    let none =
        Policy::parse("scout.toml", "[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\n").unwrap();
    assert_eq!(plan(&none, &host()).unwrap_err(), PlanError::NoCommand("scout.toml".to_owned()));
    let mut facts = host();
    facts.command = Some(Vec::new());
    assert_eq!(plan(&none, &facts).unwrap_err(), PlanError::NoCommand("scout.toml".to_owned()));
    facts.command = Some(vec![b"true".to_vec()]);
    assert_eq!(plan(&none, &facts).unwrap().command, [b"true".to_vec()]);
}

#[test]
fn home_has_no_meaning_in_system_mode() {
    let mut facts = host();
    facts.operator_home = None;
    let error = plan(&policy("[files]\nworkspace = \"~/x\"\n"), &facts).unwrap_err();
    assert!(matches!(error, PlanError::NoHome { .. }), "{error}");
}

#[test]
fn an_agent_that_is_inspected_trusts_its_authority_where_programs_look() {
    let path = PathBuf::from;
    let mut facts = host();
    facts.trust = Some(super::Trust {
        authority: path("/state/authority.pem"),
        bundle: path("/state/bundle.pem"),
        java: Some(path("/state/cacerts")),
        bundles: vec![path("/etc/ssl/certs/ca-certificates.crt"), path("/srv/elsewhere.pem")],
        java_stores: vec![path("/usr/lib/jvm/default/lib/security/cacerts")],
        certutil: true,
    });
    let policy = policy("[files]\nworkspace = \"~/work/scout\"\n");
    let (with, without) = (plan(&policy, &facts).unwrap(), plan(&policy, &host()).unwrap());
    let added = with.mounts.iter().filter(|mount| !without.mounts.contains(mount));
    let added = added.map(|mount| {
        let Mount::Bind { source, target, write: false, exec: false, optional: false, .. } = mount else {
            panic!("{mount:?}")
        };
        (source.to_str().unwrap(), target.to_str().unwrap())
    });
    let bundle = "/state/bundle.pem";
    assert_eq!(
        added.collect::<Vec<_>>(),
        [
            ("/state/authority.pem", "/etc/ssl/wardroom/authority.pem"),
            (bundle, "/etc/ssl/wardroom/bundle.pem"),
            (bundle, "/etc/ssl/certs/ca-certificates.crt"),
            (bundle, "/etc/ssl/cert.pem"),
            ("/state/cacerts", "/usr/lib/jvm/default/lib/security/cacerts"),
        ]
    );
    assert_eq!(with.environment["SSL_CERT_FILE"], "/etc/ssl/wardroom/bundle.pem");
    assert_eq!(with.environment["NODE_EXTRA_CA_CERTS"], "/etc/ssl/wardroom/authority.pem");
    assert_eq!(with.environment.len(), without.environment.len() + 10);
    assert_eq!(with.landlock, without.landlock);
    assert!(with.before.is_some() && without.before.is_none());
}
