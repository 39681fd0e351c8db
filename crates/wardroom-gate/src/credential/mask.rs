//! Masks a credential's value in an answer: a server that reflects what it was sent (attack S3) tells the agent nothing.
//!
//! The value is replaced by as many bytes of the placeholder as it has itself, so that lengths, ranges and frames stay
//! right. It is known in every spelling of [`spelling`].
//! A server that helps the agent by changing the value in another way (reversed, bit by bit) defeats any mask; that is
//! why a credential is bound to one host.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::rc::Rc;

use bytes::Bytes;
use memchr::memmem::Finder;
use wardroom_kernel::locked::Locked;
use zeroize::Zeroizing;

use super::spelling;

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
    held: Held,
    /// How many of the first of these bytes went out all the same.
    sent: usize,
}

/// Fewer bytes of a value than this are not held back: `sk-` is no secret, and a message that happens to end with the
/// first letter of one is not to wait for the next.
const WORTH: usize = 4;

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
        masked
    }

    /// Whether a value stands in the name of a header, whose letters have lost their case.
    pub(crate) fn is_in_name(&self, name: &str) -> bool {
        let within = |needle: &[u8]| {
            name.as_bytes().windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle))
        };
        self.needles.iter().any(|needle| within(&needle.bytes))
    }

    /// The next part of a body, masked, and whether anything was. What may be the begin of a value is held back: nothing,
    /// unless the part's very end is one.
    pub(crate) fn part(&mut self, part: Bytes) -> (Bytes, bool) {
        if self.is_empty() {
            return (part, false);
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
        let begun = part.len() - self.begun_at_the_end(&part);
        let until = if part.len() - begun < WORTH { part.len() } else { begun.max(self.sent) };
        let out = part.slice(self.sent..until);
        self.sent = until.saturating_sub(begun);
        *self.held.0 = part.slice(begun..).to_vec();
        (out, found)
    }

    /// What was held back: no value ended in it.
    pub(crate) fn rest(&mut self) -> Bytes {
        let sent = std::mem::take(&mut self.sent);
        Bytes::from(std::mem::take(&mut *self.held.0)).split_off(sent)
    }

    /// The length of the longest end of these bytes with which a value begins.
    fn begun_at_the_end(&self, bytes: &[u8]) -> usize {
        let begun = |needle: &Rc<Needle>| {
            let longest = (needle.bytes.len() - 1).min(bytes.len());
            let mut lengths = (1..=longest).rev();
            lengths.find(|length| needle.bytes.get(..*length).is_some_and(|begin| bytes.ends_with(begin)))
        };
        self.needles.iter().filter_map(begun).max().unwrap_or(0)
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
        out.extend(mask.rest());
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

    #[test]
    fn nothing_is_held_back_but_what_a_value_may_begin_with() {
        let mut mask = mask();
        let event = Bytes::from_static(b"data: {\"text\":\"hello\"}\n\n");
        let (out, found) = mask.part(event.clone());
        assert!(out == event && !found && out.as_ptr() == event.as_ptr(), "the same bytes, not a copy");
        assert_eq!(mask.part(Bytes::from_static(b"x sk-re")).0, "x ");
        assert_eq!(mask.part(Bytes::from_static(b"d")).0, "sk-red");
        assert_eq!(mask.part(Bytes::from_static(b"as")).0, "as", "too little to wait for");
        assert_eq!(mask.part(Bytes::from_static(b"k-re")).0, "");
        assert_eq!(mask.part(Bytes::from_static(b"d")).0, "k-red");
        assert!(mask.rest().is_empty());
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
