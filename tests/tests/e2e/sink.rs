//! A receiver of webhooks that fails on purpose (Python), and what a gateway is told of it.

use crate::process::Process;
use crate::python;
use crate::stand::{Stand, TENANT};
use anyhow::{Context, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A running receiver.
pub(crate) struct Sink {
    pub(crate) process: Process,
    log: PathBuf,
    /// `[[alerts.webhook]]` of it.
    pub(crate) settings: String,
}

impl Sink {
    /// Starts one with the server's certificate; the first requests meet `faults`.
    pub(crate) fn start(stand: &Stand, port: u16, faults: &[&str]) -> anyhow::Result<Self> {
        let secret = stand.path("webhook.secret");
        std::fs::write(&secret, "5f1c7a0e9b2d4c6f8a1b3d5e7f901234\n")?;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
        let settings = format!(
            "[[alerts.webhook]]\nname = \"paging\"\nurl = \"https://localhost:{port}/alerts\"\ntenant = \"{TENANT}\"\n\
             secret_file = {secret:?}\nca_file = {:?}\nkinds = [\"physiological\"]\ntimeout_s = 1\nheartbeat_s = 1\n",
            stand.data().join("pki/ca.pem")
        );
        let mut command = python::script("tests/python/faulty_webhook.py", None)?;
        command.arg("--port").arg(port.to_string()).arg("--secret").arg(&secret);
        command.arg("--cert").arg(stand.data().join("pki/server.pem"));
        command.arg("--key").arg(stand.data().join("pki/server.key"));
        command.args(["--faults", &faults.join(",")]);
        let log = stand.path("webhook.log");
        Ok(Self { process: Process::start("receiver", &mut command, &log)?, log, settings })
    }

    /// Returns cursor and alert of every event that it handled, in order; each event is handled once.
    pub(crate) fn heard(&self) -> anyhow::Result<Vec<(u64, String)>> {
        let text = std::fs::read_to_string(&self.log)?;
        ensure!(!text.lines().any(|line| line == "bad"), "a request that is not genuine:\n{text}");
        events(&text)
    }
}

/// Reads cursor and alert id of each event that a subscriber printed.
pub(crate) fn events(text: &str) -> anyhow::Result<Vec<(u64, String)>> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let event = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line)?;
        let cursor = value["cursor"].as_u64().context("a cursor")?;
        Ok((cursor, value["alert_id"].as_str().context("an alert id")?.to_owned()))
    };
    lines.map(event).collect()
}
