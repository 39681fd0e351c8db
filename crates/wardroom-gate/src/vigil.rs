//! Waiting awake: a processor that was given back takes 20 to 30 us to wake (measured in a virtual machine), which was most of what a
//! short exchange through the gate cost.
//!
//! As KVM does with `halt_poll_ns`: where the last thing to do came within [`PATIENCE`], the next is waited for awake, for as long at
//! most. Where it took longer (a server that is far away, an agent that thinks), or where bytes go the same way again (a transfer,
//! to which a moment means nothing), the gate sleeps at once. The processor is offered to others all the while, and what an agent can
//! have wasted of it is bounded.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// How long the gate waits awake.
const PATIENCE: Duration = Duration::from_micros(200);
/// How much of that it has, to begin with and at most.
const SPELL: Duration = Duration::from_millis(500);
/// It gets one moment of so many back.
const SHARE: u64 = 10;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the agent to a server.
    Out,
    /// Back.
    Back,
}

/// Whether the next thing to do is worth waiting for awake. One thread uses it; that it could be shared is what a runtime's hook asks for.
#[derive(Debug)]
pub(crate) struct Vigil {
    origin: Instant,
    /// When the last work was done, in nanoseconds since `origin`.
    worked: AtomicU64,
    /// Until when the next is waited for awake.
    until: AtomicU64,
    /// Nanoseconds that may be waited awake.
    left: AtomicU64,
    /// The ways that bytes went since the work began, one bit each.
    ways: AtomicU8,
    /// The same of the last work that moved any.
    before: AtomicU8,
    /// Wakes a task that does nothing; as long as one is to be run, a runtime does not sleep.
    nothing: OnceLock<Waker>,
}

impl Vigil {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            worked: AtomicU64::new(0),
            until: AtomicU64::new(0),
            left: AtomicU64::new(nanoseconds(SPELL)),
            ways: AtomicU8::new(0),
            before: AtomicU8::new(0),
            nothing: OnceLock::new(),
        })
    }

    /// A runtime of one thread that waits awake when this says so.
    pub(crate) fn runtime(self: &Arc<Self>) -> io::Result<Runtime> {
        let vigil = Arc::clone(self);
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .on_thread_park(move || vigil.before_sleep())
            .build()?;
        let vigil = Arc::clone(self);
        runtime.spawn(poll_fn(move |context| {
            vigil.nothing.get_or_init(|| context.waker().clone());
            Poll::<()>::Pending
        }));
        Ok(runtime)
    }

    /// Does the work, whose every turn counts as something that was waited for.
    pub(crate) async fn over<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            let begun = self.now();
            let polled = work.as_mut().poll(context);
            self.turn(begun, self.now());
            polled
        })
        .await
    }

    /// Bytes have been moved.
    pub(crate) fn moved(&self, way: Way) {
        let bit = match way {
            Way::Out => 1,
            Way::Back => 2,
        };
        self.ways.store(self.ways.load(Relaxed) | bit, Relaxed);
    }

    fn now(&self) -> u64 {
        nanoseconds(self.origin.elapsed())
    }

    /// There was something to do from one time to another.
    fn turn(&self, begun: u64, done: u64) {
        let before = self.worked.swap(done, Relaxed);
        let waited = begun.saturating_sub(before);
        let awake = self.until.load(Relaxed).min(begun).saturating_sub(before);
        let left = self.left.load(Relaxed).saturating_add(waited / SHARE).min(nanoseconds(SPELL));
        let left = left.saturating_sub(awake);
        self.left.store(left, Relaxed);
        let ways = self.ways.swap(0, Relaxed);
        let again = ways != 0 && self.before.swap(ways, Relaxed) == ways;
        let pays = waited < nanoseconds(PATIENCE) && !again && left > nanoseconds(PATIENCE);
        self.until.store(if pays { done.saturating_add(nanoseconds(PATIENCE)) } else { 0 }, Relaxed);
    }

    fn waits_awake(&self, now: u64) -> bool {
        now < self.until.load(Relaxed)
    }

    fn before_sleep(&self) {
        if let Some(nothing) = self.nothing.get()
            && self.waits_awake(self.now())
        {
            thread::yield_now();
            nothing.wake_by_ref();
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: u64 = 1_000;

    #[test]
    fn after_a_short_wait_the_next_is_awake_and_after_a_long_one_it_is_not() {
        let vigil = Vigil::new();
        vigil.turn(1_000 * MICROSECOND, 1_020 * MICROSECOND);
        assert!(!vigil.waits_awake(1_021 * MICROSECOND));
        vigil.turn(1_100 * MICROSECOND, 1_120 * MICROSECOND);
        assert!(vigil.waits_awake(1_319 * MICROSECOND));
        assert!(!vigil.waits_awake(1_320 * MICROSECOND));
        vigil.turn(1_400 * MICROSECOND, 1_410 * MICROSECOND);
        assert!(!vigil.waits_awake(1_411 * MICROSECOND));
    }

    #[test]
    fn an_exchange_is_waited_for_awake_and_a_transfer_is_not() {
        let vigil = Vigil::new();
        let mut now = 0;
        let mut awake_after = |ways: &[Way]| {
            ways.iter().for_each(|way| vigil.moved(*way));
            vigil.turn(now + 10 * MICROSECOND, now + 20 * MICROSECOND);
            now += 20 * MICROSECOND;
            vigil.waits_awake(now)
        };
        assert!(awake_after(&[Way::Out]));
        assert!(awake_after(&[Way::Back]));
        assert!(!awake_after(&[Way::Back]));
        assert!(awake_after(&[]), "somebody connects meanwhile");
        assert!(!awake_after(&[Way::Back]));
        assert!(awake_after(&[Way::Out]));
        assert!(awake_after(&[Way::Out, Way::Back]));
    }

    #[test]
    fn what_can_be_had_awake_is_a_spell_and_then_a_tenth() {
        let vigil = Vigil::new();
        let (mut now, mut awake) = (0, 0);
        let mut wait = || {
            now += 150 * MICROSECOND;
            if vigil.waits_awake(now) {
                awake += 150 * MICROSECOND;
            }
            vigil.turn(now, now);
            awake
        };
        let spell = (0..6_000).map(|_| wait()).last().unwrap();
        let later = (0..60_000).map(|_| wait()).last().unwrap() - spell;
        assert!((500_000..600_000).contains(&(spell / MICROSECOND)), "{spell}");
        assert!((700_000..1_000_000).contains(&(later / MICROSECOND)), "of 9 seconds: {later}");
    }

    #[test]
    fn a_runtime_that_is_asked_to_wait_awake_still_hears_what_comes() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let vigil = Vigil::new();
        let (here, mut there) = std::os::unix::net::UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let echo = thread::spawn(move || {
            use std::io::{Read, Write};
            let mut byte = [0];
            let mut heard = 0;
            while there.read(&mut byte).unwrap() == 1 {
                there.write_all(&byte).unwrap();
                heard += 1;
            }
            heard
        });
        vigil.runtime().unwrap().block_on(vigil.over(async {
            let mut here = tokio::net::UnixStream::from_std(here).unwrap();
            for sent in 0..=u8::MAX {
                here.write_all(&[sent]).await.unwrap();
                assert_eq!(here.read_u8().await.unwrap(), sent);
            }
        }));
        assert_eq!(echo.join().unwrap(), 256);
    }
}
