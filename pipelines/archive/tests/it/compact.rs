//! Small files become large ones: same rows, whatever is killed, and readers in flight do not notice.

use crate::erase_races::publish;
use crate::rig::{Rig, key, on_both, readings, samples};
use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use std::collections::BTreeSet;
use std::time::Duration;
use wardline_archive::read::{Row, newest_rows};
use wardline_archive::{ArchiveOptions, Table};
use wardline_proto::{DeviceKey, TenantId};

on_both! {
    many_small_files_become_few_with_the_same_rows,
    a_reader_that_listed_the_old_files_still_reads_them_until_the_grace_is_over,
    a_worker_killed_while_it_merges_keeps_every_row_once,
    a_damaged_small_file_is_left_and_the_others_are_merged,
}

/// Commits every few rows and merges after each commit.
fn eager(rig: &Rig) -> ArchiveOptions {
    ArchiveOptions {
        flush_rows_max: 5,
        compact_interval: Some(Duration::ZERO),
        compact_files_min: 4,
        retired_grace: Duration::from_secs(600),
        ..rig.options()
    }
}

/// Rows of a table by what names them: position and time.
async fn positions(rig: &Rig, table: Table) -> Vec<(u64, i64)> {
    let mut rows = Vec::new();
    for batch in rig.rows(table).await {
        let seq = batch.column_by_name("seq").unwrap().as_primitive::<UInt64Type>().clone();
        let time =
            batch.column_by_name("device_time").unwrap().as_primitive::<TimestampMicrosecondType>().clone();
        rows.extend(seq.values().iter().copied().zip(time.values().iter().copied()));
    }
    rows.sort_unstable();
    rows
}

async fn many_small_files_become_few_with_the_same_rows(rig: Rig) {
    for seq in 1..=200 {
        rig.frame(seq, &readings(&[seq as f64, 90.0]));
    }
    for at in 0..20_i64 {
        rig.frame(300 + at as u64, &samples(crate::rig::NOW_US - 60_000_000 + at * 1_000_000, &[1, 2, 3]));
    }
    let end = rig.end();
    rig.run(ArchiveOptions { compact_interval: None, ..eager(&rig) }).finish(end).await.unwrap();
    let before = rig.reader().files(Some(Table::Numerics)).await.unwrap();
    let (numerics, waveforms) =
        (positions(&rig, Table::Numerics).await, positions(&rig, Table::Waveforms).await);
    assert!(before.len() > 20, "{} files", before.len());

    let running = rig.run(eager(&rig));
    for _ in 0..12 {
        running.handle.flush_to(rig.end()).await.unwrap();
    }
    running.stop().await.unwrap();
    let after = rig.reader().files(Some(Table::Numerics)).await.unwrap();
    assert!(after.len() < 6, "{} files of {}", after.len(), before.len());
    assert_eq!(positions(&rig, Table::Numerics).await, numerics);
    assert_eq!(positions(&rig, Table::Waveforms).await, waveforms);
    let bytes = |files: &[wardline_store::catalog::FileRow]| files.iter().map(|f| f.bytes).sum::<u64>();
    println!(
        "{} files, {} bytes -> {} files, {} bytes, {} rows",
        before.len(),
        bytes(&before),
        after.len(),
        bytes(&after),
        numerics.len()
    );
    assert!(bytes(&after) * 5 < bytes(&before));
}

async fn a_reader_that_listed_the_old_files_still_reads_them_until_the_grace_is_over(rig: Rig) {
    for seq in 1..=60 {
        rig.frame(seq, &readings(&[seq as f64]));
    }
    let end = rig.end();
    rig.run(ArchiveOptions { compact_interval: None, ..eager(&rig) }).finish(end).await.unwrap();
    let listed = rig.reader().files(Some(Table::Numerics)).await.unwrap();
    let running = rig.run(eager(&rig));
    for _ in 0..8 {
        running.handle.flush_to(rig.end()).await.unwrap();
    }
    running.stop().await.unwrap();
    let now: BTreeSet<_> = rig.reader().files(None).await.unwrap().into_iter().map(|f| f.path).collect();
    assert!(listed.iter().all(|file| !now.contains(&file.path)), "all were replaced");
    let rows = |file| rig.reader().read(file).unwrap().map(|batch| batch.unwrap().num_rows()).sum::<usize>();
    assert_eq!(listed.iter().map(rows).sum::<usize>(), 60, "read after they were replaced, over a restart");

    let running = rig.run(ArchiveOptions { retired_grace: Duration::ZERO, ..eager(&rig) });
    for _ in 0..3 {
        running.handle.flush_to(rig.end()).await.unwrap();
    }
    running.stop().await.unwrap();
    assert!(listed.iter().all(|file| rig.stored(&file.path).is_none()), "removed after the grace");
    assert_eq!(rig.count(Table::Numerics).await, 60);
}

async fn a_worker_killed_while_it_merges_keeps_every_row_once(rig: Rig) {
    let mut seq = 0;
    for round in 0..40_u64 {
        for _ in 0..20 {
            seq += 1;
            rig.frame(seq, &readings(&[seq as f64]));
        }
        let running = rig.run(ArchiveOptions { retired_grace: Duration::ZERO, ..eager(&rig) });
        tokio::time::sleep(rig.pace(round * 3)).await;
        running.task.abort();
        let _cancelled = running.task.await;
    }
    rig.age().await;
    let end = rig.end();
    rig.run(ArchiveOptions { retired_grace: Duration::ZERO, ..eager(&rig) }).finish(end).await.unwrap();
    let rows = positions(&rig, Table::Numerics).await;
    let distinct: BTreeSet<_> = rows.iter().collect();
    assert_eq!((rows.len(), distinct.len()), (800, 800));
    let committed: BTreeSet<_> =
        rig.reader().files(None).await.unwrap().into_iter().map(|f| f.path).collect();
    let retired = wardline_store::catalog::Catalog::new(rig.store.clone()).retired(None).await.unwrap();
    assert_eq!(rig.files_there().await, committed.len() + retired.len(), "nothing uncommitted is left");
}

