//! The list of committed files as it was read last, so that a reader of an archive in which nothing changed need not
//! fetch it row by row.
//!
//! **Invariant:** what is given is the list of the asking transaction's own moment. Its names are read there, all in
//! one value, and a file's row never changes under its name: with the same names it is the same list. Nobody has to
//! tell of a change, so one by another process, or by a program of another release, is seen like any other.

use crate::StoreError;
use crate::catalog::{FileRow, file_row};
use crate::db::{Tx, args};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Files of a list that is kept; a longer one is read anew each time.
const KEPT_MAX: usize = 200_000;
/// New names that are looked up one by one; with more of them the whole list is read.
const ONE_BY_ONE_MAX: usize = 256;

/// Columns of a file's row.
macro_rules! select_files {
    ($rest:literal) => {
        concat!(
            "SELECT path, table_name, tenant, day, partition_id, row_count, byte_count, sha256, time_min_us, \
             time_max_us, offset_first, offset_last FROM archive_file ",
            $rest
        )
    };
}

/// The list that was read last.
#[derive(Debug, Default)]
pub(crate) struct Listed(Mutex<Arc<List>>);

#[derive(Debug, Default)]
struct List {
    /// Names of the files, one a line, in whatever order they came.
    names: String,
    /// In order of commit.
    files: Arc<Vec<FileRow>>,
}

impl Listed {
    /// Lists the committed files of a transaction's moment, in order of commit: the very list of before when it is the
    /// same.
    pub(crate) async fn files(&self, tx: &mut Tx) -> Result<Arc<Vec<FileRow>>, StoreError> {
        // Without an order the index of names is all that is read.
        let select = "SELECT string_agg(path, '\n') AS names FROM archive_file";
        let row = tx.one(select, args![]).await?.ok_or(StoreError::Corrupt("archive_file"))?;
        let names = row.maybe_text("names")?.unwrap_or_default();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.names == names {
            return Ok(known.files.clone());
        }
        let files = Arc::new(match behind(&known, &names, tx).await? {
            Some(files) => files,
            None => whole(tx).await?,
        });
        if files.len() <= KEPT_MAX {
            let list = Arc::new(List { names, files: files.clone() });
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = list;
        }
        Ok(files)
    }
}

/// Makes the list of these names out of another, where they have much in common.
async fn behind(known: &List, names: &str, tx: &mut Tx) -> Result<Option<Vec<FileRow>>, StoreError> {
    let known: HashMap<_, _> = known.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let (mut files, mut new) = (Vec::new(), Vec::new());
    for name in names.lines() {
        match known.get(name) {
            Some(file) => files.push((*file).clone()),
            None => new.push(name),
        }
    }
    if new.len() > ONE_BY_ONE_MAX {
        return Ok(None);
    }
    for name in new {
        match tx.one(select_files!("WHERE path = $1"), args![name]).await? {
            Some(row) => files.push(file_row(&row)?),
            // A name that is two lines.
            None => return Ok(None),
        }
    }
    files.sort_unstable_by(|a, b| (a.offset_first, &a.path).cmp(&(b.offset_first, &b.path)));
    Ok(Some(files))
}

async fn whole(tx: &mut Tx) -> Result<Vec<FileRow>, StoreError> {
    let rows = tx.all(select_files!("ORDER BY offset_first, path"), args![]).await?;
    rows.iter().map(file_row).collect()
}
