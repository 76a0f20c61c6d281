//! Our own binaries: built with the profile of this one, found beside it.

use anyhow::{Context, ensure};
use std::path::PathBuf;
use std::process::Command;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");

/// Builds the gateway and the agent.
pub(crate) fn build() -> anyhow::Result<()> {
    build_with("wardline and wardline-edge", &["--bins", "-p", "wardline", "-p", "wardline-edge"])
}

/// Builds the SQL engine's command, in the way that builds the engine once.
pub(crate) fn build_query() -> anyhow::Result<()> {
    build_with("wardline-query", &["--workspace", "--bin", "wardline-query"])
}

fn build_with(what: &str, arguments: &[&str]) -> anyhow::Result<()> {
    eprintln!("building {what}");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet"]).args(arguments);
    cargo.arg("--manifest-path").arg(MANIFEST);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    ensure!(cargo.status().context("cargo build")?.success(), "{what} does not build");
    Ok(())
}

/// Returns the path of one of our binaries.
pub(crate) fn path(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.is_file(), "{} is not there; run without --no-build", path.display());
    Ok(path)
}

/// Returns a command of one of our binaries; it logs warnings only, as the others do.
pub(crate) fn command(name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(path(name)?);
    command.env("WARDLINE_LOG", "warn");
    Ok(command)
}
