//! No patient-bearing byte is at rest in plaintext (SEC-3): raw bytes are searched, not read back.

use crate::rig::{NOW_US, Rig, files_below, on_both, readings, samples};
use std::time::Duration;
use wardline_archive::{ArchiveOptions, Table, schema};
use wardline_proto::v1::{Body, DeviceEvent, PayloadFormat};

on_both! {
    no_path_and_no_clear_byte_of_a_file_names_a_column,
}

const MARKER_VALUE: f64 = 87.654_321_012_345;
const MARKER_TEXT: &str = "MARKER-fell-asleep-in-chair";
const MARKER_PAYLOAD: &[u8] = b"MARKER-not-a-frame-but-patient-data";

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

async fn filled(rig: &Rig) {
    rig.frame(1, &readings(&[MARKER_VALUE; 50]));
    rig.frame(1, &samples(NOW_US, &[0x5EC2_E7A1; 64]));
    let event = DeviceEvent {
        name: "note".into(),
        detail: MARKER_TEXT.into(),
        at_us: NOW_US,
        ..DeviceEvent::default()
    };
    rig.frame(1, &Body { events: vec![event], ..Body::default() });
    rig.publish(MARKER_PAYLOAD.to_vec(), PayloadFormat::Frame);
    // Of an hour at rest: it becomes a row of `completeness`.
    crate::completeness::send(rig, 2, 0, true);
    let options = ArchiveOptions { completeness_interval: Duration::ZERO, ..rig.options() };
    rig.run(options).finish(rig.end()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_marker_is_in_any_file_of_the_data_directory() {
    let rig = Rig::new().await;
    filled(&rig).await;
    let value = MARKER_VALUE.to_le_bytes();
    let sample = [0x5EC2_E7A1_u32.to_le_bytes(); 2].concat();
    let files = files_below(rig.folder.path());
    assert!(files.iter().filter(|f| f.extension().is_some_and(|e| e == "parquet")).count() >= 4);
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        for needle in [&value[..], &sample, MARKER_TEXT.as_bytes(), MARKER_PAYLOAD, b"MDC_PULS", b"mon-1"] {
            let registry = needle == b"mon-1" && file.extension().is_none_or(|e| e != "parquet");
            assert!(registry || !holds(&bytes, needle), "{} in {}", needle.escape_ascii(), file.display());
        }
    }
}

async fn no_path_and_no_clear_byte_of_a_file_names_a_column(rig: Rig) {
    filled(&rig).await;
    assert_eq!(rig.count(Table::Completeness).await, 1);
    for table in Table::ALL {
        for file in rig.reader().files(Some(table)).await.unwrap() {
            assert!(!file.path.contains("mon-1"));
            let bytes = rig.stored(&file.path).unwrap();
            assert!(holds(&bytes, b"PARE") && !holds(&bytes, b"PAR1"), "the footer is encrypted");
            for needle in [&MARKER_VALUE.to_le_bytes()[..], MARKER_TEXT.as_bytes(), MARKER_PAYLOAD, b"mon-1"]
            {
                assert!(!holds(&bytes, needle), "{}", needle.escape_ascii());
            }
            for field in schema(table).fields() {
                assert!(
                    !holds(&bytes, field.name().as_bytes()) || field.name().len() < 5,
                    "{}",
                    field.name()
                );
            }
        }
    }
}
