//! `wardline-query`: SQL over the encrypted archive, on its own so that analytics can never starve an alarm.
//!
//! Each run opens a snapshot: one listing of the catalog, one session, keys unwrapped for it alone.

mod functions;
mod ledger;
mod lookups;
mod mask;
mod output;
mod prune;
mod pseudonyms;
mod snapshot;
mod table;
mod views;

use anyhow::Context;
use clap::Parser;
use output::Format;
use snapshot::Scope;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use wardline_archive::read::audit_query;
use wardline_proto::TenantId;

/// Runs SQL over the archive of a data directory.
///
/// Views: vitals, ecg, latest (docs/query.md). Tables: numerics, waveforms, alarms, events, quarantine, audit
/// (docs/archive.md). `DESCRIBE vitals` lists columns.
#[derive(Debug, Parser)]
#[command(name = "wardline-query", version, max_term_width = 100)]
struct Cli {
    /// One SQL statement, such as "SELECT device, avg(value) FROM numerics GROUP BY device".
    sql: String,
    /// The gateway's data directory. The gateway may be running.
    #[arg(long, env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Only rows of this tenant.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Shows the views as an analyst sees them: pseudonyms for devices and subjects, coarse times. With --tenant.
    #[arg(long, requires = "tenant")]
    deidentified: bool,
    /// With --deidentified: times are cut down to steps of so many seconds.
    #[arg(long, default_value_t = pseudonyms::STEP_S, value_parser = clap::value_parser!(u32).range(1..))]
    time_step: u32,
    /// How rows are printed. `arrow` is an IPC stream for other programs.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("WARDLINE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wardline-query: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let place = cli.data_dir.display().to_string();
    let mask = match &cli.tenant {
        Some(tenant) if cli.deidentified => {
            Some(pseudonyms::mask(&cli.data_dir, tenant, cli.time_step).await?)
        }
        _ => None,
    };
    let session = snapshot::open(&cli.data_dir, &Scope { tenant: cli.tenant, mask }).await;
    let session = session.with_context(|| {
        format!(
            "{place} holds no archive that opens: is it the --data-dir of `wardline serve`, with its keyring?"
        )
    })?;
    let rows = session.sql_with_options(&cli.sql, snapshot::read_only()).await;
    let rows = rows.context("the statement does not run; DESCRIBE and SHOW TABLES tell what there is")?;
    // Nothing was read so far but the catalog; rows are when they are printed.
    audit_query(&cli.data_dir, &cli.sql, &snapshot::tables(&rows)?).await?;
    output::print(rows, cli.format).await
}
