//! Our revocation list, for others: for ourselves revocation is an event (SEC-2).

use super::PkiError;
use super::authority::Authority;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use wardline_store::registry::Serial;

/// How long a list may be relied on.
pub const CRL_LIFE: Duration = Duration::hours(24);

/// An entry of the list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RevokedSerial {
    /// The certificate.
    pub serial: Serial,
    /// When it was revoked, unix microseconds.
    pub revoked_at_us: i64,
    /// Since when its key may have been in other hands, unix microseconds.
    pub compromised_at_us: Option<i64>,
}

impl Authority {
    /// Signs the list of revoked certificates that have not expired (RFC 5280, 5), DER. Its number is `now_us`: a later
    /// list has a higher one, also after a restart.
    pub fn crl(&self, revoked: &[RevokedSerial], now_us: i64) -> Result<Vec<u8>, PkiError> {
        let this_update = at(now_us);
        let list = CertificateRevocationListParams {
            this_update,
            next_update: this_update + CRL_LIFE,
            crl_number: SerialNumber::from(now_us.unsigned_abs()),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.der().to_vec())
    }
}

fn entry(revoked: &RevokedSerial) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: SerialNumber::from_slice(revoked.serial.as_bytes()),
        revocation_time: at(revoked.revoked_at_us),
        reason_code: revoked.compromised_at_us.map(|_at| RevocationReason::KeyCompromise),
        invalidity_date: revoked.compromised_at_us.map(at),
    }
}

fn at(micros: i64) -> OffsetDateTime {
    let seconds = OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000));
    seconds.unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
