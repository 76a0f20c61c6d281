//! `wardline demo`: placeholder.

use std::process::ExitCode;

/// Shows the whole path at work.
#[derive(Debug, clap::Args)]
pub struct DemoCommand {}

impl DemoCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not available in this build")
    }
}
