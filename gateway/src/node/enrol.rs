//! The role that enrols devices.

use super::{NodeError, Parts, TaskKind};
use crate::enrol::{EnrolMetrics, EnrolParts, EnrolService, Revocations};
use std::sync::Arc;
use tokio::net::TcpListener;

impl Parts {
    /// Starts enrolment on a bound listener; returns our revocation list.
    pub(super) fn enrol(&mut self, on: TcpListener, mqtt_port: u16) -> Result<Arc<Revocations>, NodeError> {
        let metrics = EnrolMetrics::default();
        metrics.register(&mut self.registry);
        let parts = EnrolParts {
            pki: self.data.pki(),
            tls: self.tls.clone(),
            directory: self.directory.clone(),
            auditor: self.auditor.clone(),
            store: self.store.clone(),
            metrics,
            mqtt_port,
        };
        let service = EnrolService::new(self.options.enrol.clone(), on, parts)?;
        let revocations = service.revocations();
        self.tasks.spawn(TaskKind::Enrol, |stop| async move {
            service.run(stop).await;
            Ok(())
        });
        Ok(revocations)
    }
}
