//! `ca`: the certificates that vouch for a server in place of the machine's authorities. Read as the gate will read them,
//! so that a broken one is the policy's mistake and not, at the first request, the server's. Whom they vouch for is
//! decided by the gate alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::diagnose::{At, Diagnostic, Report};

/// The text, where it holds certificates in PEM and nothing else between markers.
pub(crate) fn certificates(text: At<String>, report: &mut Report) -> Option<At<String>> {
    match read(&text.value) {
        Ok(()) => Some(text),
        Err(Flaw { label, help }) => {
            report.push(Diagnostic::new("`ca` holds certificates in PEM", text.span, label).help(help));
            None
        }
    }
}

/// How many certificates a text has, for saying it.
pub(crate) fn count(pem: &str) -> usize {
    pem.matches(BEGIN).count()
}

struct Flaw {
    label: String,
    help: &'static str,
}

impl Flaw {
    fn new(label: impl Into<String>, help: &'static str) -> Self {
        Self { label: label.into(), help }
    }
}

fn read(pem: &str) -> Result<(), Flaw> {
    if pem.contains("PRIVATE KEY") {
        return Err(Flaw::new("this holds a private key", "take the key out, and count it as published"));
    }
    let mut found = 0_usize;
    // The base64 since the last BEGIN, where its END has not come yet.
    let mut open: Option<String> = None;
    for line in pem.split(['\n', '\r']).map(str::trim_end) {
        open = match open {
            None if line == BEGIN => {
                found += 1;
                Some(String::new())
            }
            None if line.trim_start().starts_with("-----") => return Err(stray()),
            // Bundles have names and comments between certificates.
            None => None,
            Some(body) if line == END => {
                certificate(&body, found)?;
                None
            }
            Some(_) if line.trim_start().starts_with("-----") => return Err(stray()),
            Some(body) => Some(body + line.trim_start()),
        };
    }
    match (open, found) {
        (Some(_), _) => Err(Flaw::new(format!("certificate {found} has no end"), MARKERS)),
        (None, 0) => Err(Flaw::new("no certificate", EXAMPLE)),
        (None, _) => Ok(()),
    }
}

fn stray() -> Flaw {
    Flaw::new("a marker that begins or ends no certificate", MARKERS)
}

fn certificate(body: &str, number: usize) -> Result<(), Flaw> {
    let der = STANDARD.decode(body);
    let der = der.map_err(|_cause| Flaw::new(format!("certificate {number} is not base64"), COPY))?;
    is_certificate(&der)
        .then_some(())
        .ok_or_else(|| Flaw::new(format!("certificate {number} is cut off, or no certificate"), COPY))
}

/// Whether bytes have the frame of a certificate: a sequence of what is signed, by what algorithm, and the signature (RFC 5280, 4.1).
fn is_certificate(der: &[u8]) -> bool {
    let parts = || {
        let body = alone(element(SEQUENCE, der)?)?;
        let (_signed, rest) = element(SEQUENCE, body)?;
        let (_algorithm, rest) = element(SEQUENCE, rest)?;
        alone(element(BIT_STRING, rest)?)
    };
    parts().is_some()
}

/// The body of an element that nothing follows.
fn alone<'a>((body, rest): (&'a [u8], &[u8])) -> Option<&'a [u8]> {
    rest.is_empty().then_some(body)
}

/// The body of the element that bytes begin with, and what follows it. DER has one way to write a length, the shortest
/// (X.690, 10.1).
fn element(wanted: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first.checked_sub(0x80) {
        None => (usize::from(*first), rest),
        Some(size) => {
            let (digits, rest) = rest.split_at_checked(usize::from(size))?;
            let join = |sum: usize, digit: &u8| sum.checked_mul(0x100)?.checked_add(usize::from(*digit));
            let length = digits.iter().try_fold(0_usize, join)?;
            let shortest = length >= 0x80 && digits.first() != Some(&0);
            (shortest.then_some(length)?, rest)
        }
    };
    (*tag == wanted).then_some(())?;
    rest.split_at_checked(length)
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

const EXAMPLE: &str =
    r#"write the text itself: `ca = """` and `-----BEGIN CERTIFICATE-----` on the next line"#;
const MARKERS: &str = "each stands between `-----BEGIN CERTIFICATE-----` and `-----END CERTIFICATE-----`, both on lines of their own";
const COPY: &str = "copy it again, whole and unchanged";
