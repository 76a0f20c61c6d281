//! Proof of an erasure: every file that is left is read whole, decrypted, and looked through for its ranges.
//!
//! Works on what lies in the archive's folder, named by the catalog or not: a file that no commit names may hold rows as
//! well. It changes nothing.

use crate::erased::Erased;
use crate::error::ArchiveError;
use crate::read::{ArchiveReader, verified};
use crate::table::Table;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::time::Duration;
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
    /// Paths of every file that was listed.
    listed: BTreeSet<String>,
    /// Files that were gone when they were to be read.
    gone: Vec<String>,
}

/// What no commit names yet may be of a commit under way: it is looked at again so often, with a pause between.
const LOOKS_MAX: u32 = 40;
const LOOK_AGAIN: Duration = Duration::from_millis(250);

impl Scan {
    /// Lists the files: those of the erasure's tenant are read, and none may lie there that is not listed.
    pub async fn start(reader: ArchiveReader, erasure: &Erasure) -> Result<Self, ArchiveError> {
        let against = strays(&reader, erasure).await?;
        let files = own(&reader, &erasure.tenant).await?;
        let listed = files.iter().map(|file| file.path.clone()).collect();
        let erased = Erased::new(&erasure.ranges);
        let (tenant, files) = (erasure.tenant.clone(), files.into_iter());
        let proof = Proof { against, ..Proof::default() };
        Ok(Self { reader, erased, tenant, files, proof, listed, gone: Vec::new() })
    }

    /// Lists the files that came since they were listed, when one of those has been merged away. `false` when there is
    /// nothing more to read.
    pub async fn list_again(&mut self) -> Result<bool, ArchiveError> {
        if self.gone.is_empty() {
            return Ok(false);
        }
        let files = own(&self.reader, &self.tenant).await?;
        let missing = |path: &String| files.iter().any(|file| file.path == *path);
        self.proof.against.extend(std::mem::take(&mut self.gone).into_iter().filter(missing));
        let new: Vec<_> = files.into_iter().filter(|file| self.listed.insert(file.path.clone())).collect();
        self.files = new.into_iter();
        Ok(self.files.len() > 0)
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
            Err(ArchiveError::Io(error)) if error.kind() == ErrorKind::NotFound => self.gone.push(file.path),
            Err(error) => {
                tracing::error!(%error, tenant = self.tenant, "a file does not read: nothing is proven");
                self.proof.against.push(file.path);
            }
        }
        true
    }

    /// Returns what was found. A file that was gone counts against it unless [`list_again`](Self::list_again) was asked.
    pub fn finish(mut self) -> Proof {
        self.proof.against.append(&mut self.gone);
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

async fn own(reader: &ArchiveReader, tenant: &str) -> Result<Vec<FileRow>, ArchiveError> {
    let mut files = reader.files(None).await?;
    files.retain(|file| file.tenant == tenant);
    Ok(files)
}

/// Lists the tenant's files that lie there and are not known: neither committed, nor replaced after the erasure was done,
/// since what is merged then holds nothing of it.
async fn strays(reader: &ArchiveReader, erasure: &Erasure) -> Result<Vec<String>, ArchiveError> {
    let is_own = |path: &String| path.split('/').nth(1) == Some(erasure.tenant.as_str());
    let mut unknown: Option<BTreeSet<String>> = None;
    // Before it is rewritten nothing is proven, and nothing is waited for.
    let looks = if erasure.rewritten_at_us.is_some() { LOOKS_MAX } else { 1 };
    for _ in 0..looks {
        let present: BTreeSet<String> = reader.place().list().await?.into_iter().filter(is_own).collect();
        // Listed after the folder: what is committed meanwhile is no stray.
        let mut known: BTreeSet<String> =
            own(reader, &erasure.tenant).await?.into_iter().map(|file| file.path).collect();
        if let Some(done_us) = erasure.rewritten_at_us {
            known.extend(reader.retired_after(&erasure.tenant, done_us).await?);
        }
        let now = &present - &known;
        let still = unknown.map_or(now.clone(), |before| &before & &now);
        if still.is_empty() {
            return Ok(Vec::new());
        }
        unknown = Some(still);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(unknown.into_iter().flatten().collect())
}
