//! `wardline archive verify`: catalog, files, hashes, keys, rows and streams against each other.

use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wardline_archive::read::ArchiveReader;
use wardline_archive::verify::{Verification, Verifier};

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(200);

const AFTER_HELP: &str = "\
Reads every committed file whole and decrypts it; changes nothing; works beside a running gateway.
Each discrepancy is one line that begins with its kind: missing, changed, unreadable, rows, times, tenant,
unseen, catalog; or stray and shredded, which are no damage: what no commit names is no part of the
archive, and a tenant's keys were destroyed on purpose.
Holes are frames that never came; `wardline archive show --counts` lists them.

Example:
  wardline archive verify --data-dir /var/lib/wardline

Exit codes: 0 all agrees, 1 something does not.";

/// Checks catalog, files, hashes, keys, rows and streams against each other, and names every discrepancy.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct VerifyCommand {
    /// The gateway's data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl VerifyCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let place = self.data_dir.display();
        let reader = ArchiveReader::open(&self.data_dir);
        let reader = reader.await.with_context(|| format!("{place} holds no archive that opens"))?;
        let mut verifier = Verifier::start(reader).await?;
        let total = verifier.remaining();
        let verifier = tokio::task::spawn_blocking(move || {
            let mut told_at = Instant::now();
            while verifier.step() {
                if told_at.elapsed() >= PROGRESS && std::io::stderr().is_terminal() {
                    told_at = Instant::now();
                    eprint!("\r{} of {total} files", total - verifier.remaining());
                    // Progress that cannot be shown is no failure.
                    let _ = std::io::stderr().flush();
                }
            }
            verifier
        });
        let found = verifier.await?.finish().await?;
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[2K");
        }
        if self.json {
            print_json(&found)
        } else {
            print_text(&found)
        }
        Ok(if found.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn print_text(found: &Verification) {
    found.discrepancies.iter().for_each(|discrepancy| println!("{discrepancy}"));
    if found.unlisted > 0 {
        println!("... and {} more", found.unlisted);
    }
    println!(
        "{} files, {} rows, {} bytes, {} streams with {} holes, {} replaced files waiting to be removed",
        found.files, found.rows, found.bytes, found.streams, found.holes, found.retired
    );
    if found.erased > 0 {
        println!(
            "{} rows of them are erased: no reader gets them, and their files are written again",
            found.erased
        );
    }
    println!("{}", if found.is_clean() { "clean" } else { "DAMAGED" });
}

fn print_json(found: &Verification) {
    let kind = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
    let discrepancies: Vec<_> = found
        .discrepancies
        .iter()
        .map(|discrepancy| {
            let text = discrepancy.to_string();
            json!({"kind": kind(&text), "is_damage": discrepancy.is_damage(), "text": text})
        })
        .collect();
    println!(
        "{}",
        json!({
            "clean": found.is_clean(),
            "files": found.files,
            "rows": found.rows,
            "bytes": found.bytes,
            "streams": found.streams,
            "holes": found.holes,
            "retired": found.retired,
            "erased": found.erased,
            "discrepancies": discrepancies,
            "unlisted": found.unlisted,
        })
    );
}
