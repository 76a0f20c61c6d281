//! `wardline device accepted-after`: what a device delivered after its certificate was compromised.

use super::parse_time;
use super::table::Table as Listing;
use anyhow::{Context, bail};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType, UInt64Type};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use wardline_archive::Table;
use wardline_archive::read::{ArchiveReader, audit_read};
use wardline_proto::{DeviceId, TenantId};
use wardline_store::catalog::FileRow;

/// Counts rows that were accepted from a device since a time, by table. Reads the archive on this machine.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: wardline device accepted-after --tenant st-mary --device mon-7 --since 2026-11-20T08:00:00Z --data-dir data"
)]
pub struct AcceptedCommand {
    /// The gateway's data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Tenant that owns the device.
    #[arg(long)]
    tenant: TenantId,
    /// The device's id within the tenant.
    #[arg(long)]
    device: DeviceId,
    /// When it was compromised; rows that the gateway took in at or after it are counted.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: i64,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Default)]
struct Count {
    rows: u64,
    first: Option<u64>,
    last: Option<u64>,
}

impl AcceptedCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let place = self.data_dir.display();
        let reader = ArchiveReader::open(&self.data_dir).await;
        let reader = reader.with_context(|| format!("{place} holds no archive that opens"))?;
        let target = format!("{}/{} since {}", self.tenant, self.device, self.since);
        audit_read(&self.data_dir, "accepted_counted", &target).await?;
        let files = reader.files(None).await?;
        let (tenant, device, since) = (self.tenant.to_string(), self.device.to_string(), self.since);
        let counted = move || {
            let tables =
                Table::ALL.into_iter().filter(|table| ![Table::Audit, Table::Completeness].contains(table));
            let count = |table: Table| {
                let is_meant = |file: &&FileRow| file.table == table.name() && file.tenant == tenant;
                count(&reader, files.iter().filter(is_meant), &device, since).map(|count| (table, count))
            };
            tables.map(count).collect::<anyhow::Result<Vec<_>>>()
        };
        let counts = tokio::task::spawn_blocking(counted).await??;
        let mut listing = Listing::new(&["table", "rows", "first_offset", "last_offset"]);
        let mut total = 0;
        for (table, count) in counts {
            total += count.rows;
            listing.row([table.name().into(), count.rows.into(), count.first.into(), count.last.into()]);
        }
        listing.print(self.json)?;
        if !self.json {
            println!("{total} rows accepted from {}/{} since then", self.tenant, self.device);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn count<'a>(
    reader: &ArchiveReader,
    files: impl Iterator<Item = &'a FileRow>,
    device: &str,
    since_us: i64,
) -> anyhow::Result<Count> {
    let mut count = Count::default();
    for file in files {
        for batch in reader.read(file)? {
            count.add(&batch?, device, since_us).with_context(|| format!("read {}", file.path))?;
        }
    }
    Ok(count)
}

impl Count {
    fn add(&mut self, batch: &RecordBatch, device: &str, since_us: i64) -> anyhow::Result<()> {
        let column = |name| batch.column_by_name(name);
        let times = column("ingest_time").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let offsets = column("journal_offset").and_then(|c| c.as_primitive_opt::<UInt64Type>());
        let devices = column("device").and_then(|c| c.as_dictionary_opt::<Int32Type>());
        let names = devices.and_then(|devices| devices.values().as_string_opt::<i32>());
        let (Some(times), Some(offsets), Some(devices), Some(names)) = (times, offsets, devices, names)
        else {
            bail!("the columns device, ingest_time and journal_offset are not of this version");
        };
        for row in 0..batch.num_rows() {
            let is_of = devices.key(row).is_some_and(|key| names.value(key) == device);
            if is_of && times.value(row) >= since_us {
                let offset = offsets.value(row);
                self.rows += 1;
                self.first = Some(self.first.map_or(offset, |first| first.min(offset)));
                self.last = Some(self.last.map_or(offset, |last| last.max(offset)));
            }
        }
        Ok(())
    }
}
