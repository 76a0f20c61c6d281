//! Debian's mosquitto: TLS 1.3, client certificates required, queues unbounded so that nothing is lost by limit.

use super::{Keeping, program};
use crate::lab::{Lab, Place};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian installs it where a user's path may not lead.
const PATHS: [&str; 3] = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"];

/// Finds the broker.
pub(super) fn find() -> anyhow::Result<PathBuf> {
    let found = PATHS.iter().map(Path::new).find(|path| path.is_file());
    found
        .map(Path::to_owned)
        .context("mosquitto is missing: apt-get install mosquitto, or leave it out with --servers")
}

/// Returns the command that serves in `place`.
pub(super) fn command(lab: &Lab, place: &Place, keeping: Keeping) -> anyhow::Result<Command> {
    let config = place.folder.join("mosquitto.conf");
    std::fs::write(&config, configuration(lab, place, keeping))?;
    let mut command = program(find()?);
    command.arg("-c").arg(config);
    Ok(command)
}

fn configuration(lab: &Lab, place: &Place, keeping: Keeping) -> String {
    let pki = lab.pki();
    let pki = pki.display();
    let folder = place.folder.display();
    let persistence = match keeping {
        Keeping::Throughput => "persistence false\n".to_owned(),
        keeping => format!("persistence true\npersistence_location {folder}/\n{}", autosave(keeping)),
    };
    format!(
        "listener {} 127.0.0.1\nsocket_domain ipv4\nset_tcp_nodelay true\ncafile {pki}/ca.pem\n\
         certfile {pki}/server.pem\nkeyfile {pki}/server.key\nrequire_certificate true\ntls_version tlsv1.3\n\
         allow_anonymous true\nmax_queued_messages 0\nuser root\nlog_type error\nlog_type warning\n{persistence}",
        place.ports[0]
    )
}

fn autosave(keeping: Keeping) -> &'static str {
    match keeping {
        Keeping::Throughput | Keeping::Default => "",
        Keeping::AutosaveSecond => "autosave_interval 1\n",
        Keeping::AutosaveChanges => "autosave_interval 1000\nautosave_on_changes true\n",
    }
}
