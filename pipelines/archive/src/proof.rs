//! Proof of an erasure: every file that is left is read whole, decrypted, and looked through for its ranges.
//!
//! Works on what lies in the archive's folder, named by the catalog or not: a file that no commit names may hold rows as
//! well. It changes nothing.

use crate::erased::Erased;
use crate::error::ArchiveError;
use crate::read::{ArchiveReader, verified};
use crate::table::Table;
use std::collections::{BTreeMap, BTreeSet};
use wardline_store::catalog::FileRow;
use wardline_store::erasure::Erasure;

/// What the scan found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// Files that were read.
    pub files: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Rows of the erasure's ranges; none when it is proven.
    pub rows_in_ranges: u64,
    /// Those rows by table.
    pub by_table: BTreeMap<String, u64>,
    /// Files with such rows, that do not read, or that no commit names.
    pub against: Vec<String>,
}

impl Proof {
    /// Says whether nothing is left.
    pub fn holds(&self) -> bool {
        self.rows_in_ranges == 0 && self.against.is_empty()
    }
}

/// A scan that can be done file by file, so that the caller can show progress.
#[derive(Debug)]
pub struct Scan {
    reader: ArchiveReader,
    erased: Erased,
    tenant: String,
    files: std::vec::IntoIter<FileRow>,
    proof: Proof,
}

impl Scan {
    /// Lists the files: those of the erasure's tenant are read, and none may lie there that is not listed.
    pub async fn start(reader: ArchiveReader, erasure: &Erasure) -> Result<Self, ArchiveError> {
        let mut proof = Proof::default();
        let present = reader.place().list().await?;
        // Listed after the folder: what is committed meanwhile is no stray.
        let files = reader.files(None).await?;
        let known: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let is_own = |path: &String| path.split('/').nth(1) == Some(erasure.tenant.as_str());
        proof
            .against
            .extend(present.into_iter().filter(|name| is_own(name) && !known.contains(name.as_str())));
        let own: Vec<_> = files.into_iter().filter(|file| file.tenant == erasure.tenant).collect();
        let erased = Erased::new(&erasure.ranges);
        Ok(Self { reader, erased, tenant: erasure.tenant.clone(), files: own.into_iter(), proof })
    }

    /// Returns how many files are left.
    pub fn remaining(&self) -> usize {
        self.files.len()
    }

    /// Reads the next file; `false` when none is left. Blocks.
    pub fn step(&mut self) -> bool {
        let Some(file) = self.files.next() else { return false };
        self.proof.files += 1;
        self.proof.bytes += file.bytes;
        match self.look(&file) {
            Ok(0) => {}
            Ok(rows) => {
                self.proof.rows_in_ranges += rows;
                *self.proof.by_table.entry(file.table.clone()).or_default() += rows;
                self.proof.against.push(file.path);
            }
            Err(error) => {
                tracing::error!(%error, tenant = self.tenant, "a file does not read: nothing is proven");
                self.proof.against.push(file.path);
            }
        }
        true
    }

    /// Returns what was found.
    pub fn finish(self) -> Proof {
        self.proof
    }

    /// Counts the rows of the ranges in a file, as it lies there.
    fn look(&mut self, file: &FileRow) -> Result<u64, ArchiveError> {
        let mut found = 0;
        for batch in verified(self.reader.place(), file, &self.reader.keys())? {
            let batch = batch?;
            self.proof.rows += batch.num_rows() as u64;
            let Some(table) = Table::from_name(&file.table) else { continue };
            let taken = self.erased.taken(table, &batch);
            found += taken.map_or(0, |taken| taken.iter().flatten().count()) as u64;
        }
        Ok(found)
    }
}
