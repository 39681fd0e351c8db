//! Certificates as every JVM reads them: a Java key store (JKS) of trusted certificates.
//!
//! JKS and not PKCS #12, because a JVM opens its `cacerts` without a password, and what the libraries at hand write as
//! PKCS #12 is encrypted and so would be skipped without a word. The format is that of `sun.security.provider.JavaKeyStore`; all
//! JVMs since 8 detect it by its first bytes.

use rustls_pki_types::CertificateDer;
use sha1::{Digest, Sha1};

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 2;
/// The password that everybody knows. It only guards against damage, and a JVM does without.
const PASSWORD: &str = "changeit";
/// What the format's authors put between password and contents.
const WHITENER: &[u8] = b"Mighty Aphrodite";

/// A store that trusts these certificates.
pub(super) fn encode(certificates: impl Iterator<Item = CertificateDer<'static>>) -> Vec<u8> {
    let mut count = 0_u32;
    let mut entries = Vec::new();
    for certificate in certificates {
        // What has no length in 32 bits is no certificate.
        let Ok(length) = u32::try_from(certificate.len()) else { continue };
        entries.extend_from_slice(&TRUSTED_CERTIFICATE.to_be_bytes());
        text(&mut entries, &format!("wardroom-{count}"));
        // When it was added: nobody asks.
        entries.extend_from_slice(&0_u64.to_be_bytes());
        text(&mut entries, "X.509");
        entries.extend_from_slice(&length.to_be_bytes());
        entries.extend_from_slice(&certificate);
        count += 1;
    }
    let mut store: Vec<u8> = [MAGIC, VERSION, count].iter().flat_map(|word| word.to_be_bytes()).collect();
    store.append(&mut entries);
    let password = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes);
    let digest = Sha1::new()
        .chain_update(password.collect::<Vec<u8>>())
        .chain_update(WHITENER)
        .chain_update(&store)
        .finalize();
    store.extend_from_slice(&digest);
    store
}

/// A short ASCII text with its length in 16 bits.
fn text(into: &mut Vec<u8>, text: &str) {
    into.extend_from_slice(&u16::try_from(text.len()).unwrap_or_default().to_be_bytes());
    into.extend_from_slice(text.as_bytes());
}
