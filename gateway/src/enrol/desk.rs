//! Who gets a certificate, and for whom: every decision of enrolment, without HTTP.

use super::credential::{Basic, Peer};
use super::manufacturers::Manufacturers;
use super::metrics::EnrolMetrics;
use crate::access::Directory;
use crate::audit::Auditor;
use crate::front::{LiveTls, identity, now_us};
use crate::pki::{Authority, CertificateRequest, subject_serial_number};
use std::sync::Arc;
use wardline_proto::refusal::Refusal;
use wardline_proto::{DeviceId, DeviceKey, Identity};
use wardline_store::registry::{Change, IssuedCertificate, Redeem, RedeemFactory, Redeemed, Reject};
use wardline_store::{Store, StoreError};

/// Decides and issues.
pub(super) struct Desk {
    pub(super) authority: Arc<Authority>,
    pub(super) tls: Arc<LiveTls>,
    pub(super) directory: Arc<Directory>,
    pub(super) auditor: Arc<Auditor>,
    pub(super) store: Store,
    pub(super) manufacturers: Arc<Manufacturers>,
    pub(super) metrics: EnrolMetrics,
}

/// What a device without a certificate asks with.
pub(super) struct Enrolment<'a> {
    pub(super) peer: &'a Peer,
    pub(super) basic: Basic,
    /// The hardware's serial number as the device names it, or empty.
    pub(super) serial_number: String,
    pub(super) request: CertificateRequest,
}

impl Desk {
    /// Issues to a device that has no certificate yet; the same again to who asks again. Returns the leaf, DER.
    pub(super) async fn enrol(&self, enrolment: Enrolment<'_>) -> Result<Vec<u8>, Refusal> {
        let (redeemed, certificate) = match &enrolment.basic.secret_sha256 {
            Some(secret) => self.by_claim(&enrolment, secret).await?,
            None => self.by_factory(&enrolment).await?,
        };
        match redeemed {
            Redeemed::Issued => {
                self.metrics.enrolled.inc();
                Ok(certificate.der)
            }
            Redeemed::Repeated(first) => self.repeat("enrolment_repeated", enrolment.peer, *first),
        }
    }

    /// Gives out what was issued before; what was signed a moment ago was never recorded, and is dropped. Who has the
    /// key may have lost the answer; who replays a request learns nothing but that it was answered. Both are audited.
    fn repeat(&self, action: &str, peer: &Peer, first: IssuedCertificate) -> Result<Vec<u8>, Refusal> {
        if first.der.is_empty() {
            return Err(Refusal::EnrolUnavailable);
        }
        let target = format!("{} serial {}", first.spiffe_uri, first.serial);
        let audited = self.auditor.record(action, &self.actor(peer), "ok", target);
        audited.map_err(|_cannot| Refusal::CannotAudit)?;
        self.metrics.repeated.inc();
        Ok(first.der)
    }

    async fn by_claim(
        &self,
        enrolment: &Enrolment<'_>,
        secret_sha256: &str,
    ) -> Result<(Redeemed, IssuedCertificate), Refusal> {
        let claim = self.store.lookup_claim(secret_sha256).await.map_err(refusal)?;
        let claim = claim.ok_or(Refusal::EnrolCredential)?;
        let device = DeviceId::new(&enrolment.basic.user).map_err(|_id| Refusal::EnrolRequest)?;
        if claim.device.as_ref().is_some_and(|pinned| *pinned != device) {
            return Err(Refusal::EnrolDevice);
        }
        let key = DeviceKey { tenant: claim.tenant, device: device.clone() };
        let certificate = self.sign(&enrolment.request, &Identity::Device(key))?;
        let redeem = Redeem {
            secret_sha256: secret_sha256.to_owned(),
            device,
            serial_number: enrolment.serial_number.clone(),
            certificate: certificate.clone(),
        };
        let change = Change::new(format!("claim:{}", claim.claim_id), now_us());
        let redeemed = self.store.redeem_claim(&change, &redeem).await.map_err(refusal)?;
        Ok((redeemed, certificate))
    }

