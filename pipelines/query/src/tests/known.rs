//! What is known of a file spares looking at its rows.

use super::rows::{Lie, Reading};
use super::{Registry, answer, both, lines};
use datafusion::physical_plan::displayable;
use datafusion::prelude::SessionContext;

/// Readings of one device, in order.
fn of_a_device(device: usize, first_minute: i64) -> Vec<Reading> {
    let reading = |minute, code| Reading {
        device,
        minutes: first_minute + minute,
        late_minutes: 0,
        clock: Some(if minute % 2 == 0 { 1_000 } else { -90_000_000 }),
        code,
        value: (minute % 3) as usize,
        seq: None,
    };
    (0..40).flat_map(|minute| (0..2).map(move |code| reading(minute, code))).collect()
}

async fn plan(session: &SessionContext, sql: &str) -> String {
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    displayable(&*plan).indent(false).to_string()
}

/// Reads everything once, so that footers are known, and gives the plan.
async fn known(rows: Vec<Reading>, sql: &str) -> (String, String) {
    let registry = Registry::new().await;
    let lie =
        Lie { file: 80, group: 9, page: 9, readers: 2, batch: 16, tail: 0, is_erased: false, is_known: true };
    let (ours, _) = both(&registry, &rows, &lie).await;
    let before = plan(&ours, sql).await;
    for table in ["numerics", "waveforms"] {
        ours.table(table).await.unwrap().collect().await.unwrap();
    }
    (before, plan(&ours, sql).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_who_wore_the_device_all_the_time_is_looked_up_once_a_file() {
    // d2 was p-2's until the third day.
    let sql = "SELECT device_time, value FROM vitals WHERE subject = 'p-2' AND site = 'er' \
               AND device_time >= TIMESTAMP '2024-10-18T00:00:00Z' ORDER BY device_time, mdc_code";
    let (before, after) = known(of_a_device(2, 10), sql).await;
    assert!(before.contains("wearer") && before.contains("SortExec"), "{before}");
    assert!(!after.contains("FilterExec") && !after.contains("SortExec"), "{after}");
    // A minute and a half before it was worn is within what the clock was off.
    let (_, after) = known(of_a_device(2, 0), sql).await;
    assert!(after.contains("wearer"), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_row_of_interest_is_not_opened() {
    for (condition, is_open) in [
        ("subject = 'p-1'", false),
        ("site = 'icu'", false),
        ("device = 'd0'", false),
        ("device <> 'd2'", false),
        ("site = 'er' AND device <> 'd0'", true),
        ("subject = 'p-2'", true),
    ] {
        let sql = format!("SELECT value FROM vitals WHERE {condition}");
        let (_, after) = known(of_a_device(2, 10), &sql).await;
        assert_eq!(after.contains(".parquet"), is_open, "{condition}: {after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_could_fail_is_left_to_the_rows() {
    let sql = "SELECT value FROM numerics WHERE CAST(device AS BIGINT) = 7";
    let (_, after) = known(of_a_device(2, 10), sql).await;
    assert!(after.contains("FilterExec"), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_condition_is_tried_on_a_row_that_was_erased() {
    let registry = Registry::new().await;
    // Of d1 the second and third day are erased.
    let rows = of_a_device(1, 26 * 60);
    let fails = "SELECT count(*) FROM numerics WHERE 1 / (status / 7) = 1";
    for tail in [0, 30, 80] {
        for is_erased in [true, false] {
            let lie =
                Lie { file: 80, group: 9, page: 9, readers: 2, batch: 16, tail, is_erased, is_known: true };
            let (ours, _) = both(&registry, &rows, &lie).await;
            let told = answer(&ours, fails).await;
            assert_eq!(told.is_ok(), is_erased, "{tail}: {told:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_first_rows_of_a_device_are_its_first_however_many_read_it() {
    let registry = Registry::new().await;
    let lie =
        Lie { file: 20, group: 9, page: 9, readers: 4, batch: 3, tail: 0, is_erased: false, is_known: true };
    let (ours, naive) = both(&registry, &of_a_device(2, 10), &lie).await;
    let sql = "SELECT device_time, mdc_code FROM numerics WHERE device = 'd2' AND value < 99 \
               ORDER BY device_time, mdc_code LIMIT 30";
    let expected = lines(&answer(&naive, sql).await.unwrap(), true);
    for _time in 0..200 {
        assert_eq!(lines(&answer(&ours, sql).await.unwrap(), true), expected);
    }
    let plan = plan(&ours, sql).await;
    assert!(plan.contains("SortPreservingMergeExec") && !plan.contains("SortExec"), "{plan}");
}