async fn a_damaged_small_file_is_left_and_the_others_are_merged(rig: Rig) {
    for seq in 1..=60 {
        rig.frame(seq, &readings(&[seq as f64]));
    }
    let end = rig.end();
    rig.run(ArchiveOptions { compact_interval: None, ..eager(&rig) }).finish(end).await.unwrap();
    let listed = rig.reader().files(Some(Table::Numerics)).await.unwrap();
    rig.tamper(&listed[3].path, Some(b"not what was committed")).await;
    let running = rig.run(eager(&rig));
    for _ in 0..10 {
        running.handle.flush_to(rig.end()).await.unwrap();
    }
    running.stop().await.unwrap();
    let now = rig.reader().files(Some(Table::Numerics)).await.unwrap();
    assert!(now.iter().any(|file| file.path == listed[3].path), "it stays in the catalog, as evidence");
    assert!(rig.stored(&listed[3].path).is_some() && now.len() < 5, "{} files", now.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_merges_every_group_past_what_is_damaged() {
    const GROUPS: usize = 12;
    let rig = Rig::new().await;
    let of = |group: usize| DeviceKey { tenant: TenantId::new(&format!("t-{group}")).unwrap(), ..key() };
    let none = || ArchiveOptions { compact_interval: None, ..eager(&rig) };
    let running = rig.run(none());
    for seq in 1..=5 {
        (0..GROUPS).for_each(|group| publish(&rig, &of(group), seq, &readings(&[90.0])));
        running.handle.flush_to(rig.end()).await.unwrap();
    }
    running.stop().await.unwrap();
    let files = async || rig.reader().files(Some(Table::Numerics)).await.unwrap();
    let before = files().await;
    assert!(before.len() >= 5 * GROUPS);
    let damaged = before.iter().find(|file| file.tenant == "t-3").unwrap();
    rig.tamper(&damaged.path, Some(b"not what was committed")).await;
    let pause = Duration::from_secs(1);
    let running = rig.run(ArchiveOptions { compact_interval: Some(pause), ..eager(&rig) });
    // Fewer looks than groups, for a machine that is busy.
    for _ in 0..GROUPS / 2 {
        tokio::time::sleep(pause).await;
        running.handle.flush_to(rig.end()).await.unwrap();
        if files().await.len() == GROUPS + 1 {
            break;
        }
    }
    running.stop().await.unwrap();
    let after = files().await;
    assert_eq!(after.len(), GROUPS + 1, "{after:?}");
    assert_eq!(after.iter().map(|file| file.rows).sum::<u64>(), (5 * GROUPS) as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_rows_are_the_newest_of_a_merged_file_too() {
    let rig = Rig::new().await;
    for seq in 1..=60 {
        // Device time runs backwards: the merged file's order is not the journal's.
        let mut body = readings(&[seq as f64]);
        body.numerics[0].start_us -= seq as i64 * 1_000_000;
        rig.frame(seq, &body);
    }
    let running = rig.run(eager(&rig));
    for _ in 0..6 {
        running.handle.flush_to(rig.end()).await.unwrap();
    }
    running.stop().await.unwrap();
    let reader = rig.reader();
    let files = reader.files(Some(Table::Numerics)).await.unwrap();
    let rows = newest_rows(&reader, &files, 3, Some("mon-1")).unwrap();
    let seq = |row: &Row| row.iter().find(|(name, _)| name == "seq").map(|(_, value)| value.clone());
    let seqs: Vec<_> = rows.iter().filter_map(seq).collect();
    assert_eq!(seqs, ["58", "59", "60"], "{} files", files.len());
    assert_eq!(newest_rows(&reader, &files, 0, None).unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_takes_what_fits_into_memory_however_small_it_is_on_the_disk() {
    const SAMPLES: usize = 16 * 1024;
    let rig = Rig::new().await;
    for at in 0..20_i64 {
        rig.frame(1 + at as u64, &samples_of(at, SAMPLES));
        rig.archive().await;
    }
    // One that is large alone: it stays as it is.
    rig.frame(100, &samples_of(30, 4 * SAMPLES));
    rig.archive().await;
    let files = async || rig.reader().files(Some(Table::Waveforms)).await.unwrap();
    let (before, rows) = (files().await, positions(&rig, Table::Waveforms).await);
    assert!(before.len() == 21 && before.iter().map(|file| file.bytes).sum::<u64>() < 1_000_000);
    let bounded = ArchiveOptions { compact_memory_max: 6 * 4 * SAMPLES, ..eager(&rig) };
    let running = rig.run(bounded);
    for _ in 0..16 {
        running.handle.flush_to(rig.end()).await.unwrap();
    }
    running.stop().await.unwrap();
    let after = files().await;
    assert_eq!(positions(&rig, Table::Waveforms).await, rows);
    assert!(after.iter().any(|file| file.path == before[20].path), "{after:?}");
    let blocks: Vec<u64> = after.iter().map(|file| file.rows).collect();
    assert!(after.len() < 14 && blocks.iter().all(|blocks| *blocks <= 5), "{blocks:?}");
}

fn samples_of(at: i64, count: usize) -> wardline_proto::v1::Body {
    samples(crate::rig::NOW_US - 3_600_000_000 + at * 60_000_000, &vec![7; count])
}
