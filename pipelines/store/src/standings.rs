//! Where the work of a role stands in every partition, all of one moment: for whoever reads behind it and commits nothing.

use crate::cluster::{IS_CLUSTER, Share, Standing, log_name, small};
use crate::db::{Record, Tx, args};
use crate::{Store, StoreError};
use std::collections::BTreeMap;
use wardline_proto::PartitionId;

/// The role whose commits put rows into files.
pub const ARCHIVE: &str = "archive";

/// Where a role stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standings {
    /// How many partitions the bus has; 0 where one machine takes all records.
    pub of: u16,
    /// By partition; one that is not in it has never been worked on.
    pub parts: BTreeMap<u16, Standing>,
}

impl Standings {
    /// Returns where the work on a partition of the bus stands.
    pub fn part(&self, partition: u16) -> Standing {
        self.parts.get(&partition).cloned().unwrap_or_default()
    }

    /// Returns how many records of the partition that a device is in are worked on.
    pub fn next_offset(&self, device: PartitionId) -> u64 {
        let share = Share::holding(device, self.of);
        self.parts.get(&share.partition).map_or(0, |standing| standing.next_offset)
    }
}

impl Store {
    /// Returns where the archive stands.
    pub async fn standings(&self) -> Result<Standings, StoreError> {
        standings(&mut self.db().begin_read().await?).await
    }
}

/// The same in a transaction that reads more.
pub(crate) async fn standings(tx: &mut Tx) -> Result<Standings, StoreError> {
    let Some(row) = tx.one(IS_CLUSTER, args![]).await? else { return Ok(Standings::default()) };
    let mut found = Standings { of: small(&row, "partitions")?, ..Standings::default() };
    let select = "SELECT partition_id, next_offset, position FROM cluster_lease WHERE role = $1";
    for row in tx.all(select, args![ARCHIVE]).await? {
        let (next_offset, position) = (row.unsigned("next_offset")?, row.unsigned("position")?);
        let standing = Standing { next_offset, position, logs: Vec::new() };
        found.parts.insert(small(&row, "partition_id")?, standing);
    }
    let select = "SELECT partition_id, front, next_number FROM cluster_passage WHERE role = $1";
    for row in tx.all(select, args![ARCHIVE]).await? {
        let standing = found.parts.entry(small(&row, "partition_id")?).or_default();
        standing.logs.push(log(&row)?);
    }
    Ok(found)
}

fn log(row: &Record) -> Result<([u8; 16], u64), StoreError> {
    Ok((log_name(&row.text("front")?)?, row.unsigned("next_number")?))
}
