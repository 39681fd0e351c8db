//! Dialling out: the one place where the gate opens a connection to the world.
//!
//! A dial takes the proof that the policy permits it and the proof that it is on record, by value. A name is looked up
//! here and nowhere else; if any of its addresses is special and not named by the rule, none is dialled.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use wardroom_kernel::hostnet;
use wardroom_model::{Outcome, Reason, Verdict};
use wardroom_policy::{NetworkPolicy, Permit, is_special};
use wardroom_scribe::Receipt;

use crate::limits::{DIAL_TIME, LOOKUP_TIME, Limits};
use crate::relay::eager;
use crate::upstream::Upstream;

/// The pause before the next address is tried beside the last (RFC 8305, 5: 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// What dialling needs of the outside.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) upstream: Upstream,
    /// Asks the kernel for the host's own addresses.
    pub(crate) host: OwnedFd,
}

/// Opens the permitted and recorded connection. Returns it with the address that answered.
pub(crate) async fn dial(
    permit: Permit,
    _recorded: Receipt,
    policy: &NetworkPolicy,
    outside: &Outside,
    limits: &Limits,
) -> Result<(TcpStream, SocketAddr), Verdict> {
    let targets = match permit.pinned() {
        Some(address) => vec![address],
        None => look_up(&permit, policy, outside, limits).await.map_err(|reason| because(&permit, reason))?,
    };
    let connection = timeout(DIAL_TIME, race(targets)).await;
    match connection {
        Ok(Ok(answered)) => Ok(answered),
        Ok(Err(error)) => Err(because(&permit, Reason::Unreachable(error.to_string()))),
        Err(_elapsed) => Err(because(&permit, Reason::Unreachable("no answer within 30 seconds".to_owned()))),
    }
}

/// A special address and a limit are refusals of ours; the rest is the world's.
fn because(permit: &Permit, reason: Reason) -> Verdict {
    let ours =
        matches!(reason, Reason::SpecialAddress(_) | Reason::LimitReached(_) | Reason::FailedClosed(_));
    let outcome = if ours { Outcome::Refused } else { Outcome::Failed };
    Verdict { outcome, reason, rule: permit.verdict().rule.clone() }
}

async fn look_up(
    permit: &Permit,
    policy: &NetworkPolicy,
    outside: &Outside,
    limits: &Limits,
) -> Result<Vec<SocketAddr>, Reason> {
    let host = permit.host().ok_or_else(|| Reason::FailedClosed("neither name nor address".to_owned()))?;
    let found = timeout(LOOKUP_TIME, outside.upstream.addresses(host, limits)).await;
    let found = found.map_err(|_elapsed| Reason::Unresolved("no answer within 10 seconds".to_owned()))??;
    let own = hostnet::own_addresses(&outside.host)
        .map_err(|e| Reason::FailedClosed(format!("cannot tell the host's own addresses: {e}")))?;
    let forbidden = |ip: &IpAddr| {
        (is_special(*ip) || own.contains(&ip.to_canonical())) && !policy.special_permitted(permit, *ip)
    };
    // One such address spoils the answer: whoever mixes them means harm or is misconfigured.
    match found.iter().find(|ip| forbidden(ip)) {
        Some(special) => Err(Reason::SpecialAddress(*special)),
        None => Ok(interleave(&found).map(|ip| SocketAddr::new(ip, permit.port())).collect()),
    }
}

/// IPv6 first, then by turns (RFC 8305, 4).
fn interleave(addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let mut v6: VecDeque<IpAddr> = addresses.iter().copied().filter(IpAddr::is_ipv6).collect();
    let mut v4: VecDeque<IpAddr> = addresses.iter().copied().filter(IpAddr::is_ipv4).collect();
    let mut turn = false;
    std::iter::from_fn(move || {
        turn = !turn;
        let (first, second) = if turn { (&mut v6, &mut v4) } else { (&mut v4, &mut v6) };
        first.pop_front().or_else(|| second.pop_front())
    })
}

/// The first of these addresses to answer, each tried a little after the one before (RFC 8305, 5).
async fn race(targets: Vec<SocketAddr>) -> io::Result<(TcpStream, SocketAddr)> {
    if let [only] = *targets {
        // Nothing to race with, and so no task and no timer.
        return connect(only).await;
    }
    let mut left = targets.into_iter();
    let mut running = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let more = left.next();
        let exhausted = more.is_none();
        if let Some(target) = more {
            running.spawn(connect(target));
        }
        let pause = sleep(STAGGER);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause, if !exhausted => break,
                ended = running.join_next() => match ended {
                    Some(Ok(Ok(answered))) => return Ok(answered),
                    Some(Ok(Err(error))) => {
                        last = error;
                        break;
                    }
                    Some(Err(error)) => last = io::Error::other(error),
                    None if exhausted => return Err(last),
                    None => break,
                },
            }
        }
    }
}

async fn connect(target: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::connect(target).await?;
    eager(&stream)?;
    Ok((stream, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_with_ipv6_first() {
        let ips = ["1.1.1.1", "1.1.1.2", "1.1.1.3", "2606::1"].map(|t| t.parse::<IpAddr>().unwrap());
        let order: Vec<String> = interleave(&ips).map(|ip| ip.to_string()).collect();
        assert_eq!(order, ["2606::1", "1.1.1.1", "1.1.1.2", "1.1.1.3"]);
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            other.local_addr().unwrap()
        };
        let (stream, answered) = timeout(STAGGER, race(vec![closed, open])).await.unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert_eq!(answered, open);
        assert!(stream.nodelay().unwrap());
        assert!(race(vec![closed]).await.is_err());
    }
}
