//! What runs beside the alarm engine: time, which acts on alerts, and the watch over the alarm service.

use super::{NodeError, Parts, TaskKind};
use crate::alert_service::Webhooks;
use std::sync::Arc;
use wardline_alert::{AlertDesk, AlertFeed, AlertMetrics, AlertWorker, Watchdog, WatchdogOptions};

impl Parts {
    /// Starts the sinks of the settings; before the engine, whose first alert is theirs too.
    pub(super) async fn webhooks(
        &mut self,
        feed: AlertFeed,
        metrics: Arc<AlertMetrics>,
    ) -> Result<(), NodeError> {
        let webhooks = Webhooks::load(&self.options.webhooks).map_err(NodeError::Webhooks)?;
        webhooks.expect(&self.store).await?;
        if !webhooks.is_empty() {
            self.tasks.spawn(TaskKind::Webhooks, |stop| async move {
                webhooks.run(feed, metrics, stop).await;
                Ok(())
            });
        }
        Ok(())
    }

    /// Starts both. They are no part of the engine: they go on when it does not.
    pub(super) fn watch_alerts(&mut self, worker: &AlertWorker, metrics: Arc<AlertMetrics>) {
        let (feed, durable) = (worker.feed(), self.journal.durable());
        let desk = AlertDesk::new(feed.clone());
        let watchdog = Watchdog::new(WatchdogOptions::default(), feed, durable, metrics, worker.rules());
        self.tasks.spawn(TaskKind::AlertWatch, |stop| async move {
            desk.run(stop).await;
            Ok(())
        });
        self.tasks.spawn(TaskKind::AlertWatch, |stop| async move {
            watchdog.run(stop).await;
            Ok(())
        });
    }
}
