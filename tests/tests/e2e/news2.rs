//! NEWS2 of archived readings beside a second implementation, which reads the recording itself.

use crate::frames::series;
use crate::process::run;
use crate::python;
use crate::rows::Reading;
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use wardline_alert::engine::{Engine, Transition};
use wardline_alert::news2::{Parameter, Score, SpO2Scale, Vitals};
use wardline_alert::observation::Observation;
use wardline_alert::rules::Rules;
use wardline_proto::v1::{Body, NumericSeries};
use wardline_proto::{DeviceId, DeviceKey, TenantId, codes};

/// The recording has a row a minute.
const ROWS_PER_HOUR: usize = 60;
const ROW_US: i64 = 60_000_000;
/// Somebody charts every four hours.
const CHART_ROWS: usize = 240;
const CHARTED: [f64; 8] = [36.8, 38.1, 39.1, 35.0, 35.1, 36.1, 39.0, 36.0];
/// Two rows, and 300 rows for what is measured now and then.
const RULE: &str = r#"
version = 1
[[news2]]
id = "news2"
population = "adult-not-pregnant"
spo2_scale = 1
breathing = "air"
consciousness = "presumed-alert"
from_band = "low-medium"
stale_after_s = 150
spot_stale_after_s = 18000
onset_delay_s = 0
clear_delay_s = 0
source = "Royal College of Physicians, 2017"
"#;

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

/// The same with temperatures that somebody charts, as a second source of the same device: what is known ages in the
/// engine as on the wall, and between two entries that are not too far apart there are totals.
pub(crate) fn agrees_charted(
    readings: &[Reading],
    row_of: impl Fn(&Reading) -> usize,
    header: &Path,
) -> anyhow::Result<()> {
    let start_us =
        readings.iter().map(|r| r.time_us - row_of(r) as i64 * ROW_US).min().context("readings")?;
    let rows = readings.iter().map(&row_of).max().unwrap_or(0) + 1;
    // Every fourth entry is forgotten: the one before it grows stale.
    let entries = (0..rows.div_ceil(CHART_ROWS)).filter(|entry| entry % 4 != 3);
    let chart: BTreeMap<usize, f64> =
        entries.map(|entry| (entry * CHART_ROWS, CHARTED[entry % CHARTED.len()])).collect();
    let text: String = chart.iter().map(|(row, value)| format!("{row} {value:.1}\n")).collect();
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), text)?;
    let mut python = python::script("tests/python/news2.py", None)?;
    python.arg(header).arg("--chart").arg(file.path()).args(["--rows", "2", "--spot-rows", "300"]);
    let told = run(&mut python)?;

    let key = DeviceKey { tenant: TenantId::new("demo")?, device: DeviceId::new("mon-1")? };
    let (mut engine, mut out) = (Engine::new(Rules::parse(RULE)?), Vec::new());
    let mut by_row: BTreeMap<usize, Vec<NumericSeries>> = BTreeMap::new();
    for reading in readings {
        let unit = codes::by_code(reading.mdc_code).context("a metric")?.ucum_unit;
        let one = series(reading.mdc_code, unit, reading.time_us, &[reading.value]);
        by_row.entry(row_of(reading)).or_default().push(one);
    }
    for (row, value) in chart {
        let one = series(150_364, "Cel", start_us + row as i64 * ROW_US, &[value]);
        by_row.entry(row).or_default().push(one);
    }
    let (mut totals, mut incomplete) = (BTreeMap::<u8, usize>::new(), 0);
    for line in told.lines() {
        let row: usize = line.split(' ').next().context("a row")?.parse()?;
        let at_us = start_us + row as i64 * ROW_US;
        let body = Body { numerics: by_row.remove(&row).unwrap_or_default(), ..Body::default() };
        let seen =
            Observation { key: key.clone(), header: None, ingested_at_us: at_us, device_offset_us: 0, body };
        engine.observe(&seen, &mut out);
        let score = engine.score(&key, "news2", at_us).context("a score")?;
        let ours = told_as(row, &score);
        ensure!(ours == line.trim_end(), "row {row}: here {ours:?}, there {line:?}");
        match score.total() {
            Some(total) => *totals.entry(total).or_default() += 1,
            None => incomplete += 1,
        }
    }
    let complete: usize = totals.values().sum();
    println!("NEWS2 with charted temperatures agrees: {complete} rows with a total, {incomplete} without");
    println!("rows by total: {totals:?}; alert events {}", out.len());
    ensure!(complete > 500 && incomplete > 100, "{complete} complete, {incomplete} incomplete");
    let unfounded =
        |t: &Transition| t.reason == "score" && t.alert.news2.as_ref().is_none_or(|n| n.total.is_none());
    ensure!(!out.is_empty() && !out.iter().any(unfounded), "a total is told only where there is one");
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
    (told_as(row, &score), score.total().is_some())
}

fn told_as(row: usize, score: &Score) -> String {
    let missing: Vec<&str> = score.missing().map(Parameter::name).collect();
    let total = score.total().map_or("-".to_owned(), |total| total.to_string());
    format!("{row} {} {total} {}", score.known(), missing.join(",")).trim_end().to_owned()
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
