//! rumqttd 0.20 as its own binary: installed on demand outside the workspace, client certificates required.

use super::program;
use crate::lab::{Lab, Place};
use anyhow::{Context, ensure};
use std::path::PathBuf;
use std::process::Command;

const VERSION: &str = "0.20.0";

/// Installs the broker when it is not there. Its lock file does not compile on this toolchain, so without `--locked`.
pub(super) fn install() -> anyhow::Result<()> {
    let root = root()?;
    if binary()?.is_file() {
        return Ok(());
    }
    eprintln!("installing rumqttd {VERSION} into {} (several CPU minutes, once)", root.display());
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", "rumqttd", "--version", VERSION, "--features", "verify-client-cert", "--root"]);
    cargo.arg(&root).env("CARGO_TARGET_DIR", root.join("target")).current_dir("/");
    ensure!(cargo.status().context("cargo install")?.success(), "rumqttd did not install");
    Ok(())
}

fn root() -> anyhow::Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(cache.join("wardline").join("rumqttd"))
}

fn binary() -> anyhow::Result<PathBuf> {
    Ok(root()?.join("bin").join("rumqttd"))
}

/// Returns the command that serves in `place`.
pub(super) fn command(lab: &Lab, place: &Place) -> anyhow::Result<Command> {
    let config = place.folder.join("rumqttd.toml");
    std::fs::write(&config, configuration(lab, place))?;
    let mut command = program(binary()?);
    command.arg("-c").arg(config);
    Ok(command)
}

/// It trusts only the first certificate of `capath`: that is the root, and clients send the issuing one along.
fn configuration(lab: &Lab, place: &Place) -> String {
    let pki = lab.pki();
    let pki = pki.display();
    format!(
        "id = 0\n\
         [router]\nid = 0\nmax_connections = 10010\nmax_outgoing_packet_count = 200\n\
         max_segment_size = 1048576\nmax_segment_count = 10\n\
         [v4.1]\nname = \"v4-1\"\nlisten = \"127.0.0.1:{}\"\nnext_connection_delay_ms = 0\n\
         [v4.1.tls]\ncapath = \"{pki}/ca.pem\"\ncertpath = \"{pki}/server.pem\"\nkeypath = \"{pki}/server.key\"\n\
         [v4.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 1048576\n\
         max_inflight_count = 500\ndynamic_filters = true\n",
        place.ports[0]
    )
}
