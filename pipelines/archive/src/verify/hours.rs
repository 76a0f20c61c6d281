//! Completeness against what it is about: hours add up to their stream, and what was archived of them is what they say.

use super::{Discrepancy, StreamName, texts};
use crate::completeness::report;
use crate::dedup::Intervals;
use crate::error::ArchiveError;
use crate::streams::{Counts, counts_of};
use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, RecordBatch};
use std::collections::BTreeMap;
use wardline_store::catalog::{Catalog, FileRow, StreamRow};

/// Columns of `completeness` that are compared, in the order of [`numbers`].
const COLUMNS: [&str; 6] = ["expected", "received", "missing", "duplicates", "late", "quarantined"];

/// The newest archived revision of each stream's hour.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<(StreamName, i64), (u64, [u64; 6])>);

impl Told {
    /// Takes rows of `completeness`.
    pub(super) fn take_all(&mut self, batch: &RecordBatch, file: &FileRow) {
        let epochs = batch.column_by_name("epoch").and_then(|c| c.as_primitive_opt::<UInt64Type>());
        let (Some(devices), Some(lanes)) = (texts(batch, "device"), texts(batch, "lane")) else { return };
        for (row, (device, lane)) in devices.zip(lanes).enumerate() {
            let epoch = epochs.filter(|epochs| epochs.is_valid(row)).map_or(0, |epochs| epochs.value(row));
            let (device, lane) = (device.unwrap_or_default(), lane.unwrap_or_default());
            self.take((file.tenant.clone(), device.to_owned(), epoch, lane.to_owned()), batch, row);
        }
    }

    /// Takes a row of `completeness`: whose it is, and where it stands.
    fn take(&mut self, stream: StreamName, batch: &RecordBatch, row: usize) {
        let number =
            |name: &str| batch.column_by_name(name)?.as_primitive_opt::<UInt64Type>().map(|c| c.value(row));
        let hour =
            batch.column_by_name("hour").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let (Some(revision), Some(hour)) = (number("revision"), hour) else { return };
        let told = COLUMNS.map(|name| number(name).unwrap_or(u64::MAX));
        let known = self.0.entry((stream, hour.value(row))).or_default();
        if revision >= known.0 {
            *known = (revision, told);
        }
    }

    /// Compares a stream's hours with the stream, and with what was archived of them when all of that was read.
    pub(super) async fn compare(
        &self,
        catalog: &Catalog,
        (name, row, seen): (&StreamName, &StreamRow, &Intervals),
        is_all: bool,
        say: &mut impl FnMut(Discrepancy),
    ) -> Result<(), ArchiveError> {
        let hours = catalog.hours(&row.id, i64::MIN, i64::MAX).await?;
        let mut sum = Counts::default();
        let reports = report(seen, &hours)?;
        reports.iter().for_each(|report| sum.add(&report.counts));
        let placed: u64 = hours.iter().map(|hour| hour.placed).sum();
        let what = super::frames::name(name);
        if sum != counts_of(row) || (row.id.epoch > 0 && placed != seen.len()) {
            say(Discrepancy::Completeness(format!("the hours of {what} do not add up to it")));
        }
        for (report, hour) in reports.iter().zip(&hours) {
            // Otherwise it has changed since, and is archived again.
            if !is_all || hour.told.is_empty() || hour.told != report.digest() {
                continue;
            }
            let Counts { archived, quarantined, duplicates, late, .. } = report.counts;
            let numbers = [report.expected, archived, report.missing_count(), duplicates, late, quarantined];
            if self.0.get(&(name.clone(), hour.hour_us)).map(|(_, told)| told) != Some(&numbers) {
                let at = hour.hour_us;
                say(Discrepancy::Completeness(format!("the hour {at} of {what} is archived otherwise")));
            }
        }
        Ok(())
    }
}
