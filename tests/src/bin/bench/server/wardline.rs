//! The gateway: the real binary with a data folder of its own.

use super::{Keeping, binaries};
use crate::lab::{Lab, Place};
use std::path::PathBuf;
use std::process::Command;

/// Returns the data folder of a gateway's place.
pub(crate) fn data(place: &Place) -> PathBuf {
    place.folder.join("data")
}

/// Returns the command that serves it.
pub(super) fn command(lab: &Lab, place: &Place, keeping: Keeping) -> anyhow::Result<Command> {
    let mut command = binaries::command("wardline")?;
    command.arg("serve").arg("--data-dir").arg(data(place));
    for (flag, port) in ["--mqtt", "--grpc", "--http"].iter().zip(place.ports) {
        command.arg(flag).arg(format!("127.0.0.1:{port}"));
    }
    command.args(["--est", "127.0.0.1:0"]);
    if keeping == Keeping::Throughput {
        command.args(["--roles", &lab.setup.roles]);
    }
    Ok(command)
}
