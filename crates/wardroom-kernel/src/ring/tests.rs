use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::*;

fn ring() -> (File, Ring) {
    let file = tempfile::tempfile().unwrap();
    let ring = Ring::format(file.as_fd(), 1, 0x1234_5678_9abc_def0, 1).unwrap();
    (file, ring)
}

fn drain(consumer: &mut Consumer) -> Vec<Vec<u8>> {
    let mut region = Region::default();
    let mut messages = Vec::new();
    while !consumer.is_empty() {
        consumer.copy_out(&mut region);
        messages.extend(region.messages().map(|message| message.unwrap().bytes.to_vec()));
        consumer.advance(region.end());
    }
    messages
}

#[test]
fn messages_come_out_whole_and_in_order_across_the_end_of_the_ring() {
    let (file, ring) = ring();
    let mut producer = Producer::new(ring);
    let mut consumer = Consumer::new(Ring::open(&file).unwrap(), None);
    for round in 0_u32..200 {
        let sent: Vec<Vec<u8>> =
            (1_usize..40).map(|n| vec![round.to_le_bytes()[0]; n * 613 % 30_000 + 1]).collect();
        for message in &sent {
            assert!(producer.push(round, message).unwrap());
        }
        assert_eq!(drain(&mut consumer), sent, "round {round}");
    }
}

#[test]
fn a_full_ring_takes_nothing_and_loses_nothing() {
    let (file, ring) = ring();
    let mut producer = Producer::new(ring);
    let mut count = 0;
    while producer.push(0, &[7; 1000]).unwrap() {
        count += 1;
    }
    assert_eq!(count, 1_048_576 / 1008);
    let mut consumer = Consumer::new(Ring::open(&file).unwrap(), None);
    assert_eq!(drain(&mut consumer).len(), count);
    assert!(producer.push(0, &[7; 1000]).unwrap());
}

#[test]
fn what_was_published_is_there_for_a_later_consumer_and_stored_messages_are_not_taken_twice() {
    let (file, ring) = ring();
    let mut producer = Producer::new(ring);
    for n in 0..10_u8 {
        assert!(producer.push(0, &[n; 20]).unwrap());
    }
    drop(producer);
    let mut first = Consumer::new(Ring::open(&file).unwrap(), None);
    let mut region = Region::default();
    first.copy_out(&mut region);
    let fourth = region.messages().nth(3).unwrap().unwrap().end;
    drop(first); // died after storing four, before saying so
    let mut second = Consumer::new(Ring::open(&file).unwrap(), Some(fourth));
    assert_eq!(drain(&mut second).first(), Some(&vec![4; 20]));
    assert!(second.is_empty());
    // A position of another ring's life means nothing here.
    let third = Consumer::new(Ring::open(&file).unwrap(), Some(17));
    assert!(third.is_empty());
}

#[test]
fn a_scribbling_producer_yields_bounded_nonsense() {
    let (file, ring) = ring();
    let mut consumer = Consumer::new(Ring::open(&file).unwrap(), None);
    let mut region = Region::default();
    let hostile = [
        0,
        1,
        u64::MAX,
        u64::MAX - 7,
        1 << 62,
        ring.map.header().head.value.load(Ordering::Relaxed) + CAPACITY,
    ];
    for head in hostile {
        for fill in [0, u64::MAX, 0x0000_0001_0000_ffff, 0xffff] {
            ring.map.data().iter().for_each(|word| word.store(fill, Ordering::Relaxed));
            ring.map.header().head.value.store(head, Ordering::Relaxed);
            for _ in 0..20 {
                consumer.copy_out(&mut region);
                let messages = region.messages().count();
                assert!(messages <= 131_072, "{messages}");
                consumer.advance(region.end());
            }
            assert!(consumer.is_empty());
        }
    }
}

#[test]
fn a_truncated_or_foreign_file_is_no_ring() {
    let (file, ring) = ring();
    drop(ring);
    file.set_len(4096).unwrap();
    assert!(matches!(Ring::open(&file), Err(RingError::NotARing(_))));
    let sparse = tempfile::tempfile().unwrap();
    sparse.set_len(HEADER + CAPACITY).unwrap();
    assert!(matches!(Ring::open(&sparse), Err(RingError::NotARing(_))));
}

#[test]
fn a_sleeping_consumer_is_woken_and_a_waiting_producer_too() {
    let (file, ring) = ring();
    let mut producer = Producer::new(ring);
    let consumer = Consumer::new(Ring::open(&file).unwrap(), None);
    let total = 40_000_u32;
    let taker = thread::spawn(move || {
        let mut consumer = [consumer];
        let mut seen = 0;
        while seen < total {
            wait_any(&consumer, &AtomicU32::new(0), Bell::Any, Duration::from_secs(5)).unwrap();
            for message in drain(&mut consumer[0]) {
                assert_eq!(message[..4], seen.to_le_bytes());
                seen += 1;
            }
        }
    });
    for n in 0..total {
        let mut message = [0; 100];
        message[..4].copy_from_slice(&n.to_le_bytes());
        while !producer.push(n, &message).unwrap() {
            producer.wait_for_room(Duration::from_millis(100));
        }
    }
    taker.join().unwrap();
}
