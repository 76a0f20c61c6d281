//! Very many small files are merged while readers read: no reader fails, no row is there twice.
//!
//! `WARDLINE_SMALL_FILES=10000 WARDLINE_SMALL_READERS=10` is the full show.

use crate::rig::{Rig, readings};
use crate::verify::verify;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wardline_archive::read::ArchiveReader;
use wardline_archive::{ArchiveOptions, Table};

fn wanted(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Reads everything over and over, as one listing has it, until it is told to stop. Returns how often.
async fn read_on(reader: ArchiveReader, rows: u64, stop: Arc<AtomicBool>) -> u64 {
    let mut times = 0;
    while !stop.load(Ordering::Relaxed) {
        let files = reader.files(Some(Table::Numerics)).await.unwrap();
        let seqs = tokio::task::block_in_place(|| {
            let mut seqs = HashSet::new();
            let mut count = 0;
            for file in &files {
                for batch in reader.read(file).unwrap() {
                    let batch = batch.unwrap();
                    count += batch.num_rows() as u64;
                    seqs.extend(batch["seq"].as_primitive::<UInt64Type>().values().iter().copied());
                }
            }
            assert_eq!(count, seqs.len() as u64, "a row twice");
            count
        });
        assert_eq!(seqs, rows, "of {} files", files.len());
        times += 1;
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_files_are_merged_while_readers_read() {
    let (files, readers) = (wanted("WARDLINE_SMALL_FILES", 120), wanted("WARDLINE_SMALL_READERS", 3));
    let rig = Rig::new().await;
    for seq in 1..=files {
        rig.frame(seq, &readings(&[seq as f64]));
    }
    let one_each = ArchiveOptions { flush_rows_max: 1, compact_interval: None, ..rig.options() };
    let began = Instant::now();
    rig.run(one_each).finish(rig.end()).await.unwrap();
    let listed = rig.reader().files(Some(Table::Numerics)).await.unwrap().len() as u64;
    println!("{listed} files written in {:.1?}", began.elapsed());
    assert_eq!(listed, files);

    let stop = Arc::new(AtomicBool::new(false));
    let read = Arc::new(AtomicU64::new(0));
    let reading: Vec<_> =
        (0..readers).map(|_| tokio::spawn(read_on(rig.reader(), files, stop.clone()))).collect();
    // The grace that readers have is as long as in operation, for what a listing takes.
    let merging = ArchiveOptions {
        compact_interval: Some(Duration::ZERO),
        retired_grace: Duration::from_secs(600),
        ..rig.options()
    };
    let (began, running) = (Instant::now(), rig.run(merging));
    let mut left = files;
    while left > files / 20 {
        running.handle.flush_to(rig.end()).await.unwrap();
        left = rig.reader().files(Some(Table::Numerics)).await.unwrap().len() as u64;
        assert!(reading.iter().all(|reader| !reader.is_finished()), "a reader failed");
    }
    println!("{files} files became {left} in {:.1?}", began.elapsed());
    // Each has read the merged ones too.
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    for reader in reading {
        read.fetch_add(reader.await.unwrap(), Ordering::Relaxed);
    }
    running.stop().await.unwrap();
    println!(
        "{readers} readers read everything {} times, {files} rows once each",
        read.load(Ordering::Relaxed)
    );
    let found = verify(&rig).await;
    assert!(found.is_clean(), "{:?}", found.discrepancies);
}
