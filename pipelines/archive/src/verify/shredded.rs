//! Which files are under keys that were destroyed on purpose.

use crate::error::ArchiveError;
use crate::table::Day;
use std::collections::BTreeMap;
use wardline_store::catalog::{Catalog, FileRow};

/// Tenants whose keys were destroyed, with the last day of which files are under those. What came later is under newer
/// keys: when it does not read, it is lost.
#[derive(Debug)]
pub struct Shredded(BTreeMap<String, String>);

impl Shredded {
    /// Reads which they are: before files are listed.
    pub async fn of(catalog: &Catalog) -> Result<Self, ArchiveError> {
        let until = catalog.shredded_until().await?;
        Ok(Self(until.into_iter().map(|(tenant, us)| (tenant, Day::of_micros(us).to_string())).collect()))
    }

    pub(super) fn is_of(&self, tenant: &str) -> bool {
        self.0.contains_key(tenant)
    }

    /// Says whether a file is under them.
    pub fn has(&self, file: &FileRow) -> bool {
        self.0.get(&file.tenant).is_some_and(|last| file.day <= *last)
    }
}
