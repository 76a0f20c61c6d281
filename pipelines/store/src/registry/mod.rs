//! Who may connect and what is known of them: tenants, sites, models, devices, certificates, claims, manufacturers'
//! authorities, bindings, people and services with their roles.
//!
//! Every change names who made it, raises the registry's version and puts its audit entry into the outbox, all in
//! one transaction (AUD-1). Nodes poll the version and take what has changed into their [`RegistryView`].

mod bindings;
mod certificates;
mod change;
mod claims;
mod devices;
mod erase;
mod factory;
mod ledger;
mod models;
mod overrides;
mod principals;
mod profiles;
mod serial;
mod sites;
mod snapshot;
mod tenants;
mod view;

pub use bindings::{Binding, NewBinding};
pub use certificates::{CertificateRow, IssuedCertificate, Revocation, RevokeBy};
pub use change::VERSIONS_KEPT;
pub use claims::{CLAIMS_MAX, Claim, NewClaims, Redeem, Redeemed};
pub use devices::{DeviceFilter, DeviceRow, Imported, NewDevice, Peripheral};
pub use erase::Asked;
pub use factory::{ManufacturerCa, RedeemFactory, SERIALS_MAX};
pub use ledger::Ledger;
pub use models::{Model, PROFILE_BYTES_MAX};
pub use overrides::{NewOverride, OVERRIDES_MAX, OverrideRow};
pub use principals::{Principal, PrincipalKind, Role};
pub use serial::{SERIAL_BYTES_MAX, Serial};
pub use sites::{Duties, SITES_MAX, Sites};
pub use snapshot::{RegistrySnapshot, RevokedCertificate};
pub use tenants::{Site, Tenant};
pub use view::{CHANGES_MAX, RegistryChanges, RegistryView, Standing};

pub use crate::outbox::Change;

use crate::db::{Tx, args};
use crate::{Store, StoreError};

/// Longest text of a name, a reason or a serial number, bytes.
pub const TEXT_BYTES_MAX: usize = 256;
/// Most rows that one page of a list has.
pub const PAGE_MAX: u32 = 1000;

/// Why the registry does not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reject {
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It is there already and differs.
    #[error("{0} exists already and differs")]
    Conflict(&'static str),
    /// A value is empty, too long or not of its form.
    #[error("{0} is not usable")]
    Invalid(&'static str),
    /// No claim has this secret.
    #[error("the claim is not known")]
    ClaimUnknown,
    /// The claim was used with another key or for another device.
    #[error("the claim was used before")]
    ClaimUsed,
    /// The claim's time is over.
    #[error("the claim has expired")]
    ClaimExpired,
    /// The claim was taken back.
    #[error("the claim was revoked")]
    ClaimRevoked,
    /// The claim is for another device.
    #[error("the claim is for another device")]
    ClaimOtherDevice,
    /// The manufacturer's authority is unknown or revoked, or the serial number is not on its list.
    #[error("the serial number is not on the manufacturer's list")]
    NotAllowed,
    /// The certificate that was issued then is revoked: it is not given out again.
    #[error("the certificate is revoked")]
    Revoked,
    /// The device exists and is not active.
    #[error("the device is not active")]
    NotActive,
    /// The device or its model is another maker's, or nobody's.
    #[error("the device or its model is not of this maker")]
    OtherMaker,
    /// Nothing of the tenant is destroyed while a legal hold stands.
    #[error("the tenant is under legal hold")]
    Held,
    /// The tenant's keys are being destroyed: what a hold would keep is as good as gone.
    #[error("the tenant's keys are being destroyed: finish it, a hold comes too late")]
    BeingShredded,
    /// The subject was erased: its name is not used again.
    #[error("the subject was erased")]
    Erased,
    /// The tenant is suspended.
    #[error("the tenant is suspended")]
    TenantSuspended,
}

impl Store {
    /// Returns the registry's version.
    pub async fn registry_version(&self) -> Result<i64, StoreError> {
        let row = self.db().one("SELECT version FROM registry_version WHERE id = 1", args![]).await?;
        row.ok_or(StoreError::Corrupt("registry_version"))?.int("version")
    }
}

/// Puts the audit entry of a change into the outbox, in its transaction (AUD-1).
async fn audit(
    tx: &mut Tx,
    change: &Change,
    (action, outcome): (&str, &str),
    target: &str,
) -> Result<(), StoreError> {
    crate::outbox::insert(tx, change, action, outcome, target).await
}

/// Checks a text that people give.
fn usable(what: &'static str, text: &str, may_be_empty: bool) -> Result<(), StoreError> {
    let is_usable = (may_be_empty || !text.is_empty())
        && text.len() <= TEXT_BYTES_MAX
        && !text.chars().any(char::is_control);
    if is_usable { Ok(()) } else { Err(Reject::Invalid(what).into()) }
}

/// Takes the next number of a counter.
pub(crate) async fn next_number(tx: &mut Tx, name: &str) -> Result<i64, StoreError> {
    let update = "UPDATE counter SET last = last + 1 WHERE name = $1 RETURNING last";
    tx.one(update, args![name]).await?.ok_or(StoreError::Corrupt("counter"))?.int("last")
}

fn page(size: u32) -> i64 {
    i64::from(if size == 0 { PAGE_MAX } else { size.min(PAGE_MAX) })
}
