use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::meter::clock::Moment;

fn account(second: u64, tokens: u64) -> Account {
    let mut account = Account::EMPTY;
    account.advance(Moment { second, ahead: 0 });
    account.used = Amount { bytes: tokens * 3, tokens, micro_usd: tokens * 7 };
    account.window.count();
    account
}

#[test]
fn what_is_kept_is_found_again() {
    let file = tempfile::tempfile().unwrap();
    let counters = Counters::format(&file).unwrap();
    let second = 20_000 * DAY;
    let (place, empty) = counters.find("anthropic", second).unwrap();
    assert_eq!(empty, Account::EMPTY);
    for tokens in 1..10 {
        counters.store(place, "anthropic", &account(second + tokens, tokens)).unwrap();
        let again = Counters::open(&file).unwrap();
        assert_eq!(again.look("anthropic").unwrap(), Some(account(second + tokens, tokens)));
        assert_eq!(again.latest(), second + tokens);
    }
    assert_eq!(counters.look("openai").unwrap(), None);
    assert_ne!(counters.find("openai", second).unwrap().0, place);
}

#[test]
fn there_is_room_for_so_many_a_day_and_the_next_day_again() {
    let counters = Counters::format(&tempfile::tempfile().unwrap()).unwrap();
    let today = 20_000 * DAY;
    for number in 0..ACCOUNTS {
        let name = number.to_string();
        let (place, _) = counters.find(&name, today).unwrap();
        counters.store(place, &name, &account(today, 1)).unwrap();
    }
    assert!(matches!(counters.find("one more", today), Err(CountersError::Full)));
    assert!(counters.find("one more", today + DAY).is_ok());
}

#[test]
fn what_is_no_file_of_counters_is_refused() {
    let file = tempfile::tempfile().unwrap();
    assert!(matches!(Counters::open(&file), Err(CountersError::File(_))));
    let length = u64::try_from(WORDS * 8).unwrap();
    file.write_all_at(&vec![0; WORDS * 8], 0).unwrap();
    assert!(matches!(Counters::open(&file), Err(CountersError::NotCounters)));
    file.set_len(length - 8).unwrap();
    assert!(matches!(Counters::open(&file), Err(CountersError::File(_))));
}

#[test]
fn one_damaged_copy_loses_one_step_at_most_and_two_are_an_error() {
    let file = tempfile::tempfile().unwrap();
    let counters = Counters::format(&file).unwrap();
    let second = 20_000 * DAY;
    let (place, _) = counters.find("anthropic", second).unwrap();
    for tokens in 1..=2 {
        counters.store(place, "anthropic", &account(second, tokens)).unwrap();
    }
    let copy = |which: usize| u64::try_from(((place.0 + 1) * 2 + which) * COPY * 8 + 40).unwrap();
    file.write_all_at(&[0xff], copy(1)).unwrap();
    assert_eq!(Counters::open(&file).unwrap().look("anthropic").unwrap(), Some(account(second, 2)));
    file.write_all_at(&[0xff], copy(0)).unwrap();
    assert!(matches!(Counters::open(&file), Err(CountersError::Damaged(0))));
    let refused = counters.store(place, "anthropic", &account(second, 3));
    assert!(refused.is_err(), "what cannot be read is not written over");
}

proptest! {
    #[test]
    fn a_copy_is_read_as_it_was_written(
        second in 0_u64..u64::MAX / 2,
        amounts in prop::array::uniform3(any::<u64>()),
        counts in prop::collection::vec(any::<u32>(), crate::meter::window::SECONDS),
    ) {
        let counters = Counters::format(&tempfile::tempfile().unwrap()).unwrap();
        let [bytes, tokens, micro_usd] = amounts;
        let mut window = Window { newest: second, ..Window::EMPTY };
        window.counts.copy_from_slice(&counts);
        let account = Account { second, used: Amount { bytes, tokens, micro_usd }, said: tokens, window };
        let (place, _) = counters.find("a", second).unwrap();
        counters.store(place, "a", &account).unwrap();
        prop_assert_eq!(counters.look("a").unwrap(), Some(account));
    }
}

/// The child of the test below: counts for ever, and says each number once it is kept.
const CHILD: &str = "WARDROOM_TEST_COUNTS";

#[test]
fn counting_child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let file = File::options().read(true).write(true).open(path).unwrap();
    let counters = Counters::open(&file).unwrap();
    let second = 20_000 * DAY;
    let (place, mut kept) = counters.find("anthropic", second).unwrap();
    let said = File::options().write(true).open(std::env::var_os("WARDROOM_TEST_SAID").unwrap()).unwrap();
    loop {
        let tokens = kept.used.tokens + 1;
        kept = account(second, tokens);
        counters.store(place, "anthropic", &kept).unwrap();
        // Only after it is kept: whatever was said must be found again.
        said.write_all_at(&tokens.to_le_bytes(), 0).unwrap();
    }
}

#[test]
fn s4_a_kill_at_any_moment_loses_nothing_that_was_settled() {
    const ROUNDS: u64 = 250;
    let place = tempfile::tempdir().unwrap();
    let (path, said) = (place.path().join("counters"), place.path().join("said"));
    Counters::format(&open(&path)).unwrap();
    open(&said).write_all_at(&0_u64.to_le_bytes(), 0).unwrap();
    let mut last = 0;
    for round in 0..ROUNDS {
        let mut child = child(&path, &said);
        // From before its first step to some thousand steps later.
        while round % 10 != 0 && number(&said) == last {
            thread::yield_now();
        }
        thread::sleep(Duration::from_micros(round * 37 % 1_500));
        child.kill().unwrap();
        child.wait().unwrap();
        let said = number(&said);
        let found = Counters::open(&open(&path)).unwrap().look("anthropic").unwrap();
        let kept = found.map(|account| account.used.tokens).unwrap_or_default();
        assert!(kept == said || kept == said + 1, "round {round}: {said} were settled, {kept} were found");
        assert_eq!(found.filter(|_| kept > 0), Some(account(20_000 * DAY, kept)).filter(|_| kept > 0));
        last = said;
    }
    assert!(last > ROUNDS, "it counted only to {last}");
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

fn number(said: &Path) -> u64 {
    let mut bytes = [0; 8];
    File::open(said).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    u64::from_le_bytes(bytes)
}

#[expect(clippy::disallowed_methods, reason = "a process to kill, which is this test itself")]
fn child(path: &Path, said: &Path) -> std::process::Child {
    let test = "meter::counters::tests::counting_child";
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env(CHILD, path).env("WARDROOM_TEST_SAID", said);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
