use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const CAPS: Caps = Caps { requests: None, bytes: Some(1_000), tokens: Some(500), micro_usd: Some(2_000) };

fn at(second: u64) -> Moment {
    Moment { second, ahead: 0 }
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(Amount),
    /// Settles the nth that is open, for that part (in hundredths) of what it reserved.
    Settle(usize, u64),
    Pass(u64),
}

fn amount() -> impl Strategy<Value = Amount> {
    (0_u64..300, 0_u64..200, 0_u64..700).prop_map(|(bytes, tokens, micro_usd)| Amount {
        bytes,
        tokens,
        micro_usd,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => amount().prop_map(Step::Reserve),
        4 => (0_usize..8, 0_u64..=100).prop_map(|(which, part)| Step::Settle(which, part)),
        1 => (0_u64..50_000).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever is asked for, settled and slept: what is used today is what was settled today and what is reserved, and never
    /// beyond a limit, as long as nothing uses more than it reserved.
    #[test]
    fn s4_what_is_used_is_what_was_settled_and_what_is_reserved(steps in prop::collection::vec(step(), 1..120)) {
        let mut account = Account::EMPTY;
        let mut second = 20_000 * DAY;
        account.advance(at(second));
        let mut open: BTreeMap<usize, (u64, Amount)> = BTreeMap::new();
        let mut settled = Amount::default();
        for (number, step) in steps.into_iter().enumerate() {
            let day = account.day();
            match step {
                Step::Reserve(more) => {
                    let reserved = today(&open, day);
                    let before = account;
                    if account.reserve(more, &CAPS, reserved).is_ok() {
                        open.insert(number, (day, more));
                    } else {
                        prop_assert_eq!(account, before, "what is refused changes nothing");
                    }
                }
                Step::Settle(which, part) => {
                    let Some(number) = open.keys().nth(which).copied() else { continue };
                    let (reserved_on, held) = open.remove(&number).unwrap();
                    let used = held.each(Amount::default(), |held, _| held * part / 100);
                    account.settle(reserved_on, held, used);
                    if reserved_on == day {
                        settled = settled.plus(used);
                    }
                }
                Step::Pass(seconds) => {
                    second += seconds;
                    account.advance(at(second));
                    if account.day() != day {
                        settled = Amount::default();
                    }
                }
            }
            prop_assert_eq!(account.used, settled.plus(today(&open, account.day())));
            for limit in BY_DAY {
                prop_assert!(account.used.of(limit) <= CAPS.of(limit).unwrap());
            }
        }
    }

    #[test]
    fn no_amount_overflows(
        used in prop::array::uniform3(any::<u64>()),
        more in prop::array::uniform3(any::<u64>()),
        caps in prop::array::uniform3(any::<u64>()),
    ) {
        let amount = |[bytes, tokens, micro_usd]: [u64; 3]| Amount { bytes, tokens, micro_usd };
        let [bytes, tokens, micro_usd] = caps;
        let caps = Caps { requests: Some(1), bytes: Some(bytes), tokens: Some(tokens), micro_usd: Some(micro_usd) };
        let mut account = Account { used: amount(used), ..Account::EMPTY };
        if account.reserve(amount(more), &caps, Amount::default()).is_err() {
            account.settle(0, Amount::default(), amount(more));
        }
        account.steps(&caps, amount(more));
        prop_assert!(account.used.bytes >= used[0] && account.used.bytes >= more[0]);
    }
}

fn today(open: &BTreeMap<usize, (u64, Amount)>, day: u64) -> Amount {
    let held = open.values().filter(|(reserved_on, _)| *reserved_on == day).map(|(_, held)| *held);
    held.fold(Amount::default(), Amount::plus)
}

#[test]
fn money_that_is_none_is_a_limit_of_nothing() {
    let caps = |usd| {
        Caps::new(&CredentialLimits {
            requests_per_minute: None,
            bytes_per_day: None,
            tokens_per_day: None,
            usd_per_day: Some(usd),
        })
    };
    assert_eq!(caps(1.5).micro_usd, Some(1_500_000));
    for odd in [f64::NAN, f64::INFINITY, -1.0, 1e12] {
        assert_eq!(caps(odd).micro_usd, Some(0), "{odd}");
    }
}
