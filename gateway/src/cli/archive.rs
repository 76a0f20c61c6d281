//! `wardline archive`: placeholder.

use std::process::ExitCode;

/// Shows what the archive holds.
#[derive(Debug, clap::Args)]
pub struct ArchiveCommand {}

impl ArchiveCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not available in this build")
    }
}
