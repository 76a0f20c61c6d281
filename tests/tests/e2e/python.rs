//! Python from the tests' own virtual environment, and the protocol's stubs for it.

use crate::process::run;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;
use wardline_tests::installed::program;

/// Returns the root of the checkout.
pub(crate) fn root() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests crate lies in the checkout")
}

/// Returns the interpreter with the packages of tests/requirements.txt. Missing is an error, never a skip.
pub(crate) fn interpreter() -> anyhow::Result<PathBuf> {
    program("python").map_err(anyhow::Error::msg)
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
