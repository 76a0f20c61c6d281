//! Committed rows of a data folder, read with its keyring beside a running gateway.

use anyhow::Context;
use arrow_array::RecordBatch;
use std::future::Future;
use std::path::Path;
use wardline_archive::Table;
use wardline_archive::read::{ArchiveReader, StreamReport};

/// Runs a future to its end on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(future)
}

/// Returns all committed rows of a table.
pub(crate) fn read(data: &Path, table: &str) -> anyhow::Result<Vec<RecordBatch>> {
    let table = Table::from_name(table).with_context(|| format!("no table {table}"))?;
    block_on(async {
        let reader = ArchiveReader::open(data).await?;
        let mut batches = Vec::new();
        for file in reader.files(Some(table)).await? {
            for batch in reader.read(&file)? {
                batches.push(batch?);
            }
        }
        Ok(batches)
    })
}

/// Returns what is known of a device's streams.
pub(crate) fn streams(data: &Path, device: &str) -> anyhow::Result<Vec<StreamReport>> {
    block_on(async { Ok(ArchiveReader::open(data).await?.streams(Some(device)).await?) })
}
