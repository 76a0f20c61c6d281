//! What a reading and a sample cost on disk. The bounds are the promise of docs/archive.md.

use crate::rig::{NOW_US, Rig, readings, samples};
use wardline_archive::Table;

/// Rows enough that a file's footer, some 17 KB, weighs little.
const FRAMES: u64 = 300;
const READINGS: usize = 300;
const SAMPLES: usize = 3600;
const READING_BYTES_MAX: f64 = 3.0;
const SAMPLE_BYTES_MAX: f64 = 1.5;

/// Returns the bytes of a table's files.
async fn bytes(rig: &Rig, table: Table) -> f64 {
    let files = rig.reader().files(Some(table)).await.unwrap();
    files.iter().map(|file| file.bytes as f64).sum()
}

/// A cheap noise: repeatable, and not a ramp that any packing swallows.
fn noise(seed: &mut u32) -> i32 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*seed >> 24) as i32
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_and_a_sample_are_small() {
    let rig = Rig::new().await;
    let mut seed = 7;
    for seq in 1..=FRAMES {
        let values: Vec<f64> = (0..READINGS).map(|_| 95.0 + f64::from(noise(&mut seed) % 5)).collect();
        rig.frame(seq, &readings(&values));
        let wave = |i: usize| f64::sin(i as f64 / 20.0) * 400.0;
        let block: Vec<i32> = (0..SAMPLES).map(|i| 1024 + wave(i) as i32 + noise(&mut seed) % 4).collect();
        rig.frame(seq, &samples(NOW_US + seq as i64 * 10_000_000, &block));
    }
    rig.archive().await;
    let reading = bytes(&rig, Table::Numerics).await / (FRAMES as f64 * READINGS as f64);
    let sample = bytes(&rig, Table::Waveforms).await / (FRAMES as f64 * SAMPLES as f64);
    println!("{reading:.2} bytes a reading, {sample:.2} bytes a sample");
    assert!(reading <= READING_BYTES_MAX && sample <= SAMPLE_BYTES_MAX);
}
