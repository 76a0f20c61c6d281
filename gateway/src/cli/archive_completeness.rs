//! `wardline archive completeness`: what came in each hour, and what did not.

use super::archive::lane;
use super::archive_resends::Known;
use super::registry::parse_time;
use super::time_text;
use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use wardline_archive::HourReport;
use wardline_archive::read::{ArchiveReader, audit_read};

const AFTER_HELP: &str = "\
An hour has the frames that the agent took in it, by its clock. `expected` is what belongs to the hour: positions that
came and positions that are missing before one of them. `received` is archived; what is quarantined is listed apart. Of
what is missing, `lost` is what the agent has said that it does not hold, `asked` what it was asked to send again and has
not answered; requests are listed below the hours.
The table `completeness` holds the same, an hour at a time, when the hour has come to rest.

Example:
  wardline archive completeness --device mon-1 --from 2026-11-20T00:00:00Z --data-dir data";

/// Shows what came of each stream in each hour.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CompletenessCommand {
    #[command(flatten)]
    of: OfDevice,
    /// Hours that begin at this time or later.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<i64>,
    /// Hours that begin before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<i64>,
}

/// Whose streams are told of, and how.
#[derive(Debug, Args)]
pub(super) struct OfDevice {
    /// The gateway's data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    pub(super) data_dir: PathBuf,
    /// Of this device.
    #[arg(long)]
    pub(super) device: String,
    /// Of this tenant; needed where two have a device of this name.
    #[arg(long)]
    pub(super) tenant: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(super) json: bool,
}

impl OfDevice {
    /// Opens the archive after telling the audit of the read.
    pub(super) async fn open(&self, action: &str) -> anyhow::Result<ArchiveReader> {
        let Self { data_dir, device, .. } = self;
        let reader = ArchiveReader::open(data_dir).await;
        let reader = reader.with_context(|| format!("{} holds no archive that opens", data_dir.display()))?;
        audit_read(data_dir, action, &format!("device {device}")).await?;
        Ok(reader)
    }

    /// Returns tenant and device.
    pub(super) fn names(&self) -> (Option<&str>, &str) {
        (self.tenant.as_deref(), &self.device)
    }

    /// Reads what is known of the holes.
    pub(super) async fn known(&self, reader: &ArchiveReader) -> anyhow::Result<Known> {
        Known::of(reader, &self.data_dir, self.names()).await
    }

    /// Says whether something is of this tenant, or no tenant was named.
    pub(super) fn is_of(&self, tenant: &str) -> bool {
        self.tenant.as_ref().is_none_or(|own| own == tenant)
    }
}

impl CompletenessCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let (of, json) = (&self.of, self.of.json);
        let reader = of.open("completeness_shown").await?;
        let known = of.known(&reader).await?;
        let range = (self.from.unwrap_or(i64::MIN), self.to.map_or(i64::MAX, |to| to.saturating_sub(1)));
        let reports = reader.completeness(Some(&of.device), range).await?;
        if !json {
            println!(
                "hour tenant/device epoch lane expected received missing duplicates late quarantined erased lost asked"
            );
        }
        for report in reports.iter().filter(|report| of.is_of(&report.id.tenant)) {
            let parts = known.of_hour(report);
            println!(
                "{}",
                if json { hour_json(report, parts).to_string() } else { hour_text(report, parts) }
            );
        }
        known.print_requests(json);
        Ok(ExitCode::SUCCESS)
    }
}

fn hour_text(report: &HourReport, (lost, asked): (u64, u64)) -> String {
    let (id, counts) = (&report.id, &report.counts);
    format!(
        "{} {}/{} {} {} {} {} {} {} {} {} {} {lost} {asked}",
        time_text(report.hour_us),
        id.tenant,
        id.device,
        id.epoch,
        lane(id.lane),
        report.expected,
        counts.archived,
        report.missing_count(),
        counts.duplicates,
        counts.late,
        counts.quarantined,
        counts.erased,
    )
}

fn hour_json(report: &HourReport, (lost, asked): (u64, u64)) -> serde_json::Value {
    let (id, counts) = (&report.id, &report.counts);
    let ranges: Vec<_> = report.missing.iter().map(|hole| [*hole.start(), *hole.end()]).collect();
    json!({
        "hour": time_text(report.hour_us),
        "tenant": id.tenant,
        "device": id.device,
        "epoch": id.epoch,
        "lane": lane(id.lane),
        "expected": report.expected,
        "received": counts.archived,
        "missing": report.missing_count(),
        "duplicates": counts.duplicates,
        "late": counts.late,
        "quarantined": counts.quarantined,
        "erased": counts.erased,
        "lost": lost,
        "asked": asked,
        "missing_ranges": ranges,
    })
}
