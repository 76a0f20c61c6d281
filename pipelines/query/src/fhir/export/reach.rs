//! How far exports of several gateways' archive went: of each partition the last record that was committed.
//!
//! No time tells it there. A partition is archived for itself, and what one gateway has taken may come to it behind what
//! another took later, by an hour or by a week. So what a manifest's time stands for is kept here, and a `_since` of that
//! time goes on from there: each row is in one of the exports, whenever it was committed. One file a tenant, with no name
//! and no value of a row in it.

use crate::fhir::limits::EXPORT_REACHES_MAX;
use crate::fhir::rows::Row;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use wardline_proto::TenantId;
use wardline_store::catalog::FileRow;

/// Of each partition its last record; what is behind these was committed later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ends(BTreeMap<u16, u64>);

/// What a manifest told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    at_us: i64,
    ends: Ends,
}

impl Ends {
    /// Finds how far files go.
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = &'a FileRow>) -> Self {
        let mut last = BTreeMap::new();
        for file in files {
            let known = last.entry(file.partition).or_insert(file.offset_last);
            *known = file.offset_last.max(*known);
        }
        Self(last)
    }

    /// Says whether a row was committed later.
    pub(crate) fn is_before(&self, row: &Row) -> bool {
        self.ends_before(row.partition, row.offset)
    }

    /// Says whether a file holds a row that was, or may.
    pub(crate) fn is_before_some(&self, file: &FileRow) -> bool {
        self.ends_before(file.partition, file.offset_last)
    }

    fn ends_before(&self, partition: u16, offset: u64) -> bool {
        self.0.get(&partition).is_none_or(|last| offset > *last)
    }

    /// Keeps of each partition what both reached.
    fn meet(&mut self, other: &Self) {
        self.0.retain(|partition, _| other.0.contains_key(partition));
        for (partition, last) in &mut self.0 {
            *last = other.0.get(partition).map_or(*last, |other| (*other).min(*last));
        }
    }
}

fn place(root: &Path, tenant: &TenantId) -> PathBuf {
    root.join(format!("reach-{tenant}.json"))
}

fn read(root: &Path, tenant: &TenantId) -> io::Result<Vec<Told>> {
    match fs::read(place(root, tenant)) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Returns how far an export went whose manifest told a time; none when it is not known.
pub(crate) fn known(root: &Path, tenant: &TenantId, at_us: i64) -> io::Result<Option<Ends>> {
    Ok(read(root, tenant)?.into_iter().find(|told| told.at_us == at_us).map(|told| told.ends))
}

/// Keeps how far an export goes, before its manifest tells the time; the oldest is forgotten when there are many. Of two
/// that tell the same time what both have counts: the rest is given again.
pub(crate) fn keep(root: &Path, tenant: &TenantId, at_us: i64, ends: &Ends) -> io::Result<()> {
    let mut all = read(root, tenant)?;
    match all.iter_mut().find(|told| told.at_us == at_us) {
        Some(told) => told.ends.meet(ends),
        None => all.push(Told { at_us, ends: ends.clone() }),
    }
    let first = all.len().saturating_sub(EXPORT_REACHES_MAX);
    let (path, fresh) = (place(root, tenant), root.join(format!("reach-{tenant}.new")));
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(&all[first..]).map_err(io::Error::other)?)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    File::open(root)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::export::job::Job;

    fn file(partition: u16, offset_last: u64) -> FileRow {
        FileRow {
            path: format!("{partition}-{offset_last}"),
            table: "numerics".into(),
            tenant: "demo".into(),
            day: "2026-11-22".into(),
            partition,
            rows: 1,
            bytes: 1,
            sha256: Vec::new(),
            time_min_us: 0,
            time_max_us: 0,
            offset_first: 0,
            offset_last,
        }
    }

    #[test]
    fn what_comes_to_a_partition_late_is_in_the_next_export_however_late_it_is() {
        let reach = Ends::of(&[file(1, 7), file(1, 5), file(2, 90)]);
        let is_new = |partition, offset| reach.is_before_some(&file(partition, offset));
        assert!(!is_new(1, 5) && !is_new(1, 7) && !is_new(2, 90));
        assert!(is_new(1, 8), "of a partition that was silent for a week");
        assert!(is_new(3, 1), "of one that had nothing yet");
    }

    #[test]
    fn a_manifests_time_stands_for_what_was_reached_then() {
        let (root, tenant) = (tempfile::tempdir().unwrap(), TenantId::new("demo").unwrap());
        let (root, one) = (root.path(), Ends::of(&[file(1, 7), file(2, 9)]));
        assert_eq!(known(root, &tenant, 5).unwrap(), None);
        keep(root, &tenant, 5, &one).unwrap();
        assert_eq!(known(root, &tenant, 5).unwrap(), Some(one));
        // Another export told the same time.
        keep(root, &tenant, 5, &Ends::of(&[file(1, 8), file(3, 2)])).unwrap();
        assert_eq!(known(root, &tenant, 5).unwrap(), Some(Ends::of(&[file(1, 7)])));
        assert_eq!(known(root, &TenantId::new("other").unwrap(), 5).unwrap(), None);
        assert_eq!(Job::load_all(root).unwrap(), [], "it is none of the exports");
        (6..)
            .take(EXPORT_REACHES_MAX)
            .for_each(|at_us| keep(root, &tenant, at_us, &Ends::default()).unwrap());
        assert_eq!(known(root, &tenant, 5).unwrap(), None, "the oldest is forgotten");
        assert_eq!(read(root, &tenant).unwrap().len(), EXPORT_REACHES_MAX);
    }
}
