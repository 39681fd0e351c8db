//! Masks a credential's value in an answer: a server that reflects what it was sent (attack S3) tells the agent nothing.
//!
//! The value is replaced by as many bytes of the placeholder as it has itself, so that lengths, ranges and frames stay
//! right. It is known in every spelling of [`spelling`], and in lines of base64.
//!
//! An answer comes in parts, and a value may come in two of them. So the end of a part is held back until more is seen, and how much
//! of it depends on what stands there and never on the value: an agent that has a server send what it likes would otherwise find
//! the value letter by letter, by the length of the parts that it gets.
//! A server that helps the agent by changing the value in another way (reversed, bit by bit) defeats any mask; that is
//! why a credential is bound to one host.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::rc::Rc;

use bytes::Bytes;
use memchr::memmem::Finder;
use subtle::ConstantTimeEq;
use wardroom_kernel::locked::Locked;
use zeroize::Zeroizing;

use super::{lines, spelling};

/// One form in which a value may come back, and what stands in its place.
#[derive(Debug)]
pub(crate) struct Needle {
    bytes: Form,
    mask: Vec<u8>,
}

/// The bytes of a form.
enum Form {
    /// For as long as the value is held.
    Kept(Rc<Locked>),
    /// For one request.
    Passing(Zeroizing<Vec<u8>>),
}

impl Deref for Form {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Kept(bytes) => bytes,
            Self::Passing(bytes) => bytes,
        }
    }
}

impl PartialEq for Needle {
    /// In constant time for values of one length.
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&other.bytes).into()
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Form")
    }
}

/// Shorter values are no secrets, and masking them would garble everything.
const SHORTEST: usize = 4;

impl Needle {
    fn new(bytes: Form, placeholder: &str) -> Option<Rc<Self>> {
        let filler = placeholder.bytes().chain(std::iter::repeat(b'*'));
        let mask = filler.take(bytes.len()).collect();
        (bytes.len() >= SHORTEST).then(|| Rc::new(Self { bytes, mask }))
    }

    /// Every form of one value.
    ///
    /// # Errors
    /// Where there is no locked memory for them.
    pub(crate) fn forms(value: &Rc<Locked>, placeholder: &str) -> io::Result<Vec<Rc<Self>>> {
        let mut needles: Vec<_> = Self::new(Form::Kept(Rc::clone(value)), placeholder).into_iter().collect();
        let others = if needles.is_empty() { Vec::new() } else { spelling::all(value) };
        for form in others {
            if !needles.iter().any(|known| *known.bytes == **form) {
                needles.extend(Self::new(Form::Kept(Rc::new(Locked::new(&form)?)), placeholder));
            }
        }
        Ok(needles)
    }

    /// A form that is looked for as it is, in one answer: what basic authentication sends.
    pub(crate) fn passing(value: Zeroizing<Vec<u8>>, placeholder: &str) -> Option<Rc<Self>> {
        Self::new(Form::Passing(value), placeholder)
    }
}

/// Masks one answer.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    needles: Vec<Rc<Needle>>,
    /// The end of what came.
    held: Held,
    /// How many of the first of these bytes went out all the same.
    sent: usize,
    /// Whether all that is looked for is made of the bytes of tokens.
    tokens: bool,
}

