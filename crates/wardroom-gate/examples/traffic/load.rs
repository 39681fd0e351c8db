//! The kinds of load, each with one number.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{Client, Target, rest};
use crate::{say, until_told};

/// Says `ready`, waits for the word, does one kind of work, says its number, and keeps what is open.
pub(crate) async fn load(kind: &str, count: usize, parallel: usize, target: Rc<Target>) {
    let (kind, bare) = kind.strip_prefix("bare-").map_or((kind, false), |kind| (kind, true));
    let mut kept = Vec::new();
    if matches!(kind, "round-trips" | "requests" | "events") {
        for _ in 0..parallel {
            kept.push(target.open(bare).await);
        }
    }
    say("ready");
    until_told().await;
    let number = match kind {
        "round-trips" => round_trips(&mut kept[0], count).await,
        "events" => events(&mut kept[0], count).await,
        "connections" => connections(&target, count).await,
        "requests" => requests(std::mem::take(&mut kept), count).await,
        "handshakes" => handshakes(&target, count, parallel).await,
        "open" => open(&target, &mut kept, count).await,
        "flow" => flow(target.address, count).await,
        other => panic!("{other:?} is no kind of load"),
    };
    say(&number.to_string());
    until_told().await;
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// Microseconds of a request on an open connection.
async fn round_trips(client: &mut Client, count: usize) -> f64 {
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        client.round_trip().await;
        times.push(begun.elapsed());
    }
    median(times)
}

/// Microseconds up to the first event of a stream.
async fn events(client: &mut Client, count: usize) -> f64 {
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        let body = client.event().await;
        times.push(begun.elapsed());
        rest(body).await;
    }
    median(times)
}

/// Microseconds from `connect` to the first answer.
async fn connections(target: &Target, count: usize) -> f64 {
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        let client = target.open(false).await;
        times.push(begun.elapsed());
        drop(client);
    }
    median(times)
}

/// Requests a second over connections that stay open.
async fn requests(open: Vec<Client>, count: usize) -> f64 {
    let each = count / open.len();
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for mut client in open {
        clients.spawn_local(async move {
            for _ in 0..each {
                client.round_trip().await;
            }
        });
    }
    clients.join_all().await;
    rate(count, begun)
}

/// New connections a second, each with one request.
async fn handshakes(target: &Rc<Target>, count: usize, parallel: usize) -> f64 {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..parallel {
        let target = Rc::clone(target);
        clients.spawn_local(async move {
            for _ in 0..count / parallel {
                drop(target.open(false).await);
            }
        });
    }
    clients.join_all().await;
    rate(count, begun)
}

/// Opens connections, each with one request behind it, more slowly than the gate's limit of new ones a second.
async fn open(target: &Target, kept: &mut Vec<Client>, count: usize) -> f64 {
    let begun = Instant::now();
    for number in 0..count {
        kept.push(target.open(false).await);
        let due = Duration::from_micros(1250) * u32::try_from(number).unwrap();
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
    }
    rate(count, begun)
}

/// Bytes a second of one plain connection.
async fn flow(address: SocketAddr, bytes: usize) -> f64 {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_u64(u64::try_from(bytes).unwrap()).await.unwrap();
    let (mut buffer, mut total) = (vec![0; 1 << 18], 0);
    while total < bytes {
        total += stream.read(&mut buffer).await.unwrap();
    }
    rate(bytes, begun)
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a count far below 2^53")]
fn rate(count: usize, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}