    /// The certificate, not the requester, says which hardware it is.
    async fn by_factory(&self, enrolment: &Enrolment<'_>) -> Result<(Redeemed, IssuedCertificate), Refusal> {
        let chain = &enrolment.peer.chain;
        let ca = self.manufacturers.of(chain).ok_or(Refusal::EnrolCredential)?;
        let serial_number = chain.first().and_then(subject_serial_number).ok_or(Refusal::EnrolSerial)?;
        let named = &enrolment.serial_number;
        if !named.is_empty() && *named != serial_number {
            return Err(Refusal::EnrolSerial);
        }
        let user = &enrolment.basic.user;
        let id = if user.is_empty() { serial_number.to_ascii_lowercase() } else { user.clone() };
        let device = DeviceId::new(&id).map_err(|_id| Refusal::EnrolRequest)?;
        let key = DeviceKey { tenant: ca.tenant, device: device.clone() };
        let certificate = self.sign(&enrolment.request, &Identity::Device(key))?;
        let actor = format!("factory:{serial_number}");
        let redeem =
            RedeemFactory { ca_id: ca.ca_id, serial_number, device, certificate: certificate.clone() };
        let redeemed = self.store.redeem_factory(&Change::new(actor, now_us()), &redeem).await;
        let redeemed = redeemed.map_err(|error| match refusal(error) {
            Refusal::EnrolClaimUsed => Refusal::EnrolSerial,
            other => other,
        })?;
        Ok((redeemed, certificate))
    }

    /// Issues to a device that shows its current certificate, which lives on until its own end; the same again to who
    /// asks again with the same key. Returns the leaf, DER.
    pub(super) async fn renew(&self, peer: &Peer, request: &CertificateRequest) -> Result<Vec<u8>, Refusal> {
        let (key, serial) = self.holder(peer).await?;
        let identity = Identity::Device(key);
        let certificate = self.sign(request, &identity)?;
        let change = Change::new(identity.uri(self.authority.trust_domain()), now_us());
        let renewed =
            self.store.renew(&change, &serial, &certificate).await.map_err(|error| match error {
                StoreError::Reject(Reject::NotFound(_)) => Refusal::IdentityMissing,
                StoreError::Reject(Reject::NotAllowed) => Refusal::IdentityRevoked,
                other => refusal(other),
            })?;
        match renewed {
            Redeemed::Issued => {
                self.metrics.renewed.inc();
                Ok(certificate.der)
            }
            Redeemed::Repeated(first) => self.repeat("renewal_repeated", peer, *first),
        }
    }

    /// Returns whose certificate the peer has. The port also takes certificates of manufacturers, who could write any
    /// name into one: only a chain that ends in our own authorities, verified anew, names anybody (SEC-1).
    async fn holder(&self, peer: &Peer) -> Result<(DeviceKey, wardline_store::registry::Serial), Refusal> {
        self.tls.verify_ours(&peer.chain)?;
        let credential = identity::read(&peer.chain, self.authority.trust_domain(), now_us())?;
        self.tls.screen(&peer.chain)?;
        let key = identity::admit(&credential, &self.directory).await?;
        Ok((key, credential.serial))
    }

    /// Returns who the peer is, for the audit of a refusal: what it has proven, else where it is.
    pub(super) fn actor(&self, peer: &Peer) -> String {
        let proven = self
            .tls
            .verify_ours(&peer.chain)
            .ok()
            .and_then(|()| identity::read(&peer.chain, self.authority.trust_domain(), now_us()).ok());
        match proven {
            Some(credential) => credential.identity.uri(self.authority.trust_domain()),
            None => format!("address:{}", peer.address),
        }
    }

    fn sign(&self, request: &CertificateRequest, identity: &Identity) -> Result<IssuedCertificate, Refusal> {
        request.check_identity(&identity.uri(self.authority.trust_domain()))?;
        self.authority.sign_csr(&request.key, identity).map_err(|error| {
            tracing::error!(%error, "the authority does not sign");
            Refusal::EnrolUnavailable
        })
    }
}

/// Says what a requester is told about an error of the registry.
fn refusal(error: StoreError) -> Refusal {
    let StoreError::Reject(reject) = error else {
        tracing::error!(%error, "enrolment not recorded");
        return Refusal::EnrolUnavailable;
    };
    match reject {
        Reject::ClaimUnknown => Refusal::EnrolCredential,
        Reject::ClaimUsed => Refusal::EnrolClaimUsed,
        Reject::ClaimExpired => Refusal::EnrolClaimExpired,
        Reject::ClaimRevoked => Refusal::EnrolClaimRevoked,
        Reject::NotAllowed => Refusal::EnrolSerial,
        Reject::Revoked => Refusal::IdentityRevoked,
        Reject::Invalid(_) => Refusal::EnrolRequest,
        Reject::ClaimOtherDevice
        | Reject::OtherMaker
        | Reject::NotFound(_)
        | Reject::Conflict(_)
        | Reject::NotActive
        | Reject::Held
        | Reject::BeingShredded
        | Reject::Erased
        | Reject::TenantSuspended => Refusal::EnrolDevice,
    }
}
