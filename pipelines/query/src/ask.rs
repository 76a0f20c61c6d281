//! One statement from the command line.

use crate::error::QueryError;
use crate::output::{self, Answer, Format};
use crate::pseudonyms;
use crate::snapshot::{self, Scope};
use clap::Args;
use datafusion::dataframe::DataFrame;
use std::path::PathBuf;
use std::process::ExitCode;
use wardline_archive::read::audit_query;
use wardline_proto::TenantId;
use wardline_store::registry::Sites;

/// What a shell expects of a process that was interrupted.
const INTERRUPTED: u8 = 130;

/// A statement, and how its rows are given.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// One SQL statement, such as "SELECT device, avg(value) FROM vitals GROUP BY device".
    sql: String,
    /// The gateway's data directory. The gateway may be running.
    #[arg(long, env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// How rows are given. `arrow` is an IPC stream for other programs; `parquet` needs --output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Writes rows into this file, which only its owner may read. What is there is replaced when all rows are written.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only rows of this tenant.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Shows what a clinician of this site (ward) sees; may be repeated. With --tenant.
    #[arg(long = "site", visible_alias = "ward", value_name = "SITE", requires = "tenant")]
    sites: Vec<String>,
    /// Shows the views as an analyst sees them: pseudonyms for devices and subjects, coarse times. With --tenant.
    #[arg(long, requires = "tenant")]
    deidentified: bool,
    /// With --deidentified: times are cut down to steps of so many seconds.
    #[arg(long, default_value_t = pseudonyms::STEP_S, value_parser = clap::value_parser!(u32).range(1..))]
    time_step: u32,
}

/// Runs it. An interrupt ends it cleanly: no part of a file is left.
pub(crate) async fn run(args: AskArgs) -> anyhow::Result<ExitCode> {
    tokio::select! {
        done = answer(args) => done.map(|()| ExitCode::SUCCESS),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            eprintln!("wardline-query: interrupted");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

async fn answer(args: AskArgs) -> anyhow::Result<()> {
    let place = args.data_dir.display();
    let opens = |error: anyhow::Error| {
        QueryError::Archive(format!(
            "{place} holds no archive that opens: is it the --data-dir of `wardline serve`, with its keyring? {error:#}"
        ))
    };
    let mask = match &args.tenant {
        Some(tenant) if args.deidentified => {
            Some(pseudonyms::mask(&args.data_dir, tenant, args.time_step).await.map_err(opens)?)
        }
        _ => None,
    };
    let sites =
        (!args.sites.is_empty()).then(|| Sites::of(args.sites.iter().map(String::as_str))).transpose()?;
    let scope = Scope { tenant: args.tenant, sites, mask, ..Scope::default() };
    let opened = snapshot::open(&args.data_dir, &scope).await.map_err(opens)?;
    let state = opened.session.state();
    let plan = state.create_logical_plan(&args.sql).await.map_err(|error| {
        QueryError::Statement(format!(
            "{}; DESCRIBE and SHOW TABLES tell what there is",
            error.strip_backtrace()
        ))
    })?;
    snapshot::read_only().verify_plan(&plan).map_err(|_more| QueryError::NotRead)?;
    let rows = DataFrame::new(state, plan);
    output::check(args.format, args.output.as_deref(), rows.schema().as_arrow())?;
    // Nothing was read so far but the catalog; rows are when they are printed.
    audit_query(&args.data_dir, &args.sql, &snapshot::tables(&rows)?).await?;
    let planned = opened.planned(rows).await.map_err(|error| QueryError::told(&error))?;
    let note = planned.note().await?;
    let rows = planned.start().map_err(|error| QueryError::told(&error))?;
    output::give(Answer { rows, note }, args.format, args.output.as_deref()).await
}
