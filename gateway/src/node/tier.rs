//! The one place that knows whether this process is all there is, or one node among several.

use super::{NodeError, Parts, Role, TaskKind};
use crate::audit::AuditMetrics;
use crate::audit::relay::Relay;
use crate::front::Gates;
use std::sync::Arc;
use tokio::sync::mpsc;
use wardline_alert::{AlertFeed, AlertMetrics, AlertWorker};
use wardline_archive::{ArchiveHandle, ArchiveMetrics, ArchiveService, QuarantineNotice};

/// How the roles of this process get their records.
pub(super) enum Tier {
    /// From the journal of this process.
    One,
    /// From the bus, by partitions.
    #[cfg(feature = "cluster")]
    Many(Box<super::cluster::Cluster>),
}

impl Tier {
    #[cfg(feature = "cluster")]
    pub(super) async fn join(parts: &mut Parts) -> Result<Self, NodeError> {
        let cluster = super::cluster::Cluster::join(parts).await?;
        Ok(cluster.map_or(Self::One, |cluster| Self::Many(Box::new(cluster))))
    }

    /// Settings with a section `[cluster]` are refused by a build without it.
    #[cfg(not(feature = "cluster"))]
    #[expect(clippy::unused_async, reason = "the same form as with the feature")]
    pub(super) async fn join(_parts: &mut Parts) -> Result<Self, NodeError> {
        Ok(Self::One)
    }

    /// Brings the outbox into the chain: one node does at a time.
    pub(super) fn relay_audit(&self, parts: &mut Parts, metrics: AuditMetrics) {
        let mut relay =
            Relay::new(parts.auditor.clone(), parts.store.clone(), parts.keyring.clone(), metrics);
        match self {
            Self::One => parts.tasks.spawn(TaskKind::Audit, |stop| async move { relay.run(stop).await }),
            #[cfg(feature = "cluster")]
            Self::Many(cluster) => cluster.relay_audit(parts, relay),
        }
    }

    /// Returns what says why this node cannot work with the others.
    pub(super) fn trouble(&self) -> Option<super::http::Trouble> {
        match self {
            Self::One => None,
            #[cfg(feature = "cluster")]
            Self::Many(cluster) => Some(cluster.trouble()),
        }
    }

    /// Returns what publishes have to pass besides being durable here.
    #[cfg_attr(
        not(feature = "cluster"),
        expect(unused_variables, reason = "one node has no further condition")
    )]
    pub(super) fn gates(&self, parts: &mut Parts) -> Option<Gates> {
        match self {
            Self::One => None,
            #[cfg(feature = "cluster")]
            Self::Many(cluster) => cluster.gates(parts),
        }
    }

    /// Archives.
    pub(super) async fn archive(
        &self,
        parts: &mut Parts,
        notices: Option<mpsc::Sender<QuarantineNotice>>,
    ) -> Result<Option<ArchiveHandle>, NodeError> {
        match self {
            Self::One => parts.archive(notices).await.map(Some),
            #[cfg(feature = "cluster")]
            Self::Many(cluster) => {
                cluster.archive(parts).await?;
                Ok(None)
            }
        }
    }

    /// Decides on alarms.
    pub(super) async fn alert(
        &self,
        parts: &mut Parts,
    ) -> Result<Option<(AlertFeed, Arc<AlertMetrics>)>, NodeError> {
        let decides = parts.options.roles.has(Role::Alert);
        match self {
            Self::One if decides => parts.alert().await.map(Some),
            Self::One => Ok(None),
            // Whoever serves subscribers reads what others decide.
            #[cfg(feature = "cluster")]
            Self::Many(cluster) => {
                let told = decides || parts.options.roles.has(Role::Api);
                if told { cluster.alert(parts).await.map(Some) } else { Ok(None) }
            }
        }
    }
}

impl Parts {
    pub(super) async fn archive(
        &mut self,
        notices: Option<mpsc::Sender<QuarantineNotice>>,
    ) -> Result<ArchiveHandle, NodeError> {
        let metrics = Arc::new(ArchiveMetrics::default());
        metrics.register(self.registry.sub_registry_with_prefix("wardline"));
        let mut options = self.options.archive.clone();
        options.dir = self.data.archive();
        let (journal, store) = (self.journal.clone(), self.store.clone());
        let mut service = ArchiveService::new(options, journal, store, self.keyring.clone(), metrics);
        if let Some(notices) = notices {
            service = service.with_notices(notices);
        }
        service.probe().await?;
        let handle = service.handle();
        self.tasks.spawn(TaskKind::Archive, |stop| async move {
            service.run(stop).await.map_err(|error| error.to_string())
        });
        Ok(handle)
    }

    pub(super) async fn alert(&mut self) -> Result<(AlertFeed, Arc<AlertMetrics>), NodeError> {
        let metrics = Arc::new(AlertMetrics::default());
        metrics.register(&mut self.registry);
        let (journal, store) = (self.journal.clone(), self.store.clone());
        let options = self.options.alert.clone();
        let worker = AlertWorker::new(options, journal, store, self.keyring.clone(), metrics.clone())?;
        let feed = worker.feed();
        self.watch_alerts(&worker, metrics.clone());
        self.webhooks(feed.clone(), metrics.clone()).await?;
        self.tasks.spawn(TaskKind::Alert, |stop| async move {
            worker.run(stop).await.map_err(|error| error.to_string())
        });
        Ok((feed, metrics))
    }
}
