//! Certificates of a fleet: `DIR/{tenant}/{device}/{cert.pem,key.pem,ca.pem}`, as `wardline device issue` writes them.
//!
//! The folder's names decide topics; whether the certificate says the same is for the gateway to check (SEC-1).

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// Most devices of one process.
pub const DEVICES_MAX: usize = 50_000;

/// Says why the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A folder or file could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A PEM file holds no certificate or key.
    #[error("{} is not a usable PEM file", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate, key and CA do not go together.
    #[error("the certificate of {device} cannot be used")]
    Tls {
        /// Whose.
        device: DeviceKey,
        /// Why.
        source: rustls::Error,
    },
    /// No folder of that shape.
    #[error("no certificates in {}: it holds TENANT/DEVICE/cert.pem, key.pem and ca.pem", .0.display())]
    Empty(PathBuf),
    /// Fewer than asked for.
    #[error("{asked} devices asked for, {found} have certificates")]
    TooFew {
        /// How many were asked for.
        asked: usize,
        /// How many there are.
        found: usize,
    },
}

/// A device that can prove who it is.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    /// Who.
    pub(super) key: DeviceKey,
    /// How it connects. Sessions are not resumed: every connect is a whole handshake.
    pub(super) tls: Arc<ClientConfig>,
}

/// Reads the first `devices` credentials of `dir`, in order of name; `None`: all, up to [`DEVICES_MAX`].
pub(super) fn load(dir: &Path, devices: Option<usize>) -> Result<Vec<Credentials>, CertsError> {
    let mut roots = Roots::default();
    let mut fleet = Vec::new();
    for tenant_dir in folders(dir)? {
        let Some(tenant) = name(&tenant_dir).and_then(|n| TenantId::new(n).ok()) else { continue };
        for device_dir in folders(&tenant_dir)? {
            let Some(device) = name(&device_dir).and_then(|n| DeviceId::new(n).ok()) else { continue };
            if fleet.len() == devices.unwrap_or(DEVICES_MAX).min(DEVICES_MAX) {
                return Ok(fleet);
            }
            let key = DeviceKey { tenant: tenant.clone(), device };
            let tls = client_config(&device_dir, &key, &mut roots)?;
            fleet.push(Credentials { key, tls });
        }
    }
    match devices {
        _ if fleet.is_empty() => Err(CertsError::Empty(dir.to_owned())),
        Some(asked) => Err(CertsError::TooFew { asked, found: fleet.len() }),
        None => Ok(fleet),
    }
}

/// Trust anchors, shared between devices that trust the same file.
#[derive(Default)]
struct Roots(BTreeMap<Vec<u8>, Arc<RootCertStore>>);

impl Roots {
    fn of(&mut self, path: &Path, key: &DeviceKey) -> Result<Arc<RootCertStore>, CertsError> {
        let pem = std::fs::read(path).map_err(|source| CertsError::Io { path: path.to_owned(), source })?;
        if let Some(roots) = self.0.get(&pem) {
            return Ok(Arc::clone(roots));
        }
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate =
                certificate.map_err(|source| CertsError::Pem { path: path.to_owned(), source })?;
            roots.add(certificate).map_err(|source| CertsError::Tls { device: key.clone(), source })?;
        }
        let roots = Arc::new(roots);
        self.0.insert(pem, Arc::clone(&roots));
        Ok(roots)
    }
}

fn client_config(dir: &Path, key: &DeviceKey, roots: &mut Roots) -> Result<Arc<ClientConfig>, CertsError> {
    let tls = |source| CertsError::Tls { device: key.clone(), source };
    let path = dir.join("cert.pem");
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |source| CertsError::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(&path).map_err(pem(&path))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(pem(&path))?;
    let key_path = dir.join("key.pem");
    let private_key = PrivateKeyDer::from_pem_file(&key_path).map_err(pem(&key_path))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .with_root_certificates(roots.of(&dir.join("ca.pem"), key)?)
        .with_client_auth_cert(chain, private_key)
        .map_err(tls)?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>, CertsError> {
    let io = |source| CertsError::Io { path: dir.to_owned(), source };
    let entries = std::fs::read_dir(dir).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    let mut folders: Vec<_> = entries.into_iter().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}
