//! The `wardline-edge` command as a process of its own.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A run of `wardline-edge enrol`.
pub struct Enrolment {
    command: Command,
}

impl Enrolment {
    pub fn new(url: &str, claim: &str, device: &str, certs: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardline-edge"));
        command.args(["enrol", "--url", url, "--device", device, "--certs"]).arg(certs);
        command.env("WARDLINE_EDGE_CLAIM", claim);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command }
    }

    pub fn start(mut self) -> Child {
        self.command.spawn().unwrap()
    }

    /// Runs it while the test's own servers go on.
    pub async fn output(mut self) -> Output {
        tokio::task::spawn_blocking(move || self.command.output().unwrap()).await.unwrap()
    }
}
