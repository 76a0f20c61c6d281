//! The key of a tenant's pseudonyms: made once, sealed under the tenant's own master key.
//!
//! Who has the archive's catalog without the keyring cannot tell who is behind a pseudonym, and when a tenant's keys
//! are destroyed nobody can.

use crate::mask::Mask;
use crate::snapshot::Shared;
use anyhow::Context;
use ring::rand::{SecureRandom, SystemRandom};
use std::path::Path;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use wardline_archive::place::Place;
use wardline_journal::{KeyError, KeyPurpose, Sealer};
use wardline_proto::TenantId;
use wardline_store::catalog::Catalog;
use wardline_store::holds::pseudonyms_secret;

/// How far apart the times are that a masked row shows, unless something else is said, seconds.
pub(crate) const STEP_S: u32 = 3600;

const KEY_BYTES: usize = 32;

/// Returns the mask of a tenant, which statements of a server share.
pub(crate) async fn shared_mask(
    data_dir: &Path,
    tenant: &TenantId,
    step_s: u32,
    shared: &Shared,
) -> anyhow::Result<Arc<Mask>> {
    let place = Place::of(data_dir)?;
    let keys = shared.under(data_dir, &place)?.keys;
    if let Some(known) = keys.mask(tenant) {
        return Ok(known);
    }
    let name = pseudonyms_secret(tenant);
    let mask = match Catalog::new(shared.store().clone()).known_secret(&name).await? {
        Some(sealed) => {
            let (keyring, of) =
                (place.keyring(data_dir).context("the keyring does not open")?, tenant.clone());
            let opening = spawn_blocking(move || {
                let sealer = Sealer::new(Arc::new(keyring), KeyPurpose::Identifiers, Some(&of))?;
                sealer.open(name.as_bytes(), &sealed)
            });
            mask_of(&opening.await?.context("the key of the pseudonyms does not open")?, step_s)
        }
        None => mask(data_dir, tenant, step_s).await?,
    };
    keys.keep_mask(tenant, &mask);
    Ok(mask)
}

fn mask_of(key: &[u8], step_s: u32) -> Arc<Mask> {
    Arc::new(Mask::new(key, i64::from(step_s) * 1_000_000))
}

/// Makes the mask of a tenant.
pub(crate) async fn mask(data_dir: &Path, tenant: &TenantId, step_s: u32) -> anyhow::Result<Arc<Mask>> {
    let place = Place::of(data_dir)?;
    let name = pseudonyms_secret(tenant);
    let mut fresh = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut fresh).map_err(|_unspecified| anyhow::anyhow!("no randomness"))?;
    let keyring = place.keyring(data_dir).context("the keyring does not open")?;
    let (tenant, aad) = (tenant.clone(), name.clone());
    // A key service is asked, and waited for.
    let (sealer, sealed) = spawn_blocking(move || {
        let sealer = Sealer::new(Arc::new(keyring), KeyPurpose::Identifiers, Some(&tenant))?;
        let sealed = sealer.seal(aad.as_bytes(), &fresh)?;
        Ok::<_, KeyError>((sealer, sealed))
    })
    .await??;
    let store = place.store().open_existing().await?;
    let sealed = Catalog::new(store.clone()).secret(&name, &sealed).await;
    store.close().await;
    let sealed = sealed?;
    let opened = spawn_blocking(move || sealer.open(name.as_bytes(), &sealed)).await?;
    let key = opened.context("the key of the pseudonyms does not open")?;
    Ok(mask_of(&key, step_s))
}
