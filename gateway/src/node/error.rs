//! Why a node does not start, or does not stop in order.

use super::TaskKind;
use crate::alert_service::WebhookError;
use crate::audit::AuditError;
use crate::enrol::EnrolError;
use crate::front::TlsError;
use crate::operate::OperateError;
use crate::pki::PkiError;
use std::net::SocketAddr;
use wardline_alert::AlertError;
use wardline_archive::ArchiveError;
use wardline_journal::{KeyError, OpenError};
use wardline_store::StoreError;

/// Says why a node did not start or did not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A port could not be bound.
    #[error("{what} on {addr}: {error}")]
    Bind {
        /// Which listener.
        what: &'static str,
        /// Where.
        addr: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The data directory is not one.
    #[error(transparent)]
    DataDir(#[from] OperateError),
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Enrolment.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Keys.
    #[error("keyring.json: {0}")]
    Key(#[from] KeyError),
    /// The journal.
    #[error("journal: {0}")]
    Journal(#[from] OpenError),
    /// The journal is not the one that the database's positions count in.
    #[error(
        "{}: the journal in {} is not the one that the database knows, {known}; put back the right folder, docs/errors has the rest",
        wardline_proto::refusal::Refusal::JournalForeign.code(),
        .folder.display()
    )]
    JournalForeign {
        /// Where this one is.
        folder: std::path::PathBuf,
        /// The id of the known one.
        known: String,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The place of the archive's files.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The audit chain.
    #[error("audit: {0}")]
    Audit(#[from] AuditError),
    /// The alarm engine.
    #[error("alert worker: {0}")]
    Alert(#[from] AlertError),
    /// Where alerts are sent to besides.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Webhooks(Vec<WebhookError>),
    /// The bus between nodes.
    #[cfg(feature = "cluster")]
    #[error("bus: {0}")]
    Bus(#[from] wardline_bus::BusError),
    /// The journal's way onto the bus.
    #[cfg(feature = "cluster")]
    #[error("relay: {0}")]
    Outlet(String),
    /// A task panicked or was cut off.
    #[error("{0:?} did not end in order")]
    Task(TaskKind),
}
