use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output};
use std::time::Instant;

use wardroom_model::AgentName;

use super::*;

const NOW: u64 = 1_800_000_000;

fn issue(names: &[&str]) -> Issued {
    let names: Vec<_> = names.iter().map(|name| HostPattern::parse(name).unwrap()).collect();
    let key = new_key().unwrap();
    certify(&key, &AgentName::parse("scout").unwrap(), "atlas", &names, NOW).unwrap()
}

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

fn serial_of(leaf: &CertifiedKey) -> Vec<u8> {
    // Version, then serial: both are the first of the inner sequence.
    leaf.cert[0].as_ref()[8..40].to_vec()
}

#[test]
fn a_name_outside_the_constraints_is_refused_with_the_reason() {
    let authority = Authority::open(&issue(&["api.example.com", "*.example.org"]).parts).unwrap();
    for inside in ["api.example.com", "a.example.org", "a.b.example.org"] {
        authority.certified_key(&host(inside)).unwrap();
    }
    for outside in ["example.com", "below.api.example.com", "example.org", "evil.net"] {
        let refused = authority.certified_key(&host(outside)).unwrap_err();
        assert!(matches!(refused, AuthorityError::OutsideConstraints(_)));
        assert!(refused.to_string().contains("takes effect at the next start"), "{refused}");
    }
}

#[test]
fn a_leaf_is_kept_until_the_day_before_its_end_and_never_shares_a_serial_number() {
    let authority = Authority::open(&issue(&["*.example.org"]).parts).unwrap();
    let first = authority.at(&host("a.example.org"), NOW).unwrap();
    let day = 24 * 3600;
    assert!(Arc::ptr_eq(&first, &authority.at(&host("a.example.org"), NOW + 5 * day).unwrap()));
    let renewed = authority.at(&host("a.example.org"), NOW + 6 * day).unwrap();
    assert!(!Arc::ptr_eq(&first, &renewed));
    let clock_set_back = authority.at(&host("a.example.org"), NOW).unwrap();
    assert!(!Arc::ptr_eq(&clock_set_back, &renewed));
    let serials: BTreeSet<_> = [first, renewed, clock_set_back].iter().map(|leaf| serial_of(leaf)).collect();
    assert_eq!(serials.len(), 3);
}

#[test]
fn the_cache_is_bounded() {
    let authority = Authority::open(&issue(&["*.example.org"]).parts).unwrap();
    for n in 0..KEPT.get() + 10 {
        authority.at(&host(&format!("h{n}.example.org")), NOW).unwrap();
    }
    assert_eq!(authority.leaves.borrow().len(), KEPT.get());
}

#[test]
fn a_damaged_key_is_no_authority_and_a_key_is_never_shown() {
    let issued = issue(&["a.example"]);
    assert!(!format!("{:?}", issued.parts).contains("key"));
    let names = [HostPattern::parse("a.example").unwrap()];
    let agent = AgentName::parse("scout").unwrap();
    let key = new_key().unwrap();
    for damaged in [key.get(..key.len() / 2).unwrap(), &key.replace("M", "N"), ""] {
        assert!(matches!(certify(damaged, &agent, "atlas", &names, NOW), Err(AuthorityError::Key(_))));
    }
}

#[test]
fn what_the_keeper_says_reaches_the_gate_whole() {
    let inspection = crate::Inspection { authority: Some(issue(&["a.example"]).parts), ..Default::default() };
    let read = crate::Inspection::decode(&inspection.encode().unwrap()).unwrap();
    let leaf = Authority::open(&read.authority.unwrap()).unwrap().certified_key(&host("a.example"));
    assert!(leaf.is_ok());
    assert!(crate::Inspection::decode(b"\xff").is_err());
}

#[expect(clippy::disallowed_methods, reason = "a test asks another implementation")]
fn openssl(arguments: &[&str]) -> Option<Output> {
    Command::new("openssl").args(arguments).output().ok()
}

#[test]
fn openssl_accepts_a_leaf_in_its_strictest_mode_and_refuses_a_forged_one() {
    if openssl(&["version"]).is_none() {
        use std::io::stderr;
        writeln!(stderr(), "SKIPPED: openssl_accepts_a_leaf: no openssl here").unwrap();
        return;
    }
    let names =
        [HostPattern::parse("api.example.com").unwrap(), HostPattern::parse("*.example.org").unwrap()];
    let key = new_key().unwrap();
    let now = unix_now();
    let issued = certify(&key, &AgentName::parse("scout").unwrap(), "atlas", &names, now).unwrap();
    let mut authority = Authority::open(&issued.parts).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, contents: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let root = file("root.pem", issued.pem.as_bytes());
    let verify = |leaf: &CertifiedKey, name: &str| {
        let leaf = file("leaf.der", &leaf.cert[0]);
        let arguments = [
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-verify_hostname",
            name,
            "-CAfile",
            &root,
            &leaf,
        ];
        openssl(&arguments).unwrap()
    };
    for name in ["api.example.com", "a.b.example.org"] {
        let said = verify(&authority.certified_key(&host(name)).unwrap(), name);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
    // Were the check before it gone, the constraints in the certificate would still hold.
    authority.names.push(HostPattern::parse("evil.net").unwrap());
    let said = verify(&authority.certified_key(&host("evil.net")).unwrap(), "evil.net");
    assert!(!said.status.success());
    assert!(String::from_utf8_lossy(&said.stderr).contains("permitted subtree violation"));
    let shown = openssl(&["x509", "-in", &root, "-noout", "-text"]).unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for part in ["pathlen:0", "Certificate Sign", "Name Constraints: critical", "Subject Key Identifier"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
}

#[test]
#[ignore = "a measurement"]
fn time_to_make_a_leaf() {
    let authority = Authority::open(&issue(&["*.example.org"]).parts).unwrap();
    let hosts: Vec<_> = (0..1000).map(|n| host(&format!("h{n}.example.org"))).collect();
    let begun = begin();
    for host in &hosts {
        authority.at(host, NOW).unwrap();
    }
    let each = begun.elapsed() / 1000;
    writeln!(std::io::stderr(), "a leaf takes {each:?}").unwrap();
}

#[expect(clippy::disallowed_methods, reason = "it measures time")]
fn begin() -> Instant {
    Instant::now()
}
