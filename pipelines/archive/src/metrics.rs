//! What the archive counts. Labels are closed sets: never a device, never a tenant.

use crate::table::Table;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use wardline_proto::refusal::Refusal;

const COMMIT_SECONDS: [f64; 8] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// A table as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TableLabel {
    table: &'static str,
}

/// A refusal as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    reason: &'static str,
}

/// Counters of the archive worker.
#[derive(Debug)]
pub struct ArchiveMetrics {
    pub(crate) rows: Family<TableLabel, Counter>,
    pub(crate) files: Family<TableLabel, Counter>,
    pub(crate) bytes: Family<TableLabel, Counter>,
    pub(crate) quarantined: Family<ReasonLabel, Counter>,
    pub(crate) frames: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) late: Counter,
    pub(crate) retries: Counter,
    pub(crate) notices_dropped: Counter,
    pub(crate) swept: Counter,
    pub(crate) replayed: Counter,
    pub(crate) compacted_files: Counter,
    pub(crate) compaction_failures: Counter,
    pub(crate) missing_files: Gauge,
    pub(crate) store_away: Gauge,
    pub(crate) held_tenants: Gauge,
    pub(crate) held_records: Gauge,
    pub(crate) held_bytes: Gauge,
    pub(crate) next_offset: Gauge,
    pub(crate) lag: Gauge,
    pub(crate) commit_seconds: Histogram,
}

impl Default for ArchiveMetrics {
    fn default() -> Self {
        Self {
            rows: Family::default(),
            files: Family::default(),
            bytes: Family::default(),
            quarantined: Family::default(),
            frames: Counter::default(),
            duplicates: Counter::default(),
            late: Counter::default(),
            retries: Counter::default(),
            notices_dropped: Counter::default(),
            swept: Counter::default(),
            replayed: Counter::default(),
            compacted_files: Counter::default(),
            compaction_failures: Counter::default(),
            missing_files: Gauge::default(),
            store_away: Gauge::default(),
            held_tenants: Gauge::default(),
            held_records: Gauge::default(),
            held_bytes: Gauge::default(),
            next_offset: Gauge::default(),
            lag: Gauge::default(),
            commit_seconds: Histogram::new(COMMIT_SECONDS),
        }
    }
}

impl ArchiveMetrics {
    /// Registers all of them in `registry`, which carries the prefix `wardline`.
    pub fn register(&self, registry: &mut Registry) {
        let counter = |registry: &mut Registry, name, help, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        registry.register("archive_rows", "Rows committed", self.rows.clone());
        registry.register("archive_files", "Files committed", self.files.clone());
        registry.register("archive_bytes", "Bytes committed", self.bytes.clone());
        registry.register("archive_quarantined", "Frames in the quarantine", self.quarantined.clone());
        counter(registry, "archive_frames", "Frames archived", &self.frames);
        counter(registry, "archive_duplicates", "Frames that came again", &self.duplicates);
        counter(registry, "archive_late", "Frames after a later one", &self.late);
        counter(registry, "archive_retries", "Returns to the committed position", &self.retries);
        let help = "Notices of quarantined frames that found no room";
        counter(registry, "archive_notices_dropped", help, &self.notices_dropped);
        counter(registry, "archive_replayed", "Frames of the quarantine judged again", &self.replayed);
        counter(registry, "archive_swept_files", "Files removed, never committed", &self.swept);
        counter(registry, "archive_compacted_files", "Small files merged", &self.compacted_files);
        counter(registry, "archive_compaction_failures", "Merges that failed", &self.compaction_failures);
        registry.register("archive_missing_files", "Committed files not found", self.missing_files.clone());
        let help = "1 while the bucket of the archive is away or refuses";
        registry.register("archive_store_away", help, self.store_away.clone());
        let help = "Tenants held back: their keys are refused";
        registry.register("archive_held_tenants", help, self.held_tenants.clone());
        registry.register("archive_held_records", "Records held back", self.held_records.clone());
        registry.register("archive_held_bytes", "Bytes of records held back", self.held_bytes.clone());
        registry.register("archive_next_offset", "Committed position", self.next_offset.clone());
        registry.register("archive_lag_records", "Durable, not committed", self.lag.clone());
        registry.register("archive_commit_seconds", "Time of a commit", self.commit_seconds.clone());
    }

    pub(crate) fn count_file(&self, table: Table, rows: u64, bytes: u64) {
        let label = TableLabel { table: table.name() };
        self.rows.get_or_create(&label).inc_by(rows);
        self.files.get_or_create(&label).inc();
        self.bytes.get_or_create(&label).inc_by(bytes);
    }

    pub(crate) fn count_refused(&self, why: Refusal, frames: u64) {
        self.quarantined.get_or_create(&ReasonLabel { reason: why.code() }).inc_by(frames);
    }
}
