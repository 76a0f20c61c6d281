//! `wardline alerts`: placeholder.

use std::process::ExitCode;

/// Follows and lists alerts.
#[derive(Debug, clap::Args)]
pub struct AlertsCommand {}

impl AlertsCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not available in this build")
    }
}
