//! Ties the journal's folder and the database to each other, before a device can connect.
//!
//! Positions in the database are numbers, and any journal has those: with another folder under them, records that were
//! acknowledged would count as archived and be dropped, or be skipped. So a journal has an id, which the database
//! knows. A new journal goes on where the positions are, and no number is ever used twice.

use super::{NodeError, NodeOptions, Role};
use crate::audit::NodeId;
use crate::front::now_us;
use crate::operate::DataDir;
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
    if begun && known.is_some() && !path.exists() {
        return Err(NodeError::JournalForeign(folder));
    }
    std::fs::create_dir_all(&folder).map_err(io)?;
    let id = NodeId::ensure(&path)?;
    match known {
        Some(known) if known == id.as_str() => {}
        Some(_) if begun => return Err(NodeError::JournalForeign(folder)),
        _first_or_lost => store.bind_journal(id.as_str(), now_us()).await?,
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
        return Err(NodeError::JournalForeign(options.data_dir.join("journal")));
    }
    Ok(())
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
