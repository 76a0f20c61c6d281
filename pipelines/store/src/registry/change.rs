//! A change of the registry: one version, what it touches written down, all in one transaction.

use super::principals::PrincipalKind;
use super::{Serial, Store};
use crate::StoreError;
use crate::bell::{Matter, ring};
use crate::db::{Tx, args};
use std::ops::{Deref, DerefMut};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// Versions whose changes are kept. A node that is further behind reads everything.
pub const VERSIONS_KEPT: i64 = 4096;

/// A thing that a node knows of, named; what became of it is read from where it is kept.
#[derive(Debug, Clone)]
pub(super) struct Touched {
    kind: &'static str,
    tenant: String,
    name: String,
}

pub(super) const CERTIFICATE: &str = "certificate";
pub(super) const DEVICE: &str = "device";
pub(super) const TENANT: &str = "tenant";
/// Written for a version that touches nothing that nodes know of: it is then not a missing one.
const NOTHING: &str = "nothing";

/// A transaction that changes the registry. Dropped without a commit, it changes nothing.
pub(super) struct ChangeTx {
    tx: Tx,
    version: i64,
    touched: Vec<Touched>,
    /// Who is told besides those who follow the registry.
    told: Vec<Matter>,
}

impl Deref for ChangeTx {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for ChangeTx {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}

impl Store {
    /// Begins a change of the registry: the version's row is taken first, so changes take turns.
    pub(super) async fn change(&self) -> Result<ChangeTx, StoreError> {
        let mut tx = self.db().begin().await?;
        let rise = "UPDATE registry_version SET version = version + 1 WHERE id = 1 RETURNING version";
        let row = tx.one(rise, args![]).await?.ok_or(StoreError::Corrupt("registry_version"))?;
        Ok(ChangeTx { version: row.int("version")?, tx, touched: Vec::new(), told: vec![Matter::Registry] })
    }
}

impl ChangeTx {
    pub(super) fn touch_certificate(&mut self, serial: &Serial) {
        self.touch(CERTIFICATE, "", &serial.to_string());
    }

    pub(super) fn touch_device(&mut self, key: &DeviceKey) {
        self.touch(DEVICE, key.tenant.as_str(), key.device.as_str());
    }

    /// Touches every device of a tenant.
    pub(super) fn touch_tenant(&mut self, tenant: &TenantId) {
        self.touch(TENANT, tenant.as_str(), "");
    }

    pub(super) fn touch_principal(&mut self, (tenant, kind, name): (&TenantId, PrincipalKind, &DeviceId)) {
        self.touch(kind.name(), tenant.as_str(), name.as_str());
    }

    /// Tells who waits for a matter too, when the change is committed.
    pub(super) fn tell(&mut self, matter: Matter) {
        self.told.push(matter);
    }

    fn touch(&mut self, kind: &'static str, tenant: &str, name: &str) {
        self.touched.push(Touched { kind, tenant: tenant.to_owned(), name: name.to_owned() });
    }

    /// Writes down what was touched, commits, and tells who waits for changes. On disk when it returns.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        if self.touched.is_empty() {
            self.touch(NOTHING, "", "");
        }
        let insert = "INSERT INTO registry_change (version, entry, kind, tenant, name) \
                      VALUES ($1, $2, $3, $4, $5)";
        for (entry, touched) in (0_i64..).zip(&self.touched) {
            let values = args![self.version, entry, touched.kind, &touched.tenant, &touched.name];
            self.tx.run(insert, values).await?;
        }
        let forget = "DELETE FROM registry_change WHERE version <= $1";
        self.tx.run(forget, args![self.version - VERSIONS_KEPT]).await?;
        for matter in self.told {
            ring(&mut self.tx, matter).await?;
        }
        self.tx.commit().await
    }
}
