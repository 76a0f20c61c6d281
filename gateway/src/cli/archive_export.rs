//! `wardline archive export`: a copy for readers that know one key.

use super::archive::parse_table;
use super::registry::parse_time;
use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use wardline_archive::Table;
use wardline_archive::export::{ExportedFile, Wanted, export, export_key};
use wardline_archive::read::{ArchiveReader, audit_read};
use wardline_proto::TenantId;

/// What is exported when nothing else is said.
const TABLES: [Table; 5] =
    [Table::Numerics, Table::Waveforms, Table::Alarms, Table::Events, Table::Completeness];

const AFTER_HELP: &str = "\
The trade-off: the archive's own files keep identifiers and measurements under keys of their own, which are granted
apart, renewed and destroyed. An export is a copy under one key: whoever has it reads all columns of all rows, and a
shredded or erased tenant lives on in it. PyArrow, and DuckDB and Polars through it, need no export: they read the
archive itself (docs/examples/read_archive.py). Export for DuckDB alone, give the key on another way than the files,
and delete both when they are done with.

The key is new for each export: base64 of 32 bytes, in a file of mode 0600. Audited before anything is read.

Example:
  wardline archive export --tenant st-mary --from 2026-11-20T00:00:00Z --to 2026-11-21T00:00:00Z \\
    --out export --key-file export.key --data-dir data
  WARDLINE_EXPORT_KEY=$(cat export.key) python docs/examples/read_export.py --dir export --sql 'SHOW TABLES'";

/// Exports a tenant's rows of a time as Parquet under one key, which DuckDB reads alone.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ExportCommand {
    /// The gateway's data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Whose rows.
    #[arg(long)]
    tenant: TenantId,
    /// Rows at or after this time, by device time; of `completeness` by its hour.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: i64,
    /// Rows before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: i64,
    /// Folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// File to make for the key; not in the folder.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Tables, with commas; numerics, waveforms, alarms, events and completeness when it is not given.
    #[arg(long, value_delimiter = ',', value_parser = parse_table)]
    tables: Vec<Table>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl ExportCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        ensure!(self.from < self.to, "--from is not before --to");
        ensure!(!self.key_file.starts_with(&self.out), "the key does not go into the folder that it opens");
        ensure!(!self.out.try_exists()?, "{} is there already", self.out.display());
        let reader = ArchiveReader::open(&self.data_dir).await;
        let reader =
            reader.with_context(|| format!("{} holds no archive that opens", self.data_dir.display()))?;
        let tables = if self.tables.is_empty() { TABLES.to_vec() } else { self.tables.clone() };
        let names: Vec<_> = tables.iter().map(|table| table.name()).collect();
        let target = format!("{} from {} to {} tables {}", self.tenant, self.from, self.to, names.join(","));
        audit_read(&self.data_dir, "archive_exported", &target).await?;
        let key = export_key()?;
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.key_file)
            .with_context(|| format!("make {}", self.key_file.display()))?;
        writeln!(file, "{}", STANDARD.encode(key))?;
        file.sync_all()?;
        let files = reader.files(None).await?;
        let wanted =
            Wanted { tenant: self.tenant.as_str().to_owned(), tables, from_us: self.from, to_us: self.to };
        let out = self.out.clone();
        let work = move || export(&reader, &files, &wanted, &key, &out);
        let written = tokio::task::spawn_blocking(work).await??;
        self.print(&written);
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, written: &[ExportedFile]) {
        if self.json {
            let files: Vec<_> = written
                .iter()
                .map(|f| json!({"name": f.name, "table": f.table.name(), "rows": f.rows, "bytes": f.bytes}))
                .collect();
            println!("{}", json!({"files": files}));
            return;
        }
        written.iter().for_each(|file| println!("{} {} rows {} bytes", file.name, file.rows, file.bytes));
        let (out, key) = (self.out.display(), self.key_file.display());
        println!("{} files in {out}, all of it readable with the key in {key}", written.len());
    }
}
