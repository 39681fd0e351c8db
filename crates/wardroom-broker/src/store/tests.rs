use std::os::unix::fs::PermissionsExt;

use super::*;

fn store() -> (tempfile::TempDir, Store, x25519::Identity) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::at(directory.path(), &AgentName::parse("scout").unwrap(), None);
    (directory, store, x25519::Identity::generate())
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

#[test]
fn a_value_comes_out_as_it_went_in_and_counts() {
    let (_directory, store, identity) = store();
    let to = identity.to_public();
    assert_eq!(store.put("key", &secret("one"), &to, 10).unwrap().version, 1);
    assert_eq!(store.put("key", &secret("two"), &to, 20).unwrap().version, 2);
    let held = store.take("key", &identity).unwrap();
    assert!(held.secret.eq_ct(b"two"));
    assert_eq!(store.state("key").unwrap(), State::Set(held.label));
    store.revoke("key").unwrap();
    assert_eq!(store.state("key").unwrap(), State::Revoked);
    assert!(matches!(store.take("key", &identity), Err(StoreError::Revoked { .. })));
    assert_eq!(store.put("key", &secret("three"), &to, 30).unwrap().version, 3);
    assert!(store.take("key", &identity).unwrap().secret.eq_ct(b"three"));
}

#[test]
fn nothing_of_a_value_is_in_its_file() {
    let (directory, store, identity) = store();
    store.put("key", &secret("hunter2hunter2"), &identity.to_public(), 10).unwrap();
    let bytes = fs::read(directory.path().join("key.age")).unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
    assert!(!bytes.windows(7).any(|window| window == b"hunter2"));
}

#[test]
fn a_file_that_is_not_this_value_gives_none() {
    let (directory, store, identity) = store();
    let file = directory.path().join("key.age");
    let take = || store.take("key", &identity);
    assert!(matches!(take(), Err(StoreError::Missing { .. })));

    let other = x25519::Identity::generate();
    store.put("key", &secret("x"), &other.to_public(), 1).unwrap();
    assert!(matches!(take(), Err(StoreError::OtherKey(_))));

    store.put("key", &secret("x"), &identity.to_public(), 1).unwrap();
    let good = fs::read(&file).unwrap();
    for at in [5, 40, 200, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&file, &bad).unwrap();
        assert!(matches!(take(), Err(StoreError::Corrupt { .. } | StoreError::OtherKey(_))), "{at}");
    }
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    assert!(matches!(take(), Err(StoreError::Corrupt { .. })));
    fs::write(&file, b"").unwrap();
    assert!(matches!(take(), Err(StoreError::Corrupt { .. })));
    fs::write(&file, &good).unwrap();
    assert!(take().is_ok());
}

#[test]
fn a_file_that_was_moved_or_is_open_to_others_gives_none() {
    let (directory, store, identity) = store();
    let file = directory.path().join("key.age");
    store.put("key", &secret("x"), &identity.to_public(), 1).unwrap();
    fs::copy(&file, directory.path().join("other.age")).unwrap();
    assert!(matches!(store.take("other", &identity), Err(StoreError::Moved { .. })));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(store.take("key", &identity), Err(StoreError::Exposed { .. })));
}

#[test]
fn a_label_that_was_changed_is_not_believed() {
    let (directory, store, identity) = store();
    store.put("key", &secret("x"), &identity.to_public(), 1_111).unwrap();
    let file = directory.path().join("key.age");
    let text = fs::read(&file).unwrap();
    let at = text.windows(4).position(|window| window == b"1111").unwrap();
    let mut bad = text;
    bad[at] = b'9';
    fs::write(&file, &bad).unwrap();
    assert!(matches!(store.state("key").unwrap(), State::Set(label) if label.set_at == 9_111));
    assert!(matches!(store.take("key", &identity), Err(StoreError::Corrupt { .. })));
}

#[test]
fn names_and_lengths_have_bounds() {
    let (_directory, store, identity) = store();
    let to = identity.to_public();
    for name in ["", "../key", "a/b", "A", "a.b", &"a".repeat(65)] {
        assert!(matches!(store.put(name, &secret("x"), &to, 1), Err(StoreError::Name(_))), "{name}");
    }
    assert!(matches!(store.put("key", &secret(""), &to, 1), Err(StoreError::Length(0))));
    assert!(store.put("key", &secret(&"x".repeat(LONGEST + 1)), &to, 1).is_err());
    assert!(store.put("key", &secret(&"x".repeat(LONGEST)), &to, 1).is_ok());
    assert_eq!(store.take("key", &identity).unwrap().secret.len(), LONGEST);
}

#[test]
fn a_stamp_changes_with_everything_that_an_operator_does() {
    let (_directory, store, identity) = store();
    let to = identity.to_public();
    let mut stamps = vec![store.stamp("key")];
    store.put("key", &secret("x"), &to, 1).unwrap();
    stamps.push(store.stamp("key"));
    store.put("key", &secret("y"), &to, 1).unwrap();
    stamps.push(store.stamp("key"));
    store.ask_again("key").unwrap();
    stamps.push(store.stamp("key"));
    store.revoke("key").unwrap();
    stamps.push(store.stamp("key"));
    for (a, b) in stamps.iter().zip(stamps.iter().skip(1)) {
        assert_ne!(a, b);
    }
}

#[test]
fn what_cannot_be_read_is_revoked_all_the_same() {
    let (directory, store, identity) = store();
    store.put("key", &secret("x"), &identity.to_public(), 1).unwrap();
    let file = directory.path().join("key.age");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(store.revoke("key").unwrap().is_none());
    assert!(!file.exists() && store.state("key").unwrap() == State::Revoked);
}

#[test]
fn what_a_source_gave_never_takes_the_place_of_what_the_operator_has_just_set() {
    let (_directory, store, identity) = store();
    let to = identity.to_public();
    for round in 0..50_u64 {
        let before = store.put("key", &secret("old"), &to, round).unwrap().version;
        std::thread::scope(|scope| {
            scope.spawn(|| store.follow("key", &secret("rotated"), &to, (before, round)).unwrap());
            store.put("key", &secret("set"), &to, round).unwrap();
        });
        assert!(store.take("key", &identity).unwrap().secret.eq_ct(b"set"), "round {round}");
    }
}
