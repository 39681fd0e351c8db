//! `ca`: the certificates that vouch for a server in place of the machine's authorities. Read as the gate will read them,
//! so that a broken one is the policy's mistake and not, at the first request, the server's. Whom they vouch for is
//! decided by the gate alone.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};

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
    // Bundles have names and comments between certificates. Sections of another kind would be passed over.
    let is_stray = |line: &str| line.trim_start().starts_with("-----") && ![BEGIN, END].contains(&line);
    if pem.lines().map(str::trim_end).any(is_stray) {
        return Err(stray());
    }
    let mut number = 0_usize;
    for section in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        number += 1;
        let certificate = section.map_err(|error| broken(&error, number))?;
        webpki::anchor_from_trusted_cert(&certificate).map_err(|error| {
            Flaw::new(format!("certificate {number} is cut off, or no certificate ({error})"), COPY)
        })?;
    }
    match number {
        0 if pem.contains(END) => Err(stray()),
        0 => Err(Flaw::new("no certificate", EXAMPLE)),
        _ => Ok(()),
    }
}

fn stray() -> Flaw {
    Flaw::new("a marker that begins or ends no certificate", MARKERS)
}

fn broken(error: &pem::Error, number: usize) -> Flaw {
    if matches!(error, pem::Error::MissingSectionEnd { .. }) {
        Flaw::new(format!("certificate {number} has no end"), MARKERS)
    } else {
        Flaw::new(format!("certificate {number} is not base64"), COPY)
    }
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

const EXAMPLE: &str =
    r#"write the text itself: `ca = """` and `-----BEGIN CERTIFICATE-----` on the next line"#;
const MARKERS: &str = "each stands between `-----BEGIN CERTIFICATE-----` and `-----END CERTIFICATE-----`, both on lines of their own";
const COPY: &str = "copy it again, whole and unchanged";
