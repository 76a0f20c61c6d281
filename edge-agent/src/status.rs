//! `status.json` in the spool folder: what the agent last said of itself. Holds no patient data.

use crate::notices::Notice;
use crate::onboard::CertificateStatus;
use crate::spool::replace_volatile;
use crate::stats::AgentStats;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

const FILE: &str = "status.json";

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// When it was written, edge clock, unix microseconds.
    pub at_us: i64,
    /// False when the agent wrote it as it stopped.
    pub is_running: bool,
    /// The device, `tenant/device`.
    pub device: String,
    /// The spool's epoch.
    pub epoch: u64,
    /// The front that accepted the last connection, `HOST:PORT`; empty before the first.
    #[serde(default)]
    pub front: String,
    /// The certificate and how its renewal goes.
    #[serde(default)]
    pub certificate: CertificateStatus,
    /// What the gateway told the device or refused of it, newest first.
    #[serde(default)]
    pub notices: Vec<Notice>,
    /// The numbers.
    pub stats: AgentStats,
}

impl Status {
    /// Says how it stands in one line.
    pub fn summary(&self) -> String {
        let gateway = if self.stats.connected { "connected" } else { "not connected" };
        let waiting = self.stats.total().spooled;
        let days_left = self.certificate.days_left(self.at_us);
        format!("{gateway}, {waiting} frames wait, certificate ends in {days_left} days")
    }

    fn fmt_certificate(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificate = &self.certificate;
        if certificate.not_after_us == 0 {
            // Written by an agent that did not say.
            return Ok(());
        }
        let days_left = certificate.days_left(self.at_us);
        let warning =
            if certificate.is_ending(self.at_us) { " (WL-EDGE-008: not renewed in time)" } else { "" };
        writeln!(f, "identity   {days_left} days left, {} renewals{warning}", certificate.renewals)?;
        if certificate.failures > 0 {
            writeln!(f, "           {} failed: {}", certificate.failures, certificate.last_failure)?;
        }
        Ok(())
    }
}

/// Replaces the file of the spool in `spool_dir`.
pub(crate) fn write(spool_dir: &Path, status: &Status) -> io::Result<()> {
    replace_volatile(&spool_dir.join(FILE), &serde_json::to_vec(status)?)
}

/// Reads the file of the spool in `spool_dir`.
pub fn read(spool_dir: &Path) -> io::Result<Status> {
    Ok(serde_json::from_slice(&fs::read(spool_dir.join(FILE))?)?)
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = &self.stats;
        let agent = if self.is_running { "running" } else { "stopped" };
        let gateway = if stats.connected { "connected" } else { "not connected" };
        writeln!(f, "device     {}", self.device)?;
        writeln!(f, "epoch      {}", self.epoch)?;
        writeln!(f, "agent      {agent}")?;
        writeln!(
            f,
            "gateway    {gateway}, {}{}{} connections, lag {:.1} s",
            self.front,
            if self.front.is_empty() { "" } else { ", " },
            stats.connects,
            stats.ack_lag.as_secs_f64()
        )?;
        writeln!(
            f,
            "link       {} connections, acknowledged to {}",
            stats.link_connects, stats.link_acked_seq
        )?;
        self.fmt_certificate(f)?;
        let (lane, framed, sent, acked) = ("lane", "framed", "sent", "acked");
        let (spooled, dropped, refused) = ("spooled", "dropped", "refused");
        writeln!(
            f,
            "{lane:<10} {framed:>10} {sent:>10} {acked:>10} {spooled:>10} {dropped:>10} {refused:>10}"
        )?;
        for lane in stats.lanes.iter().chain([&stats.total()]) {
            write!(f, "{:<10} {:>10} {:>10} {:>10}", lane.lane, lane.framed, lane.sent, lane.acked)?;
            writeln!(f, " {:>10} {:>10} {:>10}", lane.spooled, lane.dropped, lane.refused)?;
        }
        if !self.notices.is_empty() {
            writeln!(f, "notices, newest first")?;
        }
        for notice in &self.notices {
            let ago_s = self.at_us.saturating_sub(notice.at_us).max(0) / 1_000_000;
            writeln!(f, "{ago_s:>8} s ago  {}", notice.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 24 * 3600 * 1_000_000;

    fn status() -> Status {
        let certificate = CertificateStatus {
            not_after_us: 30 * DAY_US,
            failures: 3,
            last_failure: "WL-EDGE-003: no route".to_owned(),
            ..CertificateStatus::default()
        };
        Status {
            at_us: 20 * DAY_US,
            is_running: true,
            device: "demo/m-1".to_owned(),
            epoch: 1,
            front: "gw:8883".to_owned(),
            certificate,
            notices: Vec::new(),
            stats: AgentStats::default(),
        }
    }

    #[test]
    fn a_certificate_that_ends_is_warned_of_and_its_failures_are_told() {
        let mut status = status();
        let shown = status.to_string();
        assert!(shown.contains("10 days left") && shown.contains("3 failed: WL-EDGE-003"), "{shown}");
        assert!(!shown.contains("WL-EDGE-008"), "{shown}");
        status.at_us = 26 * DAY_US;
        assert!(status.to_string().contains("4 days left, 0 renewals (WL-EDGE-008"), "{status}");
    }

    #[test]
    fn the_status_of_an_older_agent_is_read() {
        let mut json = serde_json::to_value(status()).unwrap();
        for added in ["front", "certificate", "notices"] {
            json.as_object_mut().unwrap().remove(added);
        }
        let status: Status = serde_json::from_value(json).unwrap();
        assert!(!status.to_string().contains("days left"), "{status}");
    }
}
