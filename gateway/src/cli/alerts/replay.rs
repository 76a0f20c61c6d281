//! `wardline alerts replay`: what other rules would have done with what was archived.

use super::line;
use crate::cli::registry::parse_time;
use crate::front::now_us;
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wardline_alert::observation::Observation;
use wardline_alert::orders::Orders;
use wardline_alert::rules::Rules;
use wardline_alert::whatif::{Compared, WhatIf};
use wardline_archive::Table;
use wardline_archive::place::Place;
use wardline_archive::read::{ArchiveReader, Measured, Said, audit_read, measured_rows};
use wardline_proto::v1::{Alert, Body, NumericSeries, Priority};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::catalog::FileRow;

/// Rows of one day that are held in memory at most.
const ROWS_PER_DAY_MAX: u64 = 50_000_000;
/// Examples of a line.
const EXAMPLES: usize = 3;
/// How long after the last record silence is still looked for.
const AFTER_US: i64 = 3_600_000_000;

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The gateway's data directory.
    #[arg(long, env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// The rules to try.
    #[arg(long, value_name = "FILE")]
    rules: PathBuf,
    /// The rules to compare with; Wardline's own when it is not given.
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
    /// Only what came from this time on: 2026-11-21T08:00:00Z.
    #[arg(long, value_parser = parse_time)]
    from: Option<i64>,
    /// Only what came before this time.
    #[arg(long, value_parser = parse_time)]
    to: Option<i64>,
    /// As if nobody had ever set an override for a patient, a ward or a tenant.
    #[arg(long)]
    without_overrides: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let candidate = Rules::load(&self.rules)?;
        let base = self.base.as_deref().map_or_else(Rules::defaults, Rules::load)?;
        let place = self.data_dir.display();
        let reader = ArchiveReader::open(&self.data_dir).await;
        let reader = reader.with_context(|| format!("{place} holds no archive that opens"))?;
        audit_read(&self.data_dir, "alerts_replayed", "tables numerics, alarms").await?;
        let orders = if self.without_overrides { Orders::default() } else { orders(&self.data_dir).await? };
        let overrides = orders.count();
        let mut files = reader.files(Some(Table::Numerics)).await?;
        files.extend(reader.files(Some(Table::Alarms)).await?);
        let range = (self.from.unwrap_or(i64::MIN), self.to.unwrap_or(i64::MAX));
        let mut whatif = WhatIf::new(base, candidate).with_orders(orders);
        let replayed = tokio::task::spawn_blocking(move || {
            let last_us = replay(&reader, files, range, &mut whatif)?;
            whatif.advance(last_us.saturating_add(AFTER_US).min(range.1));
            anyhow::Ok(whatif)
        });
        self.print(&replayed.await??, overrides);
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, whatif: &WhatIf, overrides: usize) {
        let (lines, days) = (whatif.compare(), whatif.patient_days());
        if self.json {
            let lines: Vec<_> = lines.iter().map(|line| line_json(line, days)).collect();
            let whole = json!({
                "devices": whatif.devices(),
                "patient_days": days,
                "overrides": overrides,
                "rules": lines,
            });
            println!("{whole}");
            return;
        }
        let devices = whatif.devices();
        println!(
            "{devices} devices, {days:.2} patient-days; {overrides} overrides, each while it was in force"
        );
        println!(
            "{:<9} {:<24} {:>8} {:>8} {:>12} {:>12}",
            "priority", "rule", "before", "after", "a day", "a day"
        );
        for line in &lines {
            let (before, after) = (per_day(line.before, days), per_day(line.after, days));
            let priority = priority(line);
            println!(
                "{priority:<9} {:<24} {:>8} {:>8} {before:>12.2} {after:>12.2}",
                line.rule_id, line.before, line.after
            );
            line.gone.iter().take(EXAMPLES).for_each(|alarm| println!("  - {}", example(alarm)));
            line.new.iter().take(EXAMPLES).for_each(|alarm| println!("  + {}", example(alarm)));
        }
    }
}

/// Reads what was decided for patients, wards and tenants.
async fn orders(data_dir: &Path) -> anyhow::Result<Orders> {
    let store = Place::of(data_dir)?.store().open_read_only().await?;
    let orders = Orders::all(&store, now_us()).await;
    store.close().await;
    Ok(orders?)
}

