//! Every bound of the HTTPS port, in one place (LIM-1), and what an operator may change.

use crate::front::Rate;
use crate::tls_listener::TlsBounds;
use std::time::Duration;

/// Largest body of a request, bytes. A PKCS#10 of RSA 4096 is below 2 KiB.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;
/// Largest head of a request, bytes.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a head may take, and how long a connection may say nothing.
pub(super) const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long a body may take.
pub(super) const BODY_MAX: Duration = Duration::from_secs(10);
/// How long a connection may live.
pub(super) const CONNECTION_MAX: Duration = Duration::from_secs(120);
/// After a stop, requests have this long to be answered.
pub(super) const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Addresses whose rates are kept apart; more share one bucket.
pub(super) const SOURCES_MAX: usize = 4096;
/// Manufacturers whose factory certificates are taken.
pub(super) const MANUFACTURERS_MAX: usize = 256;
/// Longest user name or claim token, bytes.
pub(super) const CREDENTIAL_BYTES_MAX: usize = 256;
/// How often the revocation list's age is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(60);
/// How soon after a revocation the list is made anew; revocations of one moment share a list.
pub(super) const GATHER: Duration = Duration::from_millis(200);
/// How long a bootstrap document may be relied on.
pub(super) const BOOTSTRAP_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Connections and handshakes of the port.
pub(super) const TLS: TlsBounds = TlsBounds {
    connections_max: 1024,
    handshakes_max: 64,
    handshake: Duration::from_secs(10),
    buffer_bytes_max: 64 * 1024,
};

/// What an operator may change.
#[derive(Debug, Clone)]
pub struct EnrolOptions {
    /// Requests of one address (of one /64 of IPv6).
    pub per_source: Rate,
    /// Requests of all together.
    pub overall: Rate,
    /// Fronts in the order in which devices try them, `host:port`. Default: the first host of the gateway's own
    /// certificate with the MQTT port.
    pub fronts: Vec<String>,
    /// This service's own URL. Default: that host with the port of HTTPS.
    pub url: Option<String>,
    /// Where certificates say that the revocation list is. Default: they do not say.
    pub crl_url: Option<String>,
}

impl Default for EnrolOptions {
    fn default() -> Self {
        Self {
            per_source: Rate { per_second: 50.0, burst: 200.0 },
            overall: Rate { per_second: 100.0, burst: 400.0 },
            fronts: Vec::new(),
            url: None,
            crl_url: None,
        }
    }
}
