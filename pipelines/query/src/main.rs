//! `wardline-query`: SQL over the encrypted archive, on its own so that analytics can never starve an alarm.
//!
//! Each run opens a snapshot: one listing of the catalog, one session, keys unwrapped for it alone.

mod output;
mod snapshot;
mod table;

use anyhow::Context;
use clap::Parser;
use output::Format;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use wardline_archive::read::audit_query;

/// Runs SQL over the archive of a data directory.
///
/// Tables: numerics, waveforms, alarms, events, quarantine, audit. `DESCRIBE numerics` lists columns;
/// docs/archive.md describes them.
#[derive(Debug, Parser)]
#[command(name = "wardline-query", version, max_term_width = 100)]
struct Cli {
    /// One SQL statement, such as "SELECT device, avg(value) FROM numerics GROUP BY device".
    sql: String,
    /// The gateway's data directory. The gateway may be running.
    #[arg(long, env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
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
    let session = snapshot::open(&cli.data_dir).await;
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
