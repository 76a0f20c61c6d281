//! Ten thousand rows, one in a hundred bad.

use crate::support::Stand;
use std::collections::BTreeMap;
use std::time::Instant;
use wardline_proto::v1::{Device, ImportDevicesRequest, ImportResult};

const ROWS: u64 = 10_000;

fn rows() -> Vec<ImportDevicesRequest> {
    let row = |line: u64| {
        let device = if line.is_multiple_of(100) { format!("Bad {line}") } else { format!("mon-{line}") };
        let serial_number = format!("A{line}");
        let device = Device {
            tenant: "fleet".into(),
            device,
            model: "wd-200".into(),
            serial_number,
            ..Device::default()
        };
        ImportDevicesRequest { line, device: Some(device) }
    };
    (1..=ROWS).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_rows_are_in_but_the_bad_ones_and_again_changes_nothing() {
    let stand = Stand::new(&[]).await;
    for expected in [ImportResult::Created, ImportResult::Same] {
        let started = Instant::now();
        let mut client = stand.client("operator").await;
        let mut answers = client.import_devices(tokio_stream::iter(rows())).await.unwrap().into_inner();
        let (mut counts, mut line) = (BTreeMap::<i32, u64>::new(), 0);
        while let Some(answer) = answers.message().await.unwrap() {
            line += 1;
            assert_eq!(answer.line, line, "in the order of the rows");
            let is_refused = answer.result == i32::from(ImportResult::Refused);
            assert_eq!(is_refused, line.is_multiple_of(100), "{answer:?}");
            assert_eq!(answer.code, if is_refused { "WL-REG-001" } else { "" });
            *counts.entry(answer.result).or_default() += 1;
        }
        println!("{counts:?} in {:.1} s", started.elapsed().as_secs_f64());
        let count = |result: ImportResult| counts.get(&i32::from(result)).copied().unwrap_or(0);
        assert_eq!((count(expected), count(ImportResult::Refused)), (ROWS - ROWS / 100, ROWS / 100));
    }
    let active = stand.node.store().registry_snapshot(0).await.unwrap().active;
    assert_eq!(active.len() as u64, ROWS - ROWS / 100 + 1);
}
