//! `wardline archive`: what the archive holds, without a SQL engine and beside a running gateway.

use super::archive_certificate::CertificateCommand;
use super::archive_completeness::CompletenessCommand;
use super::archive_erase::EraseCommand;
use super::archive_export::ExportCommand;
use super::archive_quarantine::QuarantineCommand;
use super::archive_reconcile::ReconcileCommand;
use super::archive_verify::VerifyCommand;
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use wardline_archive::Table;
use wardline_archive::read::{ArchiveReader, Row, StreamReport, audit_read, newest_rows};
use wardline_proto::v1::Lane;
use wardline_store::catalog::FileRow;

/// Shows what the archive holds, and checks it.
#[derive(Debug, Args)]
pub struct ArchiveCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print files, row counts and the newest rows.
    Show(ShowCommand),
    /// Check catalog, files, hashes, keys, rows and streams against each other.
    Verify(VerifyCommand),
    /// List, show and replay what is in the quarantine.
    Quarantine(QuarantineCommand),
    /// Show what came of each stream in each hour: expected, received, missing.
    Completeness(CompletenessCommand),
    /// Copy a tenant's rows of a time under one key, for DuckDB alone.
    Export(ExportCommand),
    /// List the frames of a device that never came, and ask for them.
    Reconcile(ReconcileCommand),
    /// Erase a subject, and certify it.
    Erase(EraseCommand),
    /// List erasures, and check their certificates.
    Certificate(CertificateCommand),
}

#[derive(Debug, Args)]
struct ShowCommand {
    /// The gateway's data directory.
    #[arg(long, env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Table whose newest rows are printed: numerics, waveforms, alarms, events, quarantine, audit or completeness.
    #[arg(long, default_value = "numerics", value_parser = parse_table)]
    table: Table,
    /// How many of the newest rows to print.
    #[arg(long, default_value_t = 10)]
    newest: usize,
    /// Only rows and counts of this device.
    #[arg(long)]
    device: Option<String>,
    /// Print frames archived, quarantined and duplicate, and missing ranges, per device, epoch and lane.
    #[arg(long)]
    counts: bool,
    /// Print every file of the archive.
    #[arg(long)]
    files: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn parse_table(name: &str) -> Result<Table, String> {
    let names = || Table::ALL.map(Table::name).join(", ");
    Table::from_name(name).ok_or_else(|| format!("the tables are {}", names()))
}

impl ArchiveCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Show(show) => show.run().await,
            Action::Verify(verify) => verify.run().await,
            Action::Quarantine(quarantine) => quarantine.run().await,
            Action::Completeness(completeness) => completeness.run().await,
            Action::Export(export) => export.run().await,
            Action::Reconcile(reconcile) => reconcile.run().await,
            Action::Erase(erase) => erase.run().await,
            Action::Certificate(certificate) => certificate.run().await,
        }
    }
}

impl ShowCommand {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let place = self.data_dir.display();
        let reader = ArchiveReader::open(&self.data_dir);
        let reader = reader.await.with_context(|| format!("{place} holds no archive that opens"))?;
        let device = self.device.as_ref().map_or(String::new(), |device| format!(" device {device}"));
        audit_read(&self.data_dir, "archive_shown", &format!("table {}{device}", self.table)).await?;
        if self.counts {
            self.print_counts(&reader.streams(self.device.as_deref()).await?);
            return Ok(ExitCode::SUCCESS);
        }
        let files = reader.files(None).await?;
        let (newest, device) = (self.newest, self.device.clone());
        let chosen: Vec<FileRow> = files.iter().filter(|f| f.table == self.table.name()).cloned().collect();
        let read = move || newest_rows(&reader, &chosen, newest, device.as_deref());
        let rows = tokio::task::spawn_blocking(read).await??;
        if self.json {
            self.print_json(&files, &rows);
        } else {
            self.print_text(&files, &rows);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print_counts(&self, streams: &[StreamReport]) {
        if self.json {
            let list: Vec<_> = streams.iter().map(stream_json).collect();
            println!("{}", json!(list));
            return;
        }
        println!("tenant/device epoch lane archived quarantined duplicates late last missing");
        for stream in streams {
            let (id, counts) = (&stream.id, stream.counts);
            let missing: Vec<_> =
                stream.missing.iter().map(|m| format!("{}-{}", m.start(), m.end())).collect();
            let missing = if missing.is_empty() { "-".to_owned() } else { missing.join(",") };
            println!(
                "{}/{} {} {} {} {} {} {} {} {missing}",
                id.tenant,
                id.device,
                id.epoch,
                lane(id.lane),
                counts.archived,
                counts.quarantined,
                counts.duplicates,
                counts.late,
                stream.last_seq.unwrap_or(0),
            );
        }
    }

    fn print_json(&self, files: &[FileRow], rows: &[Row]) {
        let totals: Vec<_> = totals(files)
            .into_iter()
            .map(|((table, tenant), total)| {
                json!({"table": table, "tenant": tenant, "files": total.files, "rows": total.rows, "bytes": total.bytes})
            })
            .collect();
        let rows: Vec<_> =
            rows.iter().map(|row| json!(row.iter().cloned().collect::<BTreeMap<_, _>>())).collect();
        let paths: BTreeSet<_> = files.iter().filter(|_| self.files).map(|file| &file.path).collect();
        println!("{}", json!({"tables": totals, "newest": rows, "files": paths}));
    }

    fn print_text(&self, files: &[FileRow], rows: &[Row]) {
        println!("{:<12} {:<20} {:>7} {:>12} {:>14}", "table", "tenant", "files", "rows", "bytes");
        for ((table, tenant), total) in totals(files) {
            println!("{table:<12} {tenant:<20} {:>7} {:>12} {:>14}", total.files, total.rows, total.bytes);
        }
        if self.files {
            files.iter().for_each(|file| println!("{} {} rows {} bytes", file.path, file.rows, file.bytes));
        }
        println!("\nnewest of {}:", self.table);
        for row in rows {
            let cells: Vec<_> = row.iter().map(|(name, value)| format!("{name}={value}")).collect();
            println!("  {}", cells.join("  "));
        }
        if rows.is_empty() {
            println!("  none yet");
        }
    }
}

#[derive(Default)]
struct Total {
    files: u64,
    rows: u64,
    bytes: u64,
}

fn totals(files: &[FileRow]) -> BTreeMap<(&str, &str), Total> {
    let mut totals: BTreeMap<(&str, &str), Total> = BTreeMap::new();
    for file in files {
        let total = totals.entry((&file.table, &file.tenant)).or_default();
        total.files += 1;
        total.rows += file.rows;
        total.bytes += file.bytes;
    }
    totals
}

/// Returns a lane's name; `none` for what was sent outside any stream.
pub(super) fn lane(number: i32) -> String {
    let known = Lane::try_from(number).ok().filter(|lane| *lane != Lane::Unspecified);
    let name = known.map(|lane| lane.as_str_name().trim_start_matches("LANE_").to_lowercase());
    name.unwrap_or_else(|| "none".to_owned())
}

fn stream_json(stream: &StreamReport) -> serde_json::Value {
    let (id, counts) = (&stream.id, stream.counts);
    let missing: Vec<_> = stream.missing.iter().map(|range| [*range.start(), *range.end()]).collect();
    json!({
        "tenant": id.tenant,
        "device": id.device,
        "epoch": id.epoch,
        "lane": lane(id.lane),
        "archived": counts.archived,
        "quarantined": counts.quarantined,
        "duplicates": counts.duplicates,
        "late": counts.late,
        "erased": counts.erased,
        "last_seq": stream.last_seq,
        "missing": missing,
    })
}
