//! The catalog at one moment: what a reader needs that goes on behind the committed position by itself.

use crate::StoreError;
use crate::catalog::held::held_anywhere;
use crate::catalog::{Catalog, FileRow, STREAM_COLUMNS, StreamId, StreamRow, stream_row};
use crate::db::{args, signed};
use crate::standings::{Standings, standings};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Streams that are looked up one by one; for more, all are read.
const ONE_BY_ONE_MAX: usize = 256;

/// Everything of one commit.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// The committed position; none before the first lease.
    pub next_offset: Option<u64>,
    /// Where several machines take records: the position is not theirs, and each of their partitions has its own.
    pub standings: Standings,
    /// Committed files, in order of commit.
    pub files: Arc<Vec<FileRow>>,
    /// Those of the wanted streams that were ever committed.
    pub streams: Vec<StreamRow>,
    /// Tenants of whom records are held back: in no file of a table, and before the position.
    pub held: BTreeSet<String>,
    /// Of the wanted streams that were never committed: how many epochs of their device and lane are known.
    pub epochs: Vec<(StreamId, u64)>,
}

impl Moment {
    /// Says whether several machines take records.
    pub fn is_cluster(&self) -> bool {
        self.standings.of > 0
    }
}

impl Catalog {
    /// Says whether several machines share the work: each partition then has a position of its own.
    pub async fn is_cluster(&self) -> Result<bool, StoreError> {
        self.store().is_cluster().await
    }

    /// Lists committed files in order of commit; when nothing changed, the very list of before.
    pub async fn listed(&self) -> Result<Arc<Vec<FileRow>>, StoreError> {
        self.store().listed().files(&mut self.store().db().begin_read().await?).await
    }

    /// Reads position, files and some streams, all of one moment.
    pub async fn moment(&self, wanted: &[StreamId]) -> Result<Moment, StoreError> {
        let mut tx = self.store().db().begin_read().await?;
        let position = tx.one("SELECT next_offset FROM archive_position WHERE id = 1", args![]).await?;
        let next_offset = position.map(|row| row.unsigned("next_offset")).transpose()?;
        let files = self.store().listed().files(&mut tx).await?;
        let standings = standings(&mut tx).await?;
        let held = held_anywhere(&mut tx).await?;
        let mut moment = Moment { next_offset, standings, files, held, ..Moment::default() };
        if wanted.len() > ONE_BY_ONE_MAX {
            let wanted: std::collections::HashSet<_> = wanted.iter().collect();
            let select = "SELECT tenant, device, epoch, lane, seen, recent, archived, duplicates, quarantined, late, erased \
                          FROM archive_stream";
            for row in tx.all(select, args![]).await? {
                let row = stream_row(&row)?;
                if wanted.contains(&row.id) {
                    moment.streams.push(row);
                }
            }
        } else {
            for id in wanted {
                let values = args![&id.tenant, &id.device, signed(id.epoch)?, i64::from(id.lane)];
                moment
                    .streams
                    .extend(tx.one(STREAM_COLUMNS, values).await?.as_ref().map(stream_row).transpose()?);
            }
        }
        let known: std::collections::HashSet<_> = moment.streams.iter().map(|row| row.id.clone()).collect();
        for id in wanted.iter().filter(|id| !known.contains(*id)) {
            let select = "SELECT COUNT(*) AS epochs FROM archive_stream WHERE tenant = $1 AND device = $2 AND lane = $3";
            let row = tx.one(select, args![&id.tenant, &id.device, i64::from(id.lane)]).await?;
            let epochs = row.ok_or(StoreError::Corrupt("archive_stream"))?.unsigned("epochs")?;
            moment.epochs.push((id.clone(), epochs));
        }
        Ok(moment)
    }
}
