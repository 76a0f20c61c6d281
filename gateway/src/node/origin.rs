//! Ties the journal's folder and the database to each other, before a device can connect.
//!
//! Positions in the database are numbers, and any journal has those: with another folder under them, records that were
//! acknowledged would count as archived and be dropped, or be skipped. So a journal has an id, which the database
//! knows. A new journal takes the place of a known one only when it is told which one it replaces: an empty folder says
//! nothing of the other's, which may be a living gateway's. It goes on where the positions are, and no number is ever
//! used twice.

use super::{NodeError, NodeOptions, Role};
use crate::audit::NodeId;
use crate::front::now_us;
use crate::operate::DataDir;
use std::path::PathBuf;
use wardline_journal::{Journal, Offset, Storage, has_begun};
use wardline_store::Store;
use wardline_store::catalog::Catalog;

/// Returns the number of the first record of a journal that has none.
pub(super) async fn first_offset(
    options: &NodeOptions,
    own: &DataDir,
    storage: &dyn Storage,
    store: &Store,
) -> Result<Offset, NodeError> {
    if !counts(options) {
        return Ok(Offset::ZERO);
    }
    let io = |error| NodeError::Journal(wardline_journal::OpenError::Io(error));
    let (folder, begun) = (own.journal(), has_begun(storage).map_err(io)?);
    let known = store.journal_origin().await?;
    let path = folder.join("id");
    let replaced = options.replaced_journal.as_deref().filter(|_| !begun);
    if let Some(known) = &known
        && !path.exists()
        && replaced != Some(known)
    {
        return Err(foreign(folder, known));
    }
    std::fs::create_dir_all(&folder).map_err(io)?;
    let id = NodeId::ensure(&path)?;
    if known.as_deref() != Some(id.as_str()) {
        if let Some(known) = known.as_deref().filter(|known| replaced != Some(known)) {
            return Err(foreign(folder, known));
        }
        // Another node may be as quick.
        if !store.bind_journal(id.as_str(), known.as_deref(), now_us()).await? {
            return Err(foreign(folder, &store.journal_origin().await?.unwrap_or_default()));
        }
    }
    if begun {
        return Ok(Offset::ZERO);
    }
    let first = Offset::new(positions(store).await?.into_iter().max().unwrap_or_default());
    if first > Offset::ZERO {
        store.skip_to(first.get()).await?;
        tracing::warn!(%first, "the journal is new: numbers go on behind the known positions; what an earlier one held and nobody had archived is not here");
    }
    Ok(first)
}

/// Refuses a journal that ends before what was read of it.
pub(super) async fn check_reached(
    options: &NodeOptions,
    journal: &Journal,
    store: &Store,
) -> Result<(), NodeError> {
    if counts(options)
        && positions(store).await?.into_iter().any(|at| Offset::new(at) > journal.durable_end())
    {
        let known = store.journal_origin().await?.unwrap_or_default();
        return Err(foreign(options.data_dir.join("journal"), &known));
    }
    Ok(())
}

fn foreign(folder: PathBuf, known: &str) -> NodeError {
    NodeError::JournalForeign { folder, known: known.to_owned() }
}

/// Positions count in this journal when whoever reads it is here too; among several nodes they count in partitions.
fn counts(options: &NodeOptions) -> bool {
    options.cluster.is_none() && (options.roles.has(Role::Archive) || options.roles.has(Role::Alert))
}

async fn positions(store: &Store) -> Result<Vec<u64>, NodeError> {
    let archive = Catalog::new(store.clone()).position().await?;
    let alert = store.alert_position(wardline_alert::CONSUMER).await?;
    Ok(archive.into_iter().chain(alert).collect())
}
