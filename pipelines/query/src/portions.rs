//! Shares what is read out to those who read: about as many rows to each, files whole where it goes, in parts where
//! there are few.

use datafusion::common::stats::Precision;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use std::ops::Range;
use std::sync::Arc;

/// A part of a file has so many rows at least: what lies at its ends, and the dictionaries, are read twice. Small where
/// this is tested, so that small files have parts.
const ROWS_MIN: u64 = if cfg!(test) { 6 } else { 16 * 1024 };

/// Shares files, each with the number of its rows, out among so many readers at most. Files and rows keep their order.
pub(crate) fn portions(files: Vec<(PartitionedFile, u64)>, readers: usize) -> Vec<FileGroup> {
    let all: u64 = files.iter().map(|(_, rows)| rows).sum();
    let share = all.div_ceil(readers.max(1) as u64).max(ROWS_MIN);
    let (mut groups, mut group, mut room) = (Vec::new(), Vec::new(), share);
    for (file, rows) in files {
        let mut begin = 0;
        while begin < rows {
            let (left, is_last) = (rows - begin, groups.len() + 1 >= readers);
            // What would be too little for the next one is taken along.
            let taken = if is_last || left <= room + ROWS_MIN { left } else { room };
            group.push(part(&file, begin..begin + taken, rows));
            (begin, room) = (begin + taken, room.saturating_sub(taken));
            if room < ROWS_MIN && !is_last {
                groups.push(FileGroup::new(std::mem::take(&mut group)));
                room = share;
            }
        }
    }
    if !group.is_empty() {
        groups.push(FileGroup::new(group));
    }
    groups
}

/// Takes some rows of a file.
fn part(file: &PartitionedFile, taken: Range<u64>, rows: u64) -> PartitionedFile {
    if taken == (0..rows) {
        return file.clone();
    }
    let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    let own = count(taken.end - taken.start);
    let steps = [
        RowSelector::skip(count(taken.start)),
        RowSelector::select(own),
        RowSelector::skip(count(rows - taken.end)),
    ];
    let steps: Vec<_> = steps.into_iter().filter(|step| step.row_count > 0).collect();
    let mut part = file.clone().with_extension(ParquetRowSelection::new(RowSelection::from(steps)));
    // What is exact of the file is not of a part of it, but for what all rows share.
    part.statistics = part.statistics.map(|whole| {
        let mut known = whole.as_ref().clone().to_inexact();
        known.num_rows = Precision::Exact(own);
        for (of_part, of_file) in known.column_statistics.iter_mut().zip(&whole.column_statistics) {
            let is_one = matches!((&of_file.min_value, &of_file.max_value), (Precision::Exact(least), Precision::Exact(most)) if least == most);
            if is_one && of_file.null_count == Precision::Exact(0) {
                of_part.clone_from(of_file);
            }
        }
        Arc::new(known)
    });
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a file that a part takes.
    fn taken(part: &PartitionedFile, rows: u64) -> Range<u64> {
        let Some(selection) = part.extension::<ParquetRowSelection>() else { return 0..rows };
        let steps: Vec<_> = selection.selection().iter().copied().collect();
        let skipped: usize = steps.iter().take_while(|step| step.skip).map(|step| step.row_count).sum();
        let own: usize = steps.iter().filter(|step| !step.skip).map(|step| step.row_count).sum();
        let all: usize = steps.iter().map(|step| step.row_count).sum();
        assert_eq!(all as u64, rows, "a selection is of all rows of its file");
        skipped as u64..(skipped + own) as u64
    }

    #[test]
    fn each_row_is_read_once_and_in_its_order_and_no_reader_has_much_more_than_another() {
        let many = ROWS_MIN * 40;
        for (files, readers) in [
            (vec![], 2),
            (vec![0], 2),
            (vec![1], 2),
            (vec![ROWS_MIN], 2),
            (vec![ROWS_MIN * 2], 2),
            (vec![many], 1),
            (vec![many], 2),
            (vec![many + 1], 3),
            (vec![many, 1, many, 0, 7], 4),
            (vec![ROWS_MIN - 1; 300], 8),
            (vec![ROWS_MIN / 2, many, ROWS_MIN / 3], 5),
        ] {
            let named =
                files.iter().enumerate().map(|(at, rows)| (PartitionedFile::new(at.to_string(), 9), *rows));
            let groups = portions(named.collect(), readers);
            assert!(groups.len() <= readers, "{files:?}");
            let mut read = Vec::new();
            let mut shares = Vec::new();
            for group in &groups {
                let parts = group.iter().map(|part| {
                    let at: usize = part.path().as_ref().parse().unwrap();
                    (at, taken(part, files[at]))
                });
                let parts: Vec<_> = parts.collect();
                shares.push(parts.iter().map(|(_, taken)| taken.end - taken.start).sum::<u64>());
                read.extend(parts);
            }
            let mut behind = 0;
            for (at, rows) in files.iter().enumerate().filter(|(_, rows)| **rows > 0) {
                let mut next = 0;
                while next < *rows {
                    assert_eq!((read[behind].0, read[behind].1.start), (at, next), "{files:?}");
                    next = read[behind].1.end;
                    behind += 1;
                }
                assert_eq!(next, *rows);
            }
            assert_eq!(behind, read.len(), "{files:?}");
            let even = files.iter().sum::<u64>().div_ceil(readers as u64);
            let slack = ROWS_MIN * readers as u64;
            assert!(shares.iter().all(|share| *share <= even + slack), "{files:?}: {shares:?}");
        }
    }

    #[test]
    fn of_a_part_the_number_of_rows_alone_is_exact() {
        let mut file = PartitionedFile::new("a", 9);
        let known = datafusion::common::Statistics {
            num_rows: Precision::Exact(100),
            total_byte_size: Precision::Exact(9),
            column_statistics: Vec::new(),
        };
        file.statistics = Some(Arc::new(known));
        let known = part(&file, 10..30, 100).statistics.unwrap();
        assert_eq!((known.num_rows, known.total_byte_size), (Precision::Exact(20), Precision::Inexact(9)));
        assert_eq!(part(&file, 0..100, 100).statistics.unwrap().num_rows, Precision::Exact(100));
    }
}
