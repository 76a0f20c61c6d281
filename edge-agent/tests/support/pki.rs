//! A root, an issuing authority, a gateway certificate for `localhost` and device certificates.

use cms::cert::x509::der::Decode;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

pub struct Pki {
    dir: TempDir,
    pub root: Certificate,
    pub issuing: Certificate,
    pub issuer: Issuer<'static, KeyPair>,
    /// The issuing authority's key again, for signatures of other kinds.
    pub issuing_key_der: Vec<u8>,
}

/// From when until when a certificate is in force, relative to now.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    pub begun: Duration,
    pub left: Duration,
}

impl Life {
    pub const LONG: Self = Self { begun: Duration::from_secs(60), left: Duration::from_secs(30 * 24 * 3600) };

    pub fn apply(self, params: &mut CertificateParams) {
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - self.begun, now + self.left);
    }
}

impl Pki {
    pub fn new() -> Self {
        let authority = |name: &str, depth| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
            params
        };
        let (root_params, root_key) = (authority("root", 1), KeyPair::generate().unwrap());
        let root = root_params.self_signed(&root_key).unwrap();
        let (params, key) = (authority("issuing", 0), KeyPair::generate().unwrap());
        let issuing = params.signed_by(&key, &Issuer::new(root_params, root_key)).unwrap();
        let issuing_key_der = key.serialize_der();
        let issuer = Issuer::new(params, key);
        Self { dir: tempfile::tempdir().unwrap(), root, issuing, issuer, issuing_key_der }
    }

    /// What the certificate of a device says.
    pub fn device_params(device: &str, life: Life) -> CertificateParams {
        let uri = format!("spiffe://wardline.test/tenant/demo/device/{device}");
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        life.apply(&mut params);
        params
    }

    /// Writes a folder with a certificate of `device` and returns it.
    pub fn device(&self, device: &str) -> PathBuf {
        self.device_for(device, Life::LONG)
    }

    pub fn device_for(&self, device: &str, life: Life) -> PathBuf {
        let dir = self.dir.path().join(device);
        fs::create_dir_all(&dir).unwrap();
        self.write(&dir, &Self::device_params(device, life));
        dir
    }

    fn write(&self, dir: &Path, params: &CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(dir.join("cert.pem"), format!("{}{}", certificate.pem(), self.issuing.pem())).unwrap();
        fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(dir.join("ca.pem"), self.root.pem()).unwrap();
    }

    /// TLS for a gateway that asks for a client certificate.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server_config(false)
    }

    /// TLS for a listener where the client certificate is optional.
    pub fn https(&self) -> Arc<ServerConfig> {
        self.server_config(true)
    }

    fn server_config(&self, is_optional: bool) -> Arc<ServerConfig> {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let dir = self.dir.path().join("server");
        fs::create_dir_all(&dir).unwrap();
        self.write(&dir, &params);
        let chain =
            CertificateDer::pem_file_iter(dir.join("cert.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = if is_optional { verifier.allow_unauthenticated() } else { verifier };
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_client_cert_verifier(verifier.build().unwrap());
        Arc::new(config.with_single_cert(chain, key).unwrap())
    }
}

/// Serial number of a certificate, hex.
pub fn serial(der: &[u8]) -> String {
    let certificate = cms::cert::x509::Certificate::from_der(der).unwrap();
    certificate.tbs_certificate.serial_number.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
