//! `wardline-query`: SQL over the encrypted archive, on its own so that analytics can never starve an alarm.
//!
//! Each statement opens a snapshot: one listing of the catalog, one session, keys unwrapped for it alone; statements of
//! a server share what was unwrapped ([`keys`]).

mod ask;
mod bus;
mod each;
mod error;
mod fhir;
mod footers;
mod functions;
mod growth;
mod keys;
mod lookups;
mod mask;
mod note;
mod opened;
mod output;
mod portions;
mod proven;
mod provider;
mod prune;
mod pseudonyms;
mod serve;
mod session;
mod slices;
mod snapshot;
mod struck;
mod table;
#[cfg(test)]
mod tests;
mod trunc;
mod unnested;
mod views;
mod wards;
mod widths;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Runs SQL over the archive of a data directory.
///
/// Views: vitals, ecg, latest (docs/query.md). Tables: numerics, waveforms, alarms, events, quarantine,
/// audit, completeness (docs/archive.md). `DESCRIBE vitals` lists columns.
#[derive(Debug, Parser)]
#[command(
    name = "wardline-query",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    ask: Option<ask::AskArgs>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("WARDLINE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().thread_stack_size(growth::STACK_BYTES).build();
    // On a thread of its own too: the main thread's stack is what the system gives.
    let done = runtime.map_err(Into::into).and_then(|runtime| {
        let running = runtime.spawn(run(cli));
        runtime.block_on(running).map_err(anyhow::Error::from)?
    });
    done.unwrap_or_else(|error| {
        eprintln!("wardline-query: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match (cli.command, cli.ask) {
        (Some(Command::Serve(args)), _) => serve::run(args).await.map(|()| ExitCode::SUCCESS),
        (None, Some(args)) => ask::run(args).await,
        (None, None) => Err(anyhow::anyhow!("a statement, or serve; --help tells more")),
    }
}
