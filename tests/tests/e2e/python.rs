//! Python from the tests' own virtual environment, and the protocol's stubs for it.

use crate::process::run;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the root of the checkout.
pub(crate) fn root() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests crate lies in the checkout")
}

/// Returns the interpreter with the packages of tests/requirements.txt. Missing is an error, never a skip.
pub(crate) fn interpreter() -> anyhow::Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let venv = std::env::var_os("WARDLINE_VENV").map(PathBuf::from);
    let venv = venv
        .or_else(|| Some(cache?.join("wardline/venv")))
        .context("neither WARDLINE_VENV nor HOME is set")?;
    let python = venv.join("bin/python");
    ensure!(python.exists(), "{} is missing: tests/run installs it", python.display());
    Ok(python)
}

/// Returns a command that runs `script` of the checkout with `stubs` importable.
pub(crate) fn script(script: &str, stubs: Option<&Path>) -> anyhow::Result<Command> {
    let mut command = Command::new(interpreter()?);
    command.arg(root()?.join(script)).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    if let Some(stubs) = stubs {
        command.env("PYTHONPATH", stubs);
    }
    Ok(command)
}

/// Generates the Python stubs of `proto/` into `folder`, as any user of the protocol would.
pub(crate) fn generate_stubs(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let proto = root()?.join("proto");
    let mut command = Command::new(interpreter()?);
    command.args(["-m", "grpc_tools.protoc", "-I"]).arg(&proto);
    command.arg(format!("--python_out={}", folder.display()));
    command.arg(format!("--grpc_python_out={}", folder.display()));
    let files = ["frame", "link", "journal", "alerts", "registry"];
    run(command.args(files.map(|name| format!("wardline/v1/{name}.proto")))).map(drop)
}
