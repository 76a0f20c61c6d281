//! `/metrics`, `/livez`, `/readyz`.

use super::TaskKind;
use crate::enrol::Revocations;
use crate::front::FrontHandle;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use wardline_journal::{DurableState, Journal};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Says what is in the way of this node's work, or not there yet, in words for an operator.
pub(super) type Trouble = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What is shown.
pub(super) struct HttpState {
    pub(super) registry: Registry,
    pub(super) journal: Journal,
    pub(super) metrics: JournalMetrics,
    pub(super) front: Option<FrontHandle>,
    pub(super) revocations: Option<Arc<Revocations>>,
    pub(super) ended: watch::Receiver<Option<TaskKind>>,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) trouble: Option<Trouble>,
}

/// The journal's counters, brought up to date when they are asked for.
#[derive(Default)]
pub(super) struct JournalMetrics {
    bytes: Gauge,
    segments: Gauge,
    records: Gauge,
    syncs: Gauge,
    sync_us_max: Gauge,
    queue_bytes: Gauge,
    room_bytes: Gauge,
    refused_full: Gauge,
    failed: Gauge,
}

impl JournalMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let journal = registry.sub_registry_with_prefix("wardline_journal");
        journal.register("bytes", "Bytes of all segment files", self.bytes.clone());
        journal.register("segments", "Segment files", self.segments.clone());
        journal.register("records", "Records made durable since the start", self.records.clone());
        journal.register("syncs", "Data syncs since the start", self.syncs.clone());
        journal.register("sync_us_max", "Longest data sync since the start", self.sync_us_max.clone());
        journal.register("queue_bytes", "Bytes that wait to become durable", self.queue_bytes.clone());
        journal.register("room_bytes", "Bytes allocated for records to come", self.room_bytes.clone());
        journal.register("refused_full", "Records refused at a bound", self.refused_full.clone());
        journal.register("failed", "1 when a write or sync failed", self.failed.clone());
    }

    fn update(&self, journal: &Journal) {
        let stats = journal.stats();
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.bytes, stats.bytes);
        set(&self.segments, stats.segments);
        set(&self.records, stats.records);
        set(&self.syncs, stats.syncs);
        set(&self.sync_us_max, stats.sync_us_max);
        set(&self.queue_bytes, stats.queue_bytes);
        set(&self.room_bytes, stats.room_bytes);
        set(&self.refused_full, stats.refused_full);
        set(&self.failed, u64::from(has_failed(journal)));
    }
}

/// Serves until it is told to stop.
pub(super) async fn serve(
    on: TcpListener,
    state: Arc<HttpState>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/crl", get(crl))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(state);
    let served = axum::serve(on, router).into_future();
    tokio::select! {
        served = served => served.map_err(|error| error.to_string()),
        // A scrape that is cut off is asked for again.
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    }
}

async fn metrics(State(state): State<Arc<HttpState>>) -> Response {
    state.metrics.update(&state.journal);
    let mut text = String::new();
    match encode(&mut text, &state.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The revocation list is no secret, and who has no certificate yet must be able to read it.
async fn crl(State(state): State<Arc<HttpState>>) -> Response {
    match &state.revocations {
        Some(revocations) => revocations.response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Ready is who can acknowledge and will go on to: the journal works, audit can be written, every vital task runs,
/// nothing is in the way that an operator has to see to, its part of what several nodes share is taken up, and nobody
/// has told the node to stop.
async fn ready(State(state): State<Arc<HttpState>>) -> (StatusCode, String) {
    let why = if *state.draining.borrow() {
        Some("draining".to_owned())
    } else if has_failed(&state.journal) {
        Some("the journal has failed".to_owned())
    } else if state.front.as_ref().is_some_and(|front| !front.can_audit()) {
        Some("audit events cannot be journaled".to_owned())
    } else {
        let ended = (*state.ended.borrow()).map(|kind| format!("{kind:?} has ended"));
        ended.or_else(|| state.trouble.as_ref().and_then(|trouble| trouble()))
    };
    why.map_or((StatusCode::OK, "ok\n".to_owned()), |why| {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
    })
}

fn has_failed(journal: &Journal) -> bool {
    journal.durable().current() == DurableState::Failed
}
