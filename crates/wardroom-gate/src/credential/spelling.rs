//! How else a value may be written where a server gives it back: what encoders in wide use make of it without being asked.
//!
//! Nothing here is meant to defeat a server that hides the value on purpose.

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;
use zeroize::Zeroizing;

type Text = Zeroizing<Vec<u8>>;

/// Every spelling of a value, some of them several times: of itself, and of what base64 makes of it.
pub(super) fn all(value: &[u8]) -> Vec<Text> {
    let mut plain = vec![Zeroizing::new(value.to_vec())];
    for alphabet in [&STANDARD, &URL_SAFE] {
        plain.extend((0..3).map(|before| base64(value, before, alphabet)));
    }
    plain.iter().flat_map(|plain| escaped(plain)).collect()
}

fn escaped(plain: &[u8]) -> Vec<Text> {
    let mut forms = vec![Zeroizing::new(plain.to_vec()), json(plain, false), json(plain, true), html(plain)];
    for (digits, also) in [(UPPER, ""), (LOWER, ""), (UPPER, "/"), (LOWER, "/"), (UPPER, "!*'()")] {
        forms.push(percent(plain, digits, also.as_bytes()));
    }
    // Go and Ruby write what means something in HTML like this; .NET some more, quotation marks included.
    forms.push(json_digits(plain, LOWER, b"&<>"));
    forms.push(json_digits(plain, UPPER, b"&<>'+`\""));
    forms
}

const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

/// What all base64 of anything that holds the value has in common, with this many bytes before it, modulo three: all but the
/// characters at both ends that hold bits of something else as well.
fn base64(value: &[u8], before: usize, alphabet: &Alphabet) -> Text {
    let led = b"\0\0".get(..before).unwrap_or_default();
    let led = Zeroizing::new([led, value].concat());
    let mut coded = Zeroizing::new(GeneralPurpose::new(alphabet, NO_PAD).encode(&*led).into_bytes());
    if led.len() % 3 != 0 {
        coded.pop();
    }
    // One byte fills one character and a part of the next, two fill two and a part.
    let foreign = if before == 0 { 0 } else { before + 1 };
    Zeroizing::new(coded.get(foreign..).unwrap_or_default().to_vec())
}

fn hexadecimal(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|at| digits.get(usize::from(at)).copied().unwrap_or(b'0'))
}

/// Everything but the unreserved characters, and some more, escaped (RFC 3986, 2.3).
fn percent(value: &[u8], digits: &[u8; 16], also: &[u8]) -> Text {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte);
    each(value, |byte, out| {
        if plain(byte) {
            out.push(byte);
        } else {
            out.push(b'%');
            out.extend(hexadecimal(byte, digits));
        }
    })
}

/// As it stands in a text of JSON (RFC 8259, 7); some writers escape the slash as well. Control characters are in no value.
fn json(value: &[u8], slash: bool) -> Text {
    each(value, |byte, out| {
        if matches!(byte, b'"' | b'\\') || (slash && byte == b'/') {
            out.push(b'\\');
        }
        out.push(byte);
    })
}

/// As JSON that is safe inside of HTML: these characters by their number.
fn json_digits(value: &[u8], digits: &[u8; 16], which: &[u8]) -> Text {
    each(value, |byte, out| {
        if which.contains(&byte) {
            out.extend(b"\\u00");
            out.extend(hexadecimal(byte, digits));
        } else {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
    })
}

fn html(value: &[u8]) -> Text {
    each(value, |byte, out| match byte {
        b'&' => out.extend(b"&amp;"),
        b'<' => out.extend(b"&lt;"),
        b'>' => out.extend(b"&gt;"),
        b'"' => out.extend(b"&quot;"),
        b'\'' => out.extend(b"&#39;"),
        byte => out.push(byte),
    })
}

/// Room for six bytes each, which is the longest escape: nothing is copied while it grows.
fn each(value: &[u8], write: impl Fn(u8, &mut Vec<u8>)) -> Text {
    let mut out = Zeroizing::new(Vec::with_capacity(value.len() * 6));
    value.iter().for_each(|byte| write(*byte, &mut out));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_spellings_of_encoders_in_wide_use() {
        let forms = all(b"a/b+c&d<e>f'g\"h");
        for wanted in [
            &br#"a/b+c\u0026d\u003ce\u003ef'g\"h"#[..],
            br"a/b\u002Bc\u0026d\u003Ce\u003Ef\u0027g\u0022h",
            b"a/b+c&amp;d&lt;e&gt;f&#39;g&quot;h",
            b"a/b%2Bc%26d%3Ce%3Ef%27g%22h",
            b"a%2fb%2bc%26d%3ce%3ef%27g%22h",
            b"a%2Fb%2Bc%26d%3Ce%3Ef'g%22h",
            br#"a\/b+c&d<e>f'g\"h"#,
        ] {
            assert!(forms.iter().any(|form| **form == *wanted), "{}", String::from_utf8_lossy(wanted));
        }
    }
}
