//! Where the messages of a WebSocket end, in the bytes that a server sends (RFC 6455, 5.2). Nothing is judged here: it is only
//! told when a message is whole, and nothing of it needs to be held back any more.

/// How far a server is with its frames.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// What has come of a frame's head.
    head: Vec<u8>,
    /// Bytes of the frame that are to come.
    left: u64,
    /// Whether more frames of a message are to come.
    unfinished: bool,
}

/// The last frame of a message.
const FIN: u8 = 0x80;
/// Frames that stand by themselves, in the middle of a message too.
const CONTROL: u8 = 0x08;
/// A masking key follows, which no server's frame should have.
const MASKED: u8 = 0x80;

impl Messages {
    /// Takes the next bytes. True where they end with a message.
    pub(super) fn end_with(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left = self.left.saturating_sub(u64::try_from(skipped).unwrap_or(u64::MAX));
            bytes = bytes.get(skipped..).unwrap_or_default();
            if let Some((first, rest)) = bytes.split_first() {
                self.head.push(*first);
                bytes = rest;
                self.begin_if_known();
            }
        }
        self.left == 0 && self.head.is_empty() && !self.unfinished
    }

    fn begin_if_known(&mut self) {
        let (Some(length), Some(first)) = (length(&self.head), self.head.first()) else { return };
        if first & CONTROL == 0 {
            self.unfinished = first & FIN == 0;
        }
        self.left = length;
        self.head.clear();
    }
}

/// The length of a frame's payload, once its head is whole.
fn length(head: &[u8]) -> Option<u64> {
    let second = head.get(1)?;
    let short = second & !MASKED;
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let key = if second & MASKED == 0 { 0 } else { 4 };
    let digits = head.get(2..2 + extended)?;
    let long = digits.iter().fold(0_u64, |sum, digit| sum << 8 | u64::from(*digit));
    (head.len() == 2 + extended + key).then_some(if extended == 0 { u64::from(short) } else { long })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let length = match payload.len() {
            short @ 0..126 => vec![u8::try_from(short).unwrap()],
            long @ 126..65_536 => [&[126][..], &u16::try_from(long).unwrap().to_be_bytes()].concat(),
            longest => [&[127][..], &u64::try_from(longest).unwrap().to_be_bytes()].concat(),
        };
        [&[first][..], &length, payload].concat()
    }

    #[test]
    fn a_message_is_whole_with_its_last_byte_and_no_other() {
        for length in [0, 5, 125, 126, 65_535, 65_536, 70_000] {
            let whole = frame(0x81, &vec![b'x'; length]);
            let mut messages = Messages::default();
            assert!(messages.end_with(&whole) && messages.end_with(&whole), "{length}");
            let ends: Vec<bool> = whole.iter().map(|byte| messages.end_with(&[*byte])).collect();
            assert_eq!(ends.iter().position(|end| *end), Some(whole.len() - 1), "{length}");
        }
    }

    #[test]
    fn fragments_are_one_message_and_a_ping_among_them_ends_nothing() {
        let mut messages = Messages::default();
        assert!(!messages.end_with(&frame(0x01, b"one ")));
        assert!(!messages.end_with(&frame(0x89, b"ping")));
        assert!(!messages.end_with(&frame(0x00, b"two ")));
        assert!(messages.end_with(&frame(0x80, b"three")));
        assert!(messages.end_with(&[frame(0x82, b"a"), frame(0x8a, b"")].concat()));
        let masked = [&[0x81, 0x85, 1, 2, 3, 4][..], b"hello"].concat();
        assert!(messages.end_with(&masked) && !messages.end_with(&masked[..10]));
    }
}
