//! The keeper: saves watermarks, lets the logs drop what is settled, writes the status file, notices a failed log.

use crate::clock::now_us;
use crate::notices::Notices;
use crate::onboard::Standing;
use crate::options::AgentOptions;
use crate::service_manager;
use crate::spool::{Spool, SpoolError};
use crate::stats::Counters;
use crate::status::{self, Status};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use wardline_proto::DeviceKey;

pub(crate) struct Keeper {
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    standing: Arc<Standing>,
    notices: Arc<Notices>,
    device: DeviceKey,
    spool_dir: PathBuf,
    save_interval: Duration,
    status_interval: Option<Duration>,
    status_due: Instant,
}

impl Keeper {
    pub(crate) fn new(
        options: &AgentOptions,
        device: &DeviceKey,
        spool: Arc<Spool>,
        counters: Arc<Counters>,
        standing: Arc<Standing>,
        notices: Arc<Notices>,
    ) -> Self {
        Self {
            spool,
            counters,
            standing,
            notices,
            device: device.clone(),
            spool_dir: options.spool_dir.clone(),
            save_interval: options.save_interval,
            status_interval: options.status_interval,
            status_due: Instant::now(),
        }
    }

    /// Runs until `stop` turns true. An error is a failed spool.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), SpoolError> {
        loop {
            let stopped = tokio::time::timeout(self.save_interval, stop.wait_for(|stop| *stop)).await.is_ok();
            if self.spool.has_failed() {
                return Err(SpoolError::Failed);
            }
            let spool = Arc::clone(&self.spool);
            let save = move || spool.save_progress();
            let saved = tokio::task::spawn_blocking(save).await.map_err(|_| SpoolError::Failed)?;
            if let Err(error) = saved {
                // Not saved means sent again after a restart, not lost; the next turn tries again.
                tracing::error!(%error, "the acknowledged positions were not saved");
            }
            // Beside the save, so that a disk that hangs lets the service manager's watchdog bark.
            service_manager::is_alive();
            self.write_status(stopped);
            if stopped {
                return Ok(());
            }
        }
    }

    fn write_status(&mut self, is_last: bool) {
        let Some(interval) = self.status_interval else { return };
        let now = Instant::now();
        if now < self.status_due && !is_last {
            return;
        }
        self.status_due = now + interval;
        let at_us = now_us();
        let status = Status {
            at_us,
            is_running: !is_last,
            device: self.device.to_string(),
            epoch: self.spool.epoch(),
            front: self.standing.front(),
            certificate: self.standing.certificate(),
            notices: self.notices.all(),
            stats: self.counters.snapshot(at_us),
        };
        if !is_last {
            service_manager::is_doing(&status.summary());
        }
        if let Err(error) = status::write(&self.spool_dir, &status) {
            tracing::warn!(%error, "the status file was not written");
        }
    }
}
