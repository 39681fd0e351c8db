//! The authority's own key and certificate.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, GeneralSubtree, IsCa,
    KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use wardroom_model::{AgentName, HostPattern};
use zeroize::Zeroizing;

use super::{AuthorityError, AuthorityParts};

/// How far back a certificate is dated: a virtual machine that wakes up may be behind by hours.
pub(super) const BACKDATED: u64 = 24 * 3600;
/// How long an authority's certificate lives: longer than an agent runs without a start, which makes a new one.
const LIFE: u64 = 366 * 24 * 3600;
/// The longest common name and organisation (RFC 5280, appendix A: `ub-common-name`, `ub-organization-name`).
const LONGEST_NAME: usize = 64;

/// An authority's certificate, and what a gate needs to act for it.
#[derive(Debug)]
pub struct Issued {
    /// For the gate.
    pub parts: AuthorityParts,
    /// The certificate, DER: public, for whoever shall trust it.
    pub certificate: Vec<u8>,
    /// The same as PEM.
    pub pem: String,
}

/// A new private key: PKCS #8, as PEM.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn new_key() -> Result<Zeroizing<String>, AuthorityError> {
    fresh_key().map(|key| Zeroizing::new(key.serialize_pem()))
}

/// Makes the certificate with which `key` vouches for `names` on behalf of one agent. `now` is in seconds since 1970.
///
/// # Errors
/// The key is damaged, or the certificate cannot be made.
pub fn certify(
    key: &str,
    agent: &AgentName,
    host: &str,
    names: &[HostPattern],
    now: u64,
) -> Result<Issued, AuthorityError> {
    let pair = self::key(key)?;
    let subject = format!("Wardroom authority of {agent}");
    let mut params = identity(&subject, host);
    params.serial_number = Some(serial()?);
    date(&mut params, now, LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.name_constraints = Some(constraints(names));
    let made = params.self_signed(&pair).map_err(|e| AuthorityError::Certificate(e.to_string()))?;
    let names = names.iter().map(ToString::to_string).collect();
    let parts = AuthorityParts { key: key.to_owned(), subject, host: host.to_owned(), names };
    Ok(Issued { parts, certificate: made.der().to_vec(), pem: made.pem() })
}

/// What issuer and certificate have in common: leaves name their issuer by it.
pub(super) fn identity(subject: &str, host: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, cut(host));
    params.distinguished_name.push(DnType::CommonName, cut(subject));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

/// A name as a certificate takes it: printable and short.
fn cut(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(LONGEST_NAME).collect()
}

/// The names, and no address at all: a certificate that permits only names says nothing about addresses (RFC 5280,
/// 4.2.1.10), so these are excluded.
fn constraints(names: &[HostPattern]) -> NameConstraints {
    // A subtree is a name and all below it; that an exact host means no more is checked before a leaf is made.
    let tree = |name: &HostPattern| {
        let (HostPattern::Exact(host) | HostPattern::Below(host)) = name;
        GeneralSubtree::DnsName(host.as_str().to_owned())
    };
    let any4 = CidrSubnet::V4([0; 4], [0; 4]);
    let any6 = CidrSubnet::V6([0; 16], [0; 16]);
    NameConstraints {
        permitted_subtrees: names.iter().map(tree).collect(),
        excluded_subtrees: vec![GeneralSubtree::IpAddress(any4), GeneralSubtree::IpAddress(any6)],
    }
}

/// Dates a certificate from [`BACKDATED`] before `now` to `seconds` after it.
pub(super) fn date(params: &mut CertificateParams, now: u64, seconds: u64) {
    let at = |second| date_time_ymd(1970, 1, 1) + Duration::from_secs(second);
    params.not_before = at(now.saturating_sub(BACKDATED));
    params.not_after = at(now.saturating_add(seconds));
}

/// A random serial number, positive and of 16 bytes (RFC 5280, 4.1.2.2): two certificates of one issuer with the same one
/// are refused by some clients.
pub(super) fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut bytes).map_err(|_none| AuthorityError::Random)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Reads a private key as [`new_key`] makes it.
pub(super) fn key(pem: &str) -> Result<KeyPair, AuthorityError> {
    KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256)
        .map_err(|e| AuthorityError::Key(e.to_string()))
}

pub(super) fn fresh_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_none| AuthorityError::Random)
}
