use super::*;

fn never() -> Result<Secret, CustodyError> {
    panic!("nobody is to be asked")
}

fn say(text: &'static str) -> impl FnMut() -> Result<Secret, CustodyError> {
    move || Ok(Secret::new(text.as_bytes().to_vec()))
}

#[test]
fn a_passphrase_opens_what_it_closed_and_no_other_does() {
    let directory = tempfile::tempdir().unwrap();
    let keep = Keep::at(&directory.path().join("keep"));
    assert!(matches!(keep.setup(), Err(CustodyError::NotSetUp)));
    let short = keep.establish(Custody::Passphrase, &mut never, &mut say("short"));
    assert!(matches!(short, Err(CustodyError::ShortPassphrase)));
    let made = keep.establish(Custody::Passphrase, &mut never, &mut say("correct horse")).unwrap();
    assert!(matches!(keep.unlocked(), Err(CustodyError::Locked)));
    assert!(matches!(keep.unlock(&mut say("wrong horse")), Err(CustodyError::WrongPassphrase)));
    let identity = keep.unlock(&mut say("correct horse")).unwrap();
    assert!(parse(&identity).unwrap().to_public() == made.recipient);
}

#[test]
fn nothing_of_the_key_lies_there_in_the_clear_and_a_new_passphrase_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let keep = Keep::at(&directory.path().join("keep"));
    keep.establish(Custody::Passphrase, &mut never, &mut say("correct horse")).unwrap();
    let identity = keep.unlock(&mut say("correct horse")).unwrap();
    for entry in fs::read_dir(directory.path().join("keep")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(15).any(|window| window.eq_ignore_ascii_case(b"AGE-SECRET-KEY-")));
    }

    // Another passphrase, the same key: what is in the store stays readable.
    keep.establish(Custody::Passphrase, &mut say("correct horse"), &mut say("battery staple")).unwrap();
    assert!(keep.unlock(&mut say("battery staple")).unwrap().eq_ct(identity.expose()));

    let file = directory.path().join("keep").join(UNDER_PASSPHRASE);
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert!(matches!(keep.unlock(&mut say("battery staple")), Err(CustodyError::Corrupt { .. })));
    fs::write(directory.path().join("keep").join(KEPT), "{}").unwrap();
    assert!(matches!(keep.setup(), Err(CustodyError::Corrupt { .. })));
}

#[test]
#[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
fn the_keyring_keeps_what_was_unlocked_once() {
    let directory = tempfile::tempdir().unwrap();
    let keep = Keep::at(directory.path());
    match keep.establish(Custody::Keyring, &mut never, &mut say("correct horse")) {
        Err(CustodyError::Keyring(error)) => {
            eprintln!("SKIPPED: the_keyring_keeps_what_was_unlocked_once: {error:?}");
            return;
        }
        made => drop(made.unwrap()),
    }
    let identity = keep.unlocked().unwrap();
    keep.lock().unwrap();
    assert!(matches!(keep.unlocked(), Err(CustodyError::Locked)));
    assert!(keep.unlock(&mut say("correct horse")).unwrap().eq_ct(identity.expose()));
    assert!(keep.unlock(&mut never).unwrap().eq_ct(identity.expose()));
    keep.lock().unwrap();
}

#[test]
#[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
fn systemd_seals_and_opens() {
    let directory = tempfile::tempdir().unwrap();
    let keep = Keep::at(directory.path());
    match keep.establish(Custody::SystemdCreds, &mut never, &mut never) {
        Err(error @ (CustodyError::NoSystemdCreds | CustodyError::SystemdCreds(_))) => {
            eprintln!("SKIPPED: systemd_seals_and_opens: {error}");
            return;
        }
        made => drop(made.unwrap()),
    }
    let sealed = fs::read(directory.path().join(SEALED)).unwrap();
    assert!(!sealed.starts_with(b"AGE"));
    assert!(keep.unlocked().unwrap().expose().starts_with(b"AGE-SECRET-KEY-"));
}
