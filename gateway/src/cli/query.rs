//! `wardline query`: hands over to `wardline-query`, a binary of its own.
//!
//! Analytics can never starve an alarm, and the gateway links no SQL engine.

use anyhow::{Context, bail};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const BINARY: &str = "wardline-query";

/// Runs SQL over the archive with `wardline-query`, which stands beside this binary or in the PATH.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct QueryCommand {
    /// Arguments of `wardline-query`; see `wardline query --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl QueryCommand {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let beside = std::env::current_exe().context("find this binary")?.with_file_name(BINARY);
        let binary = if beside.exists() { beside } else { PathBuf::from(BINARY) };
        match Command::new(&binary).args(self.arguments).status() {
            Ok(status) => Ok(status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .map_or(ExitCode::FAILURE, Into::into)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!(
                    "{BINARY} stands neither beside this binary nor in the PATH; build it: cargo build -p {BINARY}"
                )
            }
            Err(error) => Err(error).with_context(|| format!("run {}", binary.display())),
        }
    }
}