/// Feeds what came in a range, day by day and in the order in which it came. Returns when the last record came.
fn replay(
    reader: &ArchiveReader,
    files: Vec<FileRow>,
    (from_us, to_us): (i64, i64),
    whatif: &mut WhatIf,
) -> anyhow::Result<i64> {
    let mut days: BTreeMap<String, Vec<FileRow>> = BTreeMap::new();
    files.into_iter().for_each(|file| days.entry(file.day.clone()).or_default().push(file));
    let mut last_us = from_us;
    for (day, files) in days {
        if files.iter().map(|file| file.rows).sum::<u64>() > ROWS_PER_DAY_MAX {
            bail!("{day} has more than {ROWS_PER_DAY_MAX} rows");
        }
        let mut rows = Vec::new();
        for file in &files {
            rows.extend(measured_rows(reader, file)?);
        }
        rows.retain(|row| (from_us..to_us).contains(&row.ingested_at_us));
        // Each partition of a cluster has offsets of its own: what came is in order by its time, and one publish is
        // what one device sent.
        rows.sort_by(|a, b| of_publish(a).cmp(&of_publish(b)));
        for publish in rows.chunk_by(|a, b| of_publish(a) == of_publish(b)) {
            if let Some(seen) = observation(publish) {
                last_us = last_us.max(seen.ingested_at_us);
                whatif.observe(&seen);
            }
        }
    }
    Ok(last_us)
}

fn of_publish(row: &Measured) -> (i64, u64, &str, &str) {
    (row.ingested_at_us, row.journal_offset, &row.tenant, &row.device)
}

/// Puts the rows of one publish together again.
fn observation(rows: &[Measured]) -> Option<Observation> {
    let first = rows.first()?;
    let key =
        DeviceKey { tenant: TenantId::new(&first.tenant).ok()?, device: DeviceId::new(&first.device).ok()? };
    let mut body = Body::default();
    let mut series: BTreeMap<u32, NumericSeries> = BTreeMap::new();
    for row in rows {
        match &row.said {
            Said::Alarm(alarm) => body.alarms.push(alarm.clone()),
            Said::Reading { mdc_code, ucum_unit, at_us, value, status } => {
                let series = series.entry(*mdc_code).or_insert_with(|| NumericSeries {
                    mdc_code: *mdc_code,
                    ucum_unit: ucum_unit.clone(),
                    start_us: *at_us,
                    ..NumericSeries::default()
                });
                let so_far: i64 = series.time_deltas_us.iter().sum();
                series.time_deltas_us.push(at_us - series.start_us - so_far);
                series.values.push(*value);
                series.statuses.push(*status);
            }
        }
    }
    body.numerics = series.into_values().collect();
    let (ingested_at_us, device_offset_us) = (first.ingested_at_us, first.clock_offset_us);
    Some(Observation { key, header: None, ingested_at_us, device_offset_us, body })
}

fn per_day(count: u64, days: f64) -> f64 {
    if days > 0.0 { count as f64 / days } else { 0.0 }
}

fn priority(line: &Compared) -> &'static str {
    line::priority(Priority::try_from(line.priority).unwrap_or_default())
}

fn example(alarm: &Alert) -> String {
    let value = alarm.value.map_or_else(String::new, |value| format!(" {value} {}", alarm.ucum_unit));
    format!("{} {}/{}{value}", line::clock(alarm.onset_us), alarm.tenant, alarm.device)
}

fn line_json(line: &Compared, days: f64) -> Value {
    let examples = |alarms: &[Alert]| -> Vec<Value> {
        let one = |a: &Alert| json!({ "tenant": a.tenant, "device": a.device, "onset_us": a.onset_us, "value": a.value });
        alarms.iter().take(EXAMPLES).map(one).collect()
    };
    json!({
        "rule_id": line.rule_id,
        "priority": priority(line),
        "before": line.before,
        "after": line.after,
        "before_per_patient_day": per_day(line.before, days),
        "after_per_patient_day": per_day(line.after, days),
        "gone": line.gone.len(),
        "new": line.new.len(),
        "gone_examples": examples(&line.gone),
        "new_examples": examples(&line.new),
    })
}
