//! `pki/crl.pem`: revocation lists of authorities whose certificates we take but do not issue.
//!
//! Each list is verified once, when it is loaded, into a set of serials; a handshake costs one look-up, however long
//! the list. A list that has expired says nothing about today: its authority's certificates are refused until there is
//! a newer one.

use crate::files::FileError;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::collections::HashSet;
use wardline_proto::refusal::Refusal;
use wardline_store::registry::Serial;
use x509_parser::prelude::{CertificateRevocationList, FromDer, ParsedExtension, X509Certificate};

/// A list is told of when less than this part of its life is left.
const WARN_PART: i64 = 5;

/// One verified list.
#[derive(Debug)]
struct ImportedCrl {
    authority: Signatory,
    revoked: HashSet<Serial>,
    this_update_s: i64,
    next_update_s: i64,
}

/// Who has signed a list. Authorities may have equal names: the identifier of the key tells them apart where both
/// sides name one (RFC 5280, 4.2.1.1), and where one does not, the list counts.
#[derive(Debug, PartialEq, Eq)]
struct Signatory {
    name: Vec<u8>,
    key_id: Option<Vec<u8>>,
}

impl Signatory {
    fn of(authority: &X509Certificate<'_>) -> Self {
        let key_id = authority.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        Self { name: authority.subject().as_raw().to_vec(), key_id }
    }

    fn has_issued(&self, leaf: &X509Certificate<'_>) -> bool {
        let named = leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
            _ => None,
        });
        let is_other = matches!((&self.key_id, named), (Some(own), Some(named)) if own != named);
        self.name == leaf.issuer().as_raw() && !is_other
    }
}

/// All lists of the file; none when there is no file.
#[derive(Debug, Default)]
pub struct ImportedCrls(Vec<ImportedCrl>);

impl ImportedCrls {
    /// Reads and verifies every list. Each must be signed by one of `authorities`, whole (no delta, no partition), and
    /// say when the next one comes; one list per authority.
    pub fn load(pem: &str, authorities: &[CertificateDer<'_>]) -> Result<Self, FileError> {
        let mut lists: Vec<ImportedCrl> = Vec::new();
        for der in rustls_pki_types::CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()) {
            let der = der.map_err(|_| FileError::Crl("it is no PEM"))?;
            let list = verified(&der, authorities)?;
            if lists.iter().any(|other| other.authority == list.authority) {
                return Err(FileError::Crl("two lists of the same authority"));
            }
            lists.push(list);
        }
        if lists.is_empty() { Err(FileError::Crl("it holds no list")) } else { Ok(Self(lists)) }
    }

    /// Refuses a leaf that its authority's list names, and every leaf of an authority whose list has expired.
    pub fn screen(&self, leaf: &CertificateDer<'_>, now_s: i64) -> Result<(), Refusal> {
        if self.0.is_empty() {
            return Ok(());
        }
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| Refusal::IdentityMissing)?;
        let Some(list) = self.0.iter().find(|list| list.authority.has_issued(&leaf)) else {
            return Ok(());
        };
        if now_s >= list.next_update_s {
            return Err(Refusal::IdentityCrlExpired);
        }
        if list.revoked.contains(leaf.raw_serial()) { Err(Refusal::IdentityRevoked) } else { Ok(()) }
    }

    /// Says whether any list names a serial: live sessions keep no more of their certificate.
    pub fn names(&self, serial: &Serial) -> bool {
        self.0.iter().any(|list| list.revoked.contains(serial))
    }

    /// Says whether these lists are worse than those in force: one has expired while the other's has not, or is older
    /// and would let in again whom the other names.
    pub fn are_worse_than(&self, in_force: &Self, now_s: i64) -> bool {
        self.0.iter().any(|list| {
            let known = in_force.0.iter().find(|known| known.authority == list.authority);
            let is_over = now_s >= list.next_update_s;
            known.map_or(is_over, |known| {
                list.this_update_s < known.this_update_s || (is_over && now_s < known.next_update_s)
            })
        })
    }

    /// Returns when the first list expires, unix seconds; `None` without a list.
    pub fn expires_at_s(&self) -> Option<i64> {
        self.0.iter().map(|list| list.next_update_s).min()
    }

    /// Says whether a list is close to its end.
    pub fn is_ageing(&self, now_s: i64) -> bool {
        self.0.iter().any(|list| {
            let life = list.next_update_s - list.this_update_s;
            list.next_update_s - now_s < life / WARN_PART
        })
    }
}

fn verified(der: &[u8], authorities: &[CertificateDer<'_>]) -> Result<ImportedCrl, FileError> {
    let (_, list) =
        CertificateRevocationList::from_der(der).map_err(|_| FileError::Crl("it does not decode"))?;
    let mut signatory = None;
    for authority in authorities {
        let (_, authority) =
            X509Certificate::from_der(authority).map_err(|_| FileError::Crl("pki/ca.pem does not decode"))?;
        let may_sign = authority.key_usage().ok().flatten().is_none_or(|usage| usage.value.crl_sign());
        if may_sign
            && authority.subject().as_raw() == list.issuer().as_raw()
            && list.verify_signature(authority.public_key()).is_ok()
        {
            signatory = Some(Signatory::of(&authority));
        }
    }
    let authority = signatory.ok_or(FileError::Crl("no authority of pki/ca.pem has signed it"))?;
    // A delta or a part of a list, or entries of another authority, say so in a critical extension (RFC 5280, 5.2).
    let critical = list.extensions().iter().any(|extension| extension.critical)
        || list.iter_revoked_certificates().any(|entry| entry.extensions().iter().any(|e| e.critical));
    if critical {
        return Err(FileError::Crl("it is a delta, a part, or an indirect list"));
    }
    let next = list.next_update().ok_or(FileError::Crl("it does not say when the next one comes"))?;
    let serials = list.iter_revoked_certificates().map(|entry| Serial::new(entry.raw_serial()));
    let revoked = serials.collect::<Option<_>>().ok_or(FileError::Crl("a serial is longer than 20 bytes"))?;
    Ok(ImportedCrl {
        authority,
        revoked,
        this_update_s: list.last_update().timestamp(),
        next_update_s: next.timestamp(),
    })
}
