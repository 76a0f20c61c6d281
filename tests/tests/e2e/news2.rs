//! NEWS2 of archived readings beside a second implementation, which reads the recording itself.

use crate::process::run;
use crate::python;
use crate::rows::Reading;
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use wardline_alert::news2::{Parameter, SpO2Scale, Vitals};

/// The recording has a row a minute.
const ROWS_PER_HOUR: usize = 60;

/// Scores every row of `readings` (`row_of` says where a reading stands) and compares with Python's rows.
pub(crate) fn agrees(
    readings: &[Reading],
    row_of: impl Fn(&Reading) -> usize,
    header: &Path,
) -> anyhow::Result<()> {
    let mut rows: BTreeMap<usize, BTreeMap<u32, f64>> = BTreeMap::new();
    for reading in readings {
        rows.entry(row_of(reading)).or_default().insert(reading.mdc_code, reading.value);
    }
    let told = run(python::script("tests/python/news2.py", None)?.arg(header))?;
    let (mut complete, mut timeline) = (0, BTreeMap::<String, usize>::new());
    let mut hours = BTreeMap::<usize, (u32, usize)>::new();
    for line in told.lines() {
        let row = line.split(' ').next().context("a row")?.parse()?;
        let (ours, is_complete) = score(row, rows.get(&row).unwrap_or(&BTreeMap::new()));
        ensure!(ours == line.trim_end(), "row {row}: here {ours:?}, there {line:?}");
        complete += usize::from(is_complete);
        let known = line.split(' ').nth(1).unwrap_or_default();
        let hour = hours.entry(row / ROWS_PER_HOUR).or_default();
        *hour = (hour.0.max(known.parse()?), hour.1 + usize::from(is_complete));
        *timeline.entry(format!("{known:>2}{}", if is_complete { "" } else { "+" })).or_default() += 1;
    }
    let scored = told.lines().count();
    ensure!(scored > 1_000, "only {scored} rows");
    println!(
        "NEWS2 of {scored} rows agrees; {complete} complete; rows per score (+ is at least): {timeline:?}"
    );
    let hourly =
        hours.values().map(|(known, whole)| if *whole > 0 { known.to_string() } else { format!("{known}+") });
    println!("highest of each hour: {}", hourly.collect::<Vec<_>>().join(" "));
    Ok(())
}

/// Scores one row; Python's line for it, and whether nothing is missing.
fn score(row: usize, values: &BTreeMap<u32, f64>) -> (String, bool) {
    let first = |codes: &[u32]| codes.iter().find_map(|code| values.get(code)).copied();
    let vitals = Vitals {
        respiration: first(&[151_562]),
        spo2: first(&[150_456]),
        on_oxygen: Some(false),
        systolic: first(&[150_033, 150_021]),
        pulse: first(&[147_842, 149_530]),
        is_alert: Some(true),
        temperature: first(&[150_364]),
    };
    let score = vitals.score(SpO2Scale::One);
    let missing: Vec<&str> = score.missing().map(Parameter::name).collect();
    let total = score.total().map_or("-".to_owned(), |total| total.to_string());
    (
        format!("{row} {} {total} {}", score.known(), missing.join(",")).trim_end().to_owned(),
        score.total().is_some(),
    )
}

#[test]
fn a_row_is_told_as_the_second_implementation_tells_it() {
    let full = BTreeMap::from([
        (151_562, 26.0),
        (150_456, 92.0),
        (150_021, 105.0),
        (149_530, 111.0),
        (150_364, 39.06),
    ]);
    assert_eq!(score(7, &full), ("7 10 10".to_owned(), true));
    let part = BTreeMap::from([(150_456, 91.4)]);
    assert_eq!(score(0, &part), ("0 3 - respiration,systolic,pulse,temperature".to_owned(), false));
}
