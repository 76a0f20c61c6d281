//! `wardline archive completeness` and `wardline archive reconcile`: what came in each hour, and what never did.

use super::archive::lane;
use super::registry::parse_time;
use super::time_text;
use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use wardline_archive::losses::{losses, parts};
use wardline_archive::read::{ArchiveReader, StreamReport, audit_read};
use wardline_archive::{HourReport, Table};

const AFTER_HELP: &str = "\
An hour has the frames that the agent took in it, by its clock. `expected` is what belongs to the hour: positions that
came and positions that are missing before one of them. `received` is archived; what is quarantined is listed apart.
The table `completeness` holds the same, an hour at a time, when the hour has come to rest.

Example:
  wardline archive completeness --device mon-1 --from 2026-11-20T00:00:00Z --data-dir data";

const RECONCILE_HELP: &str = "\
A hole is a range of positions below one that came. What the agent dropped by policy it has reported as an event
(gap_lane, gap_first_seq, gap_last_seq in the table `events`): such a part of a hole is a recorded loss. Of the rest only
the agent knows: it sends what it has by itself when it connects, and is not asked. What was acknowledged to it, it does
not hold any more.

Exit codes: 0 no hole, 1 holes.";

/// Shows what came of each stream in each hour.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CompletenessCommand {
    /// The gateway's data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Of this device.
    #[arg(long)]
    device: String,
    /// Of this tenant; needed where two have a device of this name.
    #[arg(long)]
    tenant: Option<String>,
    /// Hours that begin at this time or later.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<i64>,
    /// Hours that begin before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<i64>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

impl CompletenessCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let reader = open(&self.data_dir, "completeness_shown", &self.device).await?;
        let range = (self.from.unwrap_or(i64::MIN), self.to.map_or(i64::MAX, |to| to.saturating_sub(1)));
        let reports = reader.completeness(Some(&self.device), range).await?;
        let is_of =
            |report: &&HourReport| self.tenant.as_ref().is_none_or(|tenant| *tenant == report.id.tenant);
        if !self.json {
            println!(
                "hour tenant/device epoch lane expected received missing duplicates late quarantined erased"
            );
        }
        for report in reports.iter().filter(is_of) {
            if self.json { println!("{}", hour_json(report)) } else { println!("{}", hour_text(report)) }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Opens the archive after telling the audit of the read.
async fn open(data_dir: &std::path::Path, action: &str, device: &str) -> anyhow::Result<ArchiveReader> {
    let reader = ArchiveReader::open(data_dir).await;
    let reader = reader.with_context(|| format!("{} holds no archive that opens", data_dir.display()))?;
    audit_read(data_dir, action, &format!("device {device}")).await?;
    Ok(reader)
}

fn hour_text(report: &HourReport) -> String {
    let (id, counts) = (&report.id, &report.counts);
    format!(
        "{} {}/{} {} {} {} {} {} {} {} {} {}",
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

fn hour_json(report: &HourReport) -> serde_json::Value {
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
        "missing_ranges": ranges,
    })
}

/// Lists the holes of a device's streams.
#[derive(Debug, Args)]
#[command(after_help = RECONCILE_HELP)]
pub struct ReconcileCommand {
    /// The gateway's data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Of this device.
    #[arg(long)]
    device: String,
    /// Of this tenant; needed where two have a device of this name.
    #[arg(long)]
    tenant: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

impl ReconcileCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let reader = open(&self.data_dir, "holes_listed", &self.device).await?;
        let mut streams = reader.streams(Some(&self.device)).await?;
        streams.retain(|stream| self.tenant.as_ref().is_none_or(|tenant| *tenant == stream.id.tenant));
        let (files, device) = (reader.files(Some(Table::Events)).await?, self.device.clone());
        let recorded = tokio::task::spawn_blocking(move || losses(&reader, &files, &device)).await??;
        let (mut missing, mut lost) = (0, 0);
        for stream in &streams {
            for (part, is_recorded) in
                stream.missing.iter().flat_map(|hole| parts(&stream.id, hole, &recorded))
            {
                let frames = part.end() - part.start() + 1;
                missing += frames;
                lost += if is_recorded { frames } else { 0 };
                self.print(stream, (*part.start(), *part.end()), is_recorded);
            }
        }
        if !self.json {
            println!(
                "{missing} frames never came, in {} streams; {lost} of them the agent has recorded as dropped",
                streams.len()
            );
        }
        Ok(if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn print(&self, stream: &StreamReport, (first, last): (u64, u64), is_recorded: bool) {
        let (id, lane) = (&stream.id, lane(stream.id.lane));
        if self.json {
            let (tenant, device, epoch) = (&id.tenant, &id.device, id.epoch);
            let hole = json!({"tenant": tenant, "device": device, "epoch": epoch, "lane": lane, "first": first, "last": last, "recorded": is_recorded});
            println!("{hole}");
        } else {
            let recorded = if is_recorded { " dropped by the agent" } else { "" };
            println!("{}/{} epoch {} {lane} {first}-{last}{recorded}", id.tenant, id.device, id.epoch);
        }
    }
}
