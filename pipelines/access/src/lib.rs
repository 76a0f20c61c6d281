//! Who may call the services over gRPC, and for how long.
//!
//! ```text
//! TLS -> Gated: the connection ends with its certificate -> Access::caller: each call -> Access::guard: each stream
//! ```
//! A call is let in when its certificate carries exactly one identity of the trust domain, has not expired and is not
//! revoked. A stream ends with a status when that changes; its connection ends shortly after, also when the caller
//! takes nothing and the status cannot be written (SEC-2). Nothing here knows what a call is about.

mod credential;
mod directory;
mod fence;
mod files;
mod gate;
mod imported;
pub mod limits;
mod serve;
mod tls;
pub mod tls_listener;

pub use credential::{Credential, not_after_s, trust_domain};
pub use directory::Directory;
pub use fence::Guarded;
pub use files::{FileError, PkiFiles};
pub use gate::Gated;
pub use imported::ImportedCrls;
pub use serve::{Services, serve};
pub use tls::{LiveTls, TlsError, TlsMetrics};
pub use wardline_store::registry::{Role, Sites};

use crate::tls_listener::CertificateRefused;
use futures::Stream;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use wardline_proto::refusal::Refusal;
use wardline_proto::{Identity, TenantId};
use wardline_store::registry::Serial;

/// The metadata key of a status under which its stable code stands.
pub const CODE_METADATA: &str = "wardline-code";

/// A refusal could not be audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAudited;

/// Writes refusals into the audit trail.
pub trait RefusalAudit: Send + Sync {
    /// Writes one: who was refused, why, and what it was about, without patient data.
    fn refused(&self, actor: &str, refusal: Refusal, target: &str) -> Result<(), NotAudited>;
}

/// Returns the wall clock, unix microseconds.
pub fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// What an actor is called in the audit trail whose certificate names nobody.
const UNNAMED: &str = "";

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The identity in the certificate.
    pub identity: Identity,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its roles in the registry; none for a device, and for who has no entry.
    pub roles: Arc<[Role]>,
    /// The sites that it sees as a clinician.
    pub sites: Arc<Sites>,
    /// The certificate's serial.
    pub serial: Serial,
    /// End of the certificate's life, unix seconds.
    pub not_after_s: i64,
    uri: String,
}

impl Caller {
    /// Says whether it has a role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Returns its SAN URI, as the audit trail names it.
    pub fn uri(&self) -> &str {
        &self.uri
    }
}

/// Decides on callers. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    shared: Arc<Shared>,
}

struct Shared {
    trust_domain: String,
    directory: Arc<Directory>,
    tls: Arc<LiveTls>,
    auditor: Arc<dyn RefusalAudit>,
}

impl Shared {
    /// Says whether the registry or an imported revocation list names a certificate.
    fn revokes(&self, serial: &Serial) -> bool {
        self.directory.is_revoked(serial) || self.tls.revokes(serial)
    }
}

impl Access {
    /// Makes the one of a node.
    pub fn new(
        trust_domain: impl Into<String>,
        directory: Arc<Directory>,
        tls: Arc<LiveTls>,
        auditor: Arc<dyn RefusalAudit>,
    ) -> Self {
        let shared = Shared { trust_domain: trust_domain.into(), directory, tls, auditor };
        Self { shared: Arc::new(shared) }
    }

    /// Returns who calls, from the certificate of the connection and from nothing else (SEC-1). The status of a refusal
    /// carries its code; it is audited.
    pub fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let chain = request.peer_certs();
        let chain = chain.as_ref().map_or(&[][..], |chain| chain.as_slice());
        let caller = self.read(chain).map_err(|(uri, refusal)| self.refused(&uri, refusal, "call"))?;
        let checked = self.shared.tls.screen(chain).and_then(|()| self.check(&caller));
        checked.map_err(|refusal| self.refused(&caller.uri, refusal, "call"))?;
        Ok(caller)
    }

    /// Refuses what an admitted caller asks for; `target` names it in the audit trail, without patient data.
    pub fn deny(&self, caller: &Caller, refusal: Refusal, target: &str) -> Status {
        self.refused(&caller.uri, refusal, target)
    }

    /// Ends a stream with a status when its caller's certificate is revoked or expires, or its roles or sites change,
    /// whatever is queued in it.
    pub fn guard<S, T>(&self, caller: &Caller, stream: S) -> Guarded<S>
    where
        S: Stream<Item = Result<T, Status>> + Unpin,
    {
        Guarded::new(self.clone(), caller, stream)
    }

    /// Returns what audits a certificate that TLS refused on the port named so. It proves nobody: it has no actor, and
    /// equal ones of a second are one event.
    pub fn certificate_refused(&self, port: &'static str) -> CertificateRefused {
        let access = self.clone();
        Arc::new(move |refusal| drop(access.refused(UNNAMED, refusal, port)))
    }

    fn read(&self, chain: &[CertificateDer<'_>]) -> Result<Caller, (String, Refusal)> {
        let read = Credential::read(chain, &self.shared.trust_domain, now_us());
        let Credential { identity, serial, not_after_s } =
            read.map_err(|refusal| (UNNAMED.to_owned(), refusal))?;
        let (Identity::Device(wardline_proto::DeviceKey { tenant, .. })
        | Identity::Service { tenant, .. }
        | Identity::User { tenant, .. }) = &identity;
        let (tenant, uri) = (tenant.clone(), identity.uri(&self.shared.trust_domain));
        let (roles, sites) = (self.shared.directory.roles(&identity), self.shared.directory.sites(&identity));
        Ok(Caller { identity, tenant, roles, sites, serial, not_after_s, uri })
    }

    fn check(&self, caller: &Caller) -> Result<(), Refusal> {
        if self.shared.revokes(&caller.serial) {
            return Err(Refusal::IdentityRevoked);
        }
        match &caller.identity {
            Identity::Device(key) if !self.shared.directory.is_active(key) => Err(Refusal::IdentityUnknown),
            _ => Ok(()),
        }
    }

    fn refused(&self, actor: &str, refusal: Refusal, target: &str) -> Status {
        if self.shared.auditor.refused(actor, refusal, target).is_err() {
            // It is refused either way; readiness shows that nothing can be audited.
            tracing::error!(%refusal, "a refusal could not be audited");
        }
        status(refusal)
    }
}

/// Makes the status of a refusal: its code in the message and in the metadata.
pub fn status(refusal: Refusal) -> Status {
    let (code, message) = match refusal {
        Refusal::IdentityMissing => {
            (Code::Unauthenticated, "the certificate carries no identity of this trust domain")
        }
        Refusal::IdentityRevoked => (Code::Unauthenticated, "the certificate is revoked"),
        Refusal::IdentityExpired => (Code::Unauthenticated, "the certificate is not valid at this time"),
        Refusal::IdentityCrlExpired => {
            (Code::Unauthenticated, "the imported revocation list of the certificate's authority has expired")
        }
        Refusal::IdentityUnknown => (Code::Unauthenticated, "the device is not registered or not active"),
        Refusal::IdentityChanged => (Code::Aborted, "the caller's roles or sites changed: ask again"),
        _ => (Code::PermissionDenied, "the caller may not do this"),
    };
    coded(code, refusal, message)
}

/// Makes a status that carries a refusal's code in its message and in its metadata.
pub fn coded(code: Code, refusal: Refusal, message: &str) -> Status {
    let mut status = Status::new(code, format!("{refusal}: {message}"));
    status.metadata_mut().insert(CODE_METADATA, MetadataValue::from_static(refusal.code()));
    status
}