/// The end of a part that may be the begin of a value.
#[derive(Default)]
struct Held(Zeroizing<Vec<u8>>);

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Mask {
    /// Looks for these as well.
    pub(crate) fn add(&mut self, needles: impl IntoIterator<Item = Rc<Needle>>) {
        for needle in needles {
            if !self.needles.iter().any(|known| Rc::ptr_eq(known, &needle)) {
                self.needles.push(needle);
            }
        }
        self.needles.sort_by_key(|needle| std::cmp::Reverse(needle.bytes.len()));
        self.tokens = self.needles.iter().all(|needle| lines::are_of_tokens(&needle.bytes));
    }

    /// Whether there is anything to look for.
    pub(crate) fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// These bytes, whole, masked; none where nothing had to be.
    pub(crate) fn whole(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut masked = None;
        for needle in &self.needles {
            let finder = Finder::new(&*needle.bytes);
            let found: Vec<usize> = finder.find_iter(masked.as_deref().unwrap_or(bytes)).collect();
            for start in found {
                let masked = masked.get_or_insert_with(|| bytes.to_vec());
                if let Some(place) = masked.get_mut(start..start + needle.bytes.len()) {
                    place.copy_from_slice(&needle.mask);
                }
            }
        }
        self.in_lines(bytes, masked)
    }

    /// The same where a value is broken into lines, which stay.
    fn in_lines(&self, bytes: &[u8], mut masked: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let Some((joined, places)) = lines::joined(masked.as_deref().unwrap_or(bytes)) else { return masked };
        for needle in &self.needles {
            for start in Finder::new(&*needle.bytes).find_iter(&joined) {
                let masked = masked.get_or_insert_with(|| bytes.to_vec());
                for (place, mask) in places.iter().skip(start).zip(&needle.mask) {
                    if let Some(byte) = masked.get_mut(*place) {
                        *byte = *mask;
                    }
                }
            }
        }
        masked
    }

    /// Whether a value stands in the name of a header, whose letters have lost their case.
    pub(crate) fn is_in_name(&self, name: &str) -> bool {
        let within = |needle: &[u8]| {
            name.as_bytes().windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle))
        };
        self.needles.iter().any(|needle| within(&needle.bytes))
    }

    /// The next part of a body, masked, and whether anything was. Its end is held back where a value might go on after it.
    pub(crate) fn part(&mut self, part: Bytes) -> (Bytes, bool) {
        if self.is_empty() {
            return (part, false);
        }
        let little = self.held.0.len() + part.len() <= 2 * self.reach();
        if self.tokens && little && lines::are_of_tokens(&part) {
            // All of it would be held back, whatever it is: nothing is looked for before it is let go.
            self.held.0.extend_from_slice(&part);
            return (Bytes::new(), false);
        }
        let part = if self.held.0.is_empty() {
            part
        } else {
            let mut joined = std::mem::take(&mut *self.held.0);
            joined.extend_from_slice(&part);
            Bytes::from(joined)
        };
        let masked = self.whole(&part);
        let found = masked.is_some();
        let part = masked.map_or(part, Bytes::from);
        let kept = part.len() - self.unfinished(&part);
        let until = kept.max(self.sent);
        let out = part.slice(self.sent..until);
        self.sent = until - kept;
        *self.held.0 = part.slice(kept..).to_vec();
        (out, found)
    }

    /// What was held back, since nothing comes for long, or nothing at all, and whether anything of it was masked. It stays known: a value that goes on later is masked from there on. Half of
    /// a value, or more, is masked now; who finds that out knew half of it.
    pub(crate) fn rest(&mut self) -> (Bytes, bool) {
        let masked = self.whole(&self.held.0);
        let mut found = masked.is_some();
        let mut out = masked.unwrap_or_else(|| self.held.0.to_vec());
        if let Some((length, needle)) = self.half_begun(&out)
            && let Some(begun) = out.len().checked_sub(length).and_then(|at| out.get_mut(at..))
        {
            begun.iter_mut().zip(&needle.mask).for_each(|(byte, mask)| *byte = *mask);
            found = true;
        }
        let rest = out.split_off(self.sent.min(out.len()));
        self.sent = self.held.0.len();
        (Bytes::from(rest), found)
    }

    /// Whether anything is held back.
    pub(crate) fn holds(&self) -> bool {
        self.held.0.len() > self.sent
    }

    /// The longest end of these bytes that is half of a value or more.
    fn half_begun(&self, bytes: &[u8]) -> Option<(usize, &Needle)> {
        let begun = |needle: &'_ Rc<Needle>| {
            let most = (needle.bytes.len() - 1).min(bytes.len());
            let mut lengths = (needle.bytes.len().div_ceil(2)..=most).rev();
            lengths.find(|length| needle.bytes.get(..*length).is_some_and(|begin| bytes.ends_with(begin)))
        };
        let all = self.needles.iter().filter_map(|needle| Some((begun(needle)?, &**needle)));
        all.max_by_key(|(length, _)| *length)
    }

    /// The most that is held back: rounded, so that it does not tell the value's length; twice, for it may be broken into lines,
    /// of which one stands before the break that tells.
    fn reach(&self) -> usize {
        let longest = self.needles.first().map_or(0, |needle| needle.bytes.len());
        (2 * (longest + lines::LINE)).next_power_of_two()
    }

    /// How many bytes at the end of these a value might go on after, whatever it is.
    fn unfinished(&self, bytes: &[u8]) -> usize {
        let most = if self.tokens { lines::run_at_the_end(bytes) } else { bytes.len() };
        most.min(self.reach())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &[u8] = b"sk-real/0123456789\"abcdef";

    fn forms(value: &[u8]) -> Vec<Rc<Needle>> {
        Needle::forms(&Rc::new(Locked::new(value).unwrap()), "sk-placeholder").unwrap()
    }

    fn mask() -> Mask {
        let mut mask = Mask::default();
        mask.add(forms(REAL));
        mask
    }

    fn through(mask: &mut Mask, body: &[u8], size: usize) -> Vec<u8> {
        let parts = body.chunks(size).map(|part| mask.part(Bytes::copy_from_slice(part)).0);
        let mut out: Vec<u8> = parts.collect::<Vec<_>>().concat();
        out.extend(mask.rest().0);
        out
    }

    #[test]
    fn s3_every_form_of_a_value_is_masked_across_every_border_and_keeps_its_length() {
        let forms =
            ["sk-real/0123456789\"abcdef", "sk-real%2F0123456789%22abcdef", "sk-real%2f0123456789%22abcdef"];
        let json = ["sk-real/0123456789\\\"abcdef", "sk-real\\/0123456789\\\"abcdef"];
        for form in forms.into_iter().chain(json) {
            let body = format!("before {form}{form} after sk-rea");
            for size in 1..body.len() {
                let out = String::from_utf8(through(&mut mask(), body.as_bytes(), size)).unwrap();
                assert!(!out.contains("0123456789"), "{form} in parts of {size}: {out}");
                assert!(
                    out.starts_with("before sk-placeholder***") && out.ends_with("* after sk-rea"),
                    "{out}"
                );
                assert_eq!(out.len(), body.len());
            }
        }
    }

    #[test]
    fn s3_a_value_in_somebody_s_base64_is_masked_wherever_it_begins_and_however_that_is_escaped() {
        use base64::Engine;
        use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
        const VALUE: &[u8] = b"ghp_S~~o?S~~o??S~~o>>>end";
        for user in ["", "a", "ab", "abc", "x:"] {
            let pair = [user.as_bytes(), b":", VALUE, b" and more"].concat();
            for coded in [STANDARD.encode(&pair), STANDARD_NO_PAD.encode(&pair), URL_SAFE.encode(&pair)] {
                for sent in
                    [coded.clone(), coded.replace('/', "\\/"), coded.replace('+', "%2B").replace('/', "%2F")]
                {
                    let mut mask = Mask::default();
                    mask.add(forms(VALUE));
                    let out = String::from_utf8(through(&mut mask, sent.as_bytes(), 5)).unwrap();
                    let same = out.bytes().zip(sent.bytes()).filter(|(out, sent)| out == sent).count();
                    assert!(out.contains("placeholder") && same < sent.len() / 2, "{sent} {out}");
                }
            }
        }
    }

    const TOKEN: &[u8] = b"sk-ant-api03-REALREALqW7zK3mXv9TtY2bN5cP8dF1gH4jL6AA";

    fn mask_of(value: &[u8]) -> Mask {
        let mut mask = Mask::default();
        mask.add(forms(value));
        mask
    }

    #[test]
    fn s3_what_is_held_back_does_not_tell_how_a_value_begins() {
        for length in 0..TOKEN.len() {
            let (begin, next) = (&TOKEN[..length], TOKEN[length]);
            let parts = [next, b'x', b'7', b'Q'].map(|guess| {
                let mut mask = mask_of(TOKEN);
                let (first, found) = mask.part([b"a file, and ", begin, &[guess]].concat().into());
                let second = mask.part(Bytes::from_static(b" and more\n")).0;
                (first.len(), second.len(), found)
            });
            // Whoever guesses the whole value is told, as S3 has it.
            let parts = parts.iter().filter(|(_, _, found)| !found).collect::<Vec<_>>();
            assert!(parts.windows(2).all(|two| two[0] == two[1]), "{length}: {parts:?}");
        }
    }

    #[test]
    fn s3_a_server_that_falls_silent_within_a_value_shows_less_than_half_of_it() {
        for length in 0..=TOKEN.len() {
            let mut mask = mask_of(TOKEN);
            let (begin, end) = TOKEN.split_at(length);
            let mut out = mask.part([b"x-api-key: ", begin].concat().into()).0.to_vec();
            out.extend(mask.rest().0);
            out.extend(mask.part([end, b" and more"].concat().into()).0);
            out.extend(mask.rest().0);
            assert_eq!(out.len(), 11 + TOKEN.len() + 9, "{length}");
            assert!(longest_common(&out, TOKEN) <= TOKEN.len() / 2, "{length}: {}", out.escape_ascii());
        }
    }

    #[test]
    fn what_ends_an_event_a_line_or_a_value_of_json_is_not_waited_for() {
        let mut mask = mask_of(TOKEN);
        for whole in ["data: {\"text\":\"hello\"}\n\n", "{\"a\":1}", "a line\n"] {
            let whole = Bytes::from(whole);
            let (out, found) = mask.part(whole.clone());
            assert!(out == whole && !found && out.as_ptr() == whole.as_ptr(), "the same bytes, not a copy");
            assert!(!mask.holds());
        }
        assert_eq!(mask.part(Bytes::from_static(b"two words")).0, "two ");
        assert!(mask.holds());
        assert_eq!(mask.part(Bytes::from_static(b" and")).0, "words ");
        assert_eq!(mask.rest().0, "and");
        assert!(!mask.holds());
    }

    #[test]
    fn s3_base64_in_lines_is_masked_across_every_border_and_keeps_its_lines() {
        for length in [12, 20, 24, TOKEN.len()] {
            let value = &TOKEN[TOKEN.len() - length..];
            for before in (0..60).step_by(7) {
                in_lines(value, before);
            }
        }
    }

    fn in_lines(value: &[u8], before: usize) {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;
        let text =
            [&b"authorization: Bearer ".repeat(3)[..before], value, b" and what follows in the same text"];
        let coded = STANDARD.encode(text.concat());
        for (width, end) in [(60, "\n"), (64, "\\n"), (76, "\r\n")] {
            let lines: Vec<_> =
                coded.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
            let body = format!("[{}]", lines.join(end));
            for size in 1..body.len() {
                let out = String::from_utf8(through(&mut mask_of(value), body.as_bytes(), size)).unwrap();
                let left: String = out.trim_matches(['[', ']']).split(end).collect();
                assert_eq!((out.len(), out.matches(end).count()), (body.len(), lines.len() - 1));
                let known = STANDARD.decode(&left).map_or(0, |text| longest_common(&text, value));
                assert!(known <= 6, "{} {before} {width} {size}: {out}", value.len());
            }
        }
    }

    /// The length of the longest part of a value that stands in a text.
    fn longest_common(text: &[u8], value: &[u8]) -> usize {
        let stands =
            |length: usize| value.windows(length).any(|part| memchr::memmem::find(text, part).is_some());
        (1..=value.len()).rev().find(|length| stands(*length)).unwrap_or(0)
    }

    #[test]
    fn s3_a_value_in_the_name_of_a_header_is_found_without_its_case() {
        let mut mask = Mask::default();
        mask.add(forms(b"sk-Real_0123456789Abcdef"));
        assert!(mask.is_in_name("x-sk-real_0123456789abcdef-y") && !mask.is_in_name("sk-real_0123"));
        assert!(!Mask::default().is_in_name("x-any"));
    }

    #[test]
    fn without_a_value_nothing_is_touched() {
        let mut mask = Mask::default();
        assert_eq!(mask.part(Bytes::from_static(b"sk-real")).0, "sk-real");
        assert!(mask.whole(REAL).is_none() && forms(b"abc").is_empty());
    }
}
