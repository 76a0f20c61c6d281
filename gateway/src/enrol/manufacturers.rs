//! Whose factory certificates are taken: the registry's manufacturers, as of its newest version.

use super::limits::MANUFACTURERS_MAX;
use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;
use wardline_store::registry::ManufacturerCa;

struct Manufacturer {
    ca: ManufacturerCa,
    root: CertificateDer<'static>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// The manufacturers in force.
#[derive(Default)]
pub(super) struct Manufacturers(ArcSwap<Vec<Manufacturer>>);

impl Manufacturers {
    /// Takes the registry's list when it differs; returns the authorities' certificates then.
    pub(super) fn replace(&self, mut cas: Vec<ManufacturerCa>) -> Option<Vec<CertificateDer<'static>>> {
        cas.retain(|ca| ca.revoked_at_us.is_none());
        if cas.len() > MANUFACTURERS_MAX {
            tracing::error!(
                count = cas.len(),
                max = MANUFACTURERS_MAX,
                "manufacturers past the bound are left out"
            );
            cas.truncate(MANUFACTURERS_MAX);
        }
        let current = self.0.load();
        if current.iter().map(|known| &known.ca).eq(cas.iter()) {
            return None;
        }
        let read = |ca: ManufacturerCa| {
            let made = manufacturer(ca.clone());
            if made.is_none() {
                tracing::error!(
                    ca_id = ca.ca_id,
                    "a manufacturer's certificate makes no authority; left out"
                );
            }
            made
        };
        let next: Vec<Manufacturer> = cas.into_iter().filter_map(read).collect();
        let roots = next.iter().map(|known| known.root.clone()).collect();
        self.0.store(Arc::new(next));
        Some(roots)
    }

    /// Returns the manufacturer that a chain ends in, verified now.
    pub(super) fn of(&self, chain: &[CertificateDer<'_>]) -> Option<ManufacturerCa> {
        let (leaf, intermediates) = chain.split_first()?;
        let (manufacturers, now) = (self.0.load(), UnixTime::now());
        let is_of =
            |known: &&Manufacturer| known.verifier.verify_client_cert(leaf, intermediates, now).is_ok();
        manufacturers.iter().find(is_of).map(|known| known.ca.clone())
    }
}

fn manufacturer(ca: ManufacturerCa) -> Option<Manufacturer> {
    let root = CertificateDer::from_pem_slice(ca.pem.as_bytes()).ok()?;
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).ok()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    Some(Manufacturer { ca, root, verifier })
}
