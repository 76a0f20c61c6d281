//! The archive: how small, how fast to write, how fast to ask.
//!
//! Everything goes the product's way: records of the simulator in a journal, the archive worker, its merging, its
//! encrypted files.

mod clock;
mod feed;
mod layouts;
pub(crate) mod options;
mod packer;
mod query;
mod rig;
mod size;
mod text;
mod waves;
mod write;

use anyhow::Context;
use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use std::path::Path;
use tempfile::TempDir;
use wardline_archive::read::ArchiveReader;
use wardline_store::catalog::FileRow;

pub(crate) use query::run as query;
pub(crate) use size::run as size;
pub(crate) use write::run as write;

/// Makes a folder of its own on the disk that is measured.
fn folder(dir: Option<&Path>) -> anyhow::Result<TempDir> {
    let parent = dir.map_or_else(std::env::temp_dir, Path::to_owned);
    Ok(tempfile::tempdir_in(parent)?)
}

/// Reads all rows of a file as one batch.
fn rows(reader: &ArchiveReader, file: &FileRow) -> anyhow::Result<RecordBatch> {
    let batches = reader.read(file)?.collect::<Result<Vec<_>, _>>()?;
    let schema = batches.first().context("a file without rows")?.schema();
    Ok(concat_batches(&schema, &batches)?)
}
