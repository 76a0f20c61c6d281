//! Who is calling: the SAN URI of the verified client certificate, and nothing else (SEC-1).

use tonic::{Request, Status};
use wardline_proto::{Identity, TenantId};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Tells callers apart.
#[derive(Debug)]
pub(super) struct Callers {
    trust_domain: String,
}

impl Callers {
    pub(super) fn new(trust_domain: String) -> Self {
        Self { trust_domain }
    }

    /// Returns the tenant whose alerts the caller may see. A device may see none: it raises them.
    pub(super) fn tenant<T>(&self, request: &Request<T>) -> Result<TenantId, Status> {
        let certificates =
            request.peer_certs().ok_or_else(|| Status::unauthenticated("no client certificate"))?;
        let leaf = certificates.first().ok_or_else(|| Status::unauthenticated("no client certificate"))?;
        match self.identity(leaf) {
            Some(Identity::Service { tenant, .. } | Identity::User { tenant, .. }) => Ok(tenant),
            Some(Identity::Device(_)) => {
                Err(Status::permission_denied("a device's certificate may not read alerts"))
            }
            None => {
                Err(Status::permission_denied("the certificate carries no identity of this trust domain"))
            }
        }
    }

    /// Reads the one SAN URI. Two would be two identities: none.
    fn identity(&self, leaf: &[u8]) -> Option<Identity> {
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let mut uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let uri = uris.next()?;
        if uris.next().is_some() {
            return None;
        }
        Identity::from_uri(uri, &self.trust_domain).ok()
    }
}
