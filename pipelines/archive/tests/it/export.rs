//! What leaves the archive for readers that know one key.

use crate::foreign::python;
use crate::rig::{NOW_US, Rig, files_below, on_both, readings, samples};
use std::path::Path;
use std::process::{Command, Output};
use wardline_archive::Table;
use wardline_archive::export::{Wanted, export, export_key};
use wardline_proto::v1::SampleGap;

on_both! {
    an_export_has_its_time_only_and_no_byte_in_clear,
}

const MARKER: f64 = 87.654_321_012_345;

fn wanted(from_us: i64, to_us: i64) -> Wanted {
    Wanted { tenant: "demo".into(), tables: vec![Table::Numerics, Table::Waveforms], from_us, to_us }
}

async fn filled(rig: &Rig) {
    for seq in 1..=40 {
        rig.frame(seq, &readings(&[MARKER, 90.0 + seq as f64 / 8.0]));
    }
    // More rows than a page has by default: an export has one page all the same.
    for seq in 41..=100 {
        rig.frame(seq, &readings(&[97.0; 500]));
    }
    rig.archive().await;
    let mut block = samples(NOW_US, &[0x5EC2_E7A1, -5, 70_000]);
    block.waveforms[0].gaps = vec![SampleGap { first: 1, count: 2 }];
    rig.frame(1, &block);
    rig.archive().await;
}

fn duckdb(python: &Path, folder: &Path, key: &str, sql: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/read_export.py");
    let mut command = Command::new(python);
    command.arg(script).arg("--dir").arg(folder).args(["--sql", sql]).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("WARDLINE_EXPORT_KEY", key).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_alone_reads_the_same_numbers_with_the_key_and_nothing_without() {
    use base64::Engine;
    let Some(python) = python() else {
        println!("SKIPPED: no interpreter; tests/run installs it");
        return;
    };
    let rig = Rig::new().await;
    filled(&rig).await;
    let (reader, key, out) = (rig.reader(), export_key().unwrap(), rig.folder.path().join("export"));
    let files = reader.files(None).await.unwrap();
    let written = export(&reader, &files, &wanted(i64::MIN, i64::MAX), &key, &out).unwrap();
    let rows: Vec<_> = written.iter().map(|file| (file.name.as_str(), file.rows)).collect();
    assert_eq!(rows, [("numerics-00000.parquet", 30_080), ("waveforms-00000.parquet", 1)]);
    assert!(
        export(&reader, &files, &wanted(i64::MIN, i64::MAX), &key, &out).is_err(),
        "nothing is written over"
    );
    let text = |key: &[u8]| base64::engine::general_purpose::STANDARD.encode(key);
    let sql = "SELECT count(*), sum(value), min(device), max(mdc_ref_id), epoch_us(min(device_time)), \
               (SELECT samples FROM waveforms), (SELECT gaps[1].count FROM waveforms) FROM numerics";
    let output = duckdb(&python, &out, &text(&key), sql);
    let (told, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let sum: f64 =
        97.0 * 30_000.0 + 40.0 * MARKER + (1..=40).map(|seq| 90.0 + f64::from(seq) / 8.0).sum::<f64>();
    let row: Vec<&str> = told.trim().split('\t').collect();
    assert!(output.status.success() && row.len() == 7, "{told}{err}");
    assert!(row[0] == "30080" && (row[1].parse::<f64>().unwrap() - sum).abs() < 1e-6, "{told}");
    let first = (NOW_US - 5_000_000).to_string();
    let rest = ["mon-1", "MDC_PULS_OXIM_SAT_O2", &first, "[1589831585, -5, 70000]", "2"];
    assert_eq!(&row[2..], rest);
    for wrong in [text(&[7; 32]), String::new()] {
        let output = duckdb(&python, &out, &wrong, sql);
        assert!(!output.status.success() && output.stdout.is_empty());
    }
}

async fn an_export_has_its_time_only_and_no_byte_in_clear(rig: Rig) {
    filled(&rig).await;
    let (reader, key) = (rig.reader(), export_key().unwrap());
    let files = reader.files(None).await.unwrap();
    let path = |name: &str| rig.folder.path().join(name);
    let early = wanted(i64::MIN, NOW_US - 4_500_000);
    let written = export(&reader, &files, &early, &key, &path("early")).unwrap();
    assert_eq!(written.iter().map(|file| file.rows).sum::<u64>(), 100, "the first reading of each");
    let of_other = Wanted { tenant: "other".into(), ..early };
    assert!(export(&reader, &files, &of_other, &key, &path("other")).unwrap().is_empty());
    export(&reader, &files, &wanted(i64::MIN, i64::MAX), &key, &path("all")).unwrap();
    assert!(!path("all.partial").exists());
    let sample = 0x5EC2_E7A1_u32.to_le_bytes();
    for file in files_below(&path("all")) {
        let bytes = std::fs::read(&file).unwrap();
        let value = MARKER.to_le_bytes();
        for needle in [&value[..], &sample, b"mon-1", b"demo", b"MDC_PULS", b"device_time", b"PAR1", &key] {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{}", needle.escape_ascii());
        }
        assert!(bytes.starts_with(b"PARE"));
    }
}
