//! The request to erase a subject: from its commit on every read leaves the subject's rows out, and the ledger does not
//! know its name any more.
//!
//! What is erased is what the ledger says at that moment: which devices the subject wore, and when. A binding that goes
//! on ends with the request. Of the subject a salted digest is kept, so that its name is not used again by mistake and
//! the same request finds what became of it; whoever has the database can test a guess with it.

use super::bindings::binding;
use super::change::ChangeTx;
use super::{Change, Ledger, Reject, audit, usable};
use crate::bell::Matter;
use crate::db::{Tx, args};
use crate::erasure::Span;
use crate::{Store, StoreError};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use wardline_proto::TenantId;

const SALT_BYTES: usize = 16;
const ID_BYTES: usize = 8;

/// An erasure that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub erasure_id: String,
    /// It was asked for before.
    pub is_known: bool,
}

impl Store {
    /// Tells what a request at a time would erase. Changes nothing.
    pub async fn erasable(
        &self,
        tenant: &TenantId,
        subject: &str,
        at_us: i64,
    ) -> Result<Vec<Span>, StoreError> {
        Ok(spans(&Ledger::new(&self.ledger(Some(tenant)).await?), tenant, subject, at_us))
    }

    /// Asks, audited, that all of a subject be erased; `at_once`: without waiting for readers of the old files. A legal
    /// hold refuses it ([`Reject::Held`]), audited as well.
    pub async fn ask_erasure(
        &self,
        change: &Change,
        tenant: &TenantId,
        subject: &str,
        at_once: bool,
    ) -> Result<Asked, StoreError> {
        usable("subject", subject, false)?;
        let mut tx = self.change().await?;
        if let Some(erasure_id) = known(&mut tx, tenant.as_str(), subject).await? {
            let hurry = "UPDATE erasure SET at_once = 1 WHERE erasure_id = $1 AND $2 = 1";
            tx.run(hurry, args![&erasure_id, at_once]).await?;
            tx.commit().await?;
            return Ok(Asked { erasure_id, is_known: true });
        }
        let select = "SELECT binding_id, tenant, device, subject, from_us, until_us, recorded_at_us, recorded_by \
                      FROM binding WHERE tenant = $1 ORDER BY recorded_at_us, binding_id";
        let entries = tx.all(select, args![tenant.as_str()]).await?;
        let entries: Vec<_> = entries.iter().map(binding).collect::<Result<_, _>>()?;
        if entries.iter().all(|entry| entry.binding.subject != subject) {
            return Err(Reject::NotFound("subject").into());
        }
        let spans = spans(&Ledger::new(&entries), tenant, subject, change.at_us);
        let erasure_id = hex(&random::<ID_BYTES>()?);
        if !begin(&mut tx, (&erasure_id, at_once), change, (tenant.as_str(), subject)).await? {
            audit(&mut tx, change, ("erasure_asked", "legal_hold"), tenant.as_str()).await?;
            tx.commit().await?;
            return Err(Reject::Held.into());
        }
        for span in &spans {
            let insert =
                "INSERT INTO erasure_range (erasure_id, device, from_us, until_us) VALUES ($1, $2, $3, $4)";
            tx.run(insert, args![&erasure_id, &span.device, span.from_us, span.until_us]).await?;
        }
        let forget = "UPDATE binding SET subject = '' WHERE tenant = $1 AND subject = $2";
        tx.run(forget, args![tenant.as_str(), subject]).await?;
        // A row without its subject would be the whole tenant's.
        let lift = "DELETE FROM alert_override WHERE tenant = $1 AND subject = $2";
        tx.run(lift, args![tenant.as_str(), subject]).await?;
        let target = format!("{tenant} erasure {erasure_id} ranges {}", spans.len());
        audit(&mut tx, change, ("erasure_asked", "ok"), &target).await?;
        tx.tell(Matter::Orders);
        tx.commit().await?;
        Ok(Asked { erasure_id, is_known: false })
    }
}

/// Refuses a subject that was erased.
pub(super) async fn refuse_erased(tx: &mut Tx, tenant: &str, subject: &str) -> Result<(), StoreError> {
    if subject.is_empty() || known(tx, tenant, subject).await?.is_none() {
        Ok(())
    } else {
        Err(Reject::Erased.into())
    }
}

/// Records an erasure; `false`: a hold forbids it.
async fn begin(
    tx: &mut ChangeTx,
    (erasure_id, at_once): (&str, bool),
    change: &Change,
    (tenant, subject): (&str, &str),
) -> Result<bool, StoreError> {
    let salt = random::<SALT_BYTES>()?;
    // The insert reads the hold in the statement that records: one that is set meanwhile comes before or after.
    let insert = "INSERT INTO erasure (erasure_id, tenant, salt, subject_sha256, at_once, asked_by, asked_at_us, \
                  files_left, problem) SELECT $1, $2, $3, $4, $5, $6, $7, -1, '' \
                  WHERE NOT EXISTS (SELECT 1 FROM legal_hold WHERE tenant = $2)";
    let fingerprint = fingerprint(&salt, tenant, subject);
    let (salt, fingerprint) = (salt.as_slice(), fingerprint.as_slice());
    let values = args![erasure_id, tenant, salt, fingerprint, at_once, &change.actor, change.at_us];
    Ok(tx.run(insert, values).await? == 1)
}

fn spans(ledger: &Ledger, tenant: &TenantId, subject: &str, at_us: i64) -> Vec<Span> {
    let span = |(device, from_us, until_us): (String, i64, Option<i64>)| Span {
        device,
        from_us,
        until_us: until_us.unwrap_or(i64::MAX).min(at_us.max(from_us + 1)),
        goes_on: until_us.is_none_or(|until_us| until_us > at_us),
    };
    ledger.spans_of(tenant.as_str(), subject).into_iter().map(span).collect()
}

/// Finds the erasure of a subject.
async fn known(tx: &mut Tx, tenant: &str, subject: &str) -> Result<Option<String>, StoreError> {
    let select = "SELECT erasure_id, salt, subject_sha256 FROM erasure WHERE tenant = $1";
    for row in tx.all(select, args![tenant]).await? {
        if fingerprint(&row.bytes("salt")?, tenant, subject) == row.bytes("subject_sha256")? {
            return Ok(Some(row.text("erasure_id")?));
        }
    }
    Ok(None)
}

/// Digests who was erased: SHA-256 over salt, tenant, a zero byte and subject.
fn fingerprint(salt: &[u8], tenant: &str, subject: &str) -> Vec<u8> {
    digest(&SHA256, &[salt, tenant.as_bytes(), &[0], subject.as_bytes()].concat()).as_ref().to_vec()
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_unspecified| StoreError::Corrupt("no randomness"))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
