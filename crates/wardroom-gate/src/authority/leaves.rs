//! Certificates for single hosts: made when a connection needs one, short-lived, kept in memory alone.

use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::sign::{CertifiedKey, SigningKey};
use wardroom_model::HostName;

use super::AuthorityError;
use super::certify::{BACKDATED, date, serial};

/// How long a leaf lives. It is renewed a day before, so that no connection begins with one that is about to end.
const LIFE: u64 = 7 * DAY;
const DAY: u64 = 24 * 3600;

/// A leaf and its time.
pub(super) struct Leaf {
    made: u64,
    certified: Arc<CertifiedKey>,
}

impl Leaf {
    /// Makes and signs one.
    pub(super) fn make(
        host: &HostName,
        now: u64,
        key: &KeyPair,
        issuer: &Issuer<'_, KeyPair>,
        signing: &Arc<dyn SigningKey>,
    ) -> Result<Self, AuthorityError> {
        let failed = |e: rcgen::Error| AuthorityError::Certificate(e.to_string());
        let mut params = CertificateParams::default();
        // No subject: the name is in the alternative name alone, which is critical then (RFC 5280, 4.2.1.6), and a common
        // name would hold 64 bytes at most.
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::DnsName(host.as_str().try_into().map_err(failed)?)];
        params.serial_number = Some(serial()?);
        date(&mut params, now, LIFE);
        // Said outright, which also brings the subject's key identifier in.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let made = params.signed_by(key, issuer).map_err(failed)?;
        let certified = CertifiedKey::new(vec![made.der().clone()], Arc::clone(signing));
        Ok(Self { made: now, certified: Arc::new(certified) })
    }

    /// Whether it can begin a connection now, also when the clock has been set back.
    pub(super) fn serves_at(&self, now: u64) -> bool {
        now.saturating_add(BACKDATED / 2) >= self.made && now < self.made.saturating_add(LIFE - DAY)
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}
