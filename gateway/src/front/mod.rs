//! The front: accepts devices over mTLS and takes their publishes into the journal.
//!
//! ```text
//! accept -> TLS -> identity -> CONNECT -> { decode -> topic -> budget -> frame header -> append } -> durable -> PUBACK
//! ```
//! **Invariant:** identity comes from the verified certificate alone (SEC-1). **Invariant:** a device's PUBLISH never
//! reaches the router of the way down; the writer of a PUBACK takes a `Durable` (ACK-1).

mod admission;
mod budget;
mod codec;
mod connection;
mod devices;
mod downlink;
mod drain;
mod gates;
pub(crate) mod identity;
pub mod limits;
mod link;
mod listener;
mod metrics;
mod opening;
mod reply;
mod router;
mod session;
mod wire;

pub use admission::AdmissionOptions;
pub use budget::{BudgetOptions, Rate};
pub use devices::DeviceStats;
pub use downlink::{DownlinkHandle, Listening, NoticesFull};
pub use drain::DrainOptions;
pub use gates::Gates;
pub use limits::Deadlines;
pub use listener::{FrontHandle, FrontParts, FrontService};
pub use metrics::FrontMetrics;
pub(crate) use wardline_access::now_us;
pub use wardline_access::{LiveTls, TlsError, TlsMetrics};

pub use crate::audit::{Auditor, CannotAudit};

use crate::access::Directory;
use admission::Admission;
use codec::{Connect, Version};
use devices::Devices;
use downlink::Downlink;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use wardline_journal::{DurableWatch, Journal};
use wardline_proto::DeviceKey;
use wardline_proto::refusal::Refusal;

/// Most connections that a front may be set to.
pub const CONNECTIONS_MAX: usize = 65_536;

/// The front's settings.
#[derive(Debug, Clone)]
pub struct FrontOptions {
    /// Most connections at the same time, at most [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// Who may connect, and how fast.
    pub admission: AdmissionOptions,
    /// What each device may send.
    pub budget: BudgetOptions,
    /// Times that a peer has.
    pub deadlines: Deadlines,
    /// How it ends.
    pub drain: DrainOptions,
}

impl Default for FrontOptions {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            admission: AdmissionOptions::default(),
            budget: BudgetOptions::default(),
            deadlines: Deadlines::default(),
            drain: DrainOptions::default(),
        }
    }
}

/// What all connections share.
struct Front {
    options: FrontOptions,
    trust_domain: String,
    tls: Arc<LiveTls>,
    journal: Journal,
    directory: Arc<Directory>,
    auditor: Arc<Auditor>,
    admission: Admission,
    devices: Devices,
    downlink: Downlink,
    metrics: Arc<FrontMetrics>,
    /// What publishes of some tenants have to pass besides being durable.
    gates: Option<Gates>,
    /// Whether devices are being sent to other fronts.
    moving: AtomicBool,
}

impl Front {
    /// Returns what says when a device's publishes may be acknowledged: durable at least (ACK-1).
    fn acknowledgeable(&self, key: &DeviceKey) -> DurableWatch {
        let gated = self.gates.as_ref().and_then(|gates| gates.of(key));
        gated.unwrap_or_else(|| self.journal.durable())
    }

    /// Checks what a CONNECT claims against the certificate.
    fn check_connect(&self, connect: &Connect, key: &DeviceKey) -> Result<(), Refusal> {
        let id = connect.client_id.as_str();
        let is_own = id.is_empty()
            || id == key.device.as_str()
            || id.split_once('/') == Some((key.tenant.as_str(), key.device.as_str()));
        if !is_own {
            return Err(Refusal::IdentityClientId);
        }
        // A will would be published in the device's name without it. 3.1.1 cannot say so: there it is left unused.
        if connect.has_will && connect.version == Version::V5 {
            return Err(Refusal::TopicNotAuthorized);
        }
        self.auditor.refusal().map_or(Ok(()), Err)
    }

    /// Counts and audits a refusal before there is a session.
    fn refused_peer(&self, actor: &str, refusal: Refusal) {
        self.metrics.refused(refusal);
        if self.auditor.refused(actor, refusal, "connect").is_err() {
            tracing::error!(%refusal, "a refusal could not be audited");
        }
    }

    /// The same for a certificate that names nobody.
    fn refused_unnamed(&self, refusal: Refusal) {
        self.refused_peer("", refusal);
    }
}
