//! A root, a gateway certificate for `localhost` and device certificates.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

pub struct Pki {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
}

impl Pki {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root_pem = params.self_signed(&key).unwrap().pem();
        Self { dir: tempfile::tempdir().unwrap(), issuer: Issuer::new(params, key), root_pem }
    }

    /// Writes a folder with a certificate of `device` and returns it.
    pub fn device(&self, device: &str) -> PathBuf {
        let uri = format!("spiffe://wardline.test/tenant/demo/device/{device}");
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        let dir = self.dir.path().join(device);
        fs::create_dir_all(&dir).unwrap();
        self.write(&dir, &params);
        dir
    }

    fn write(&self, dir: &Path, params: &CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(dir.join("cert.pem"), certificate.pem()).unwrap();
        fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(dir.join("ca.pem"), &self.root_pem).unwrap();
    }

    /// TLS for a gateway that asks for a client certificate.
    pub fn server(&self) -> Arc<ServerConfig> {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let dir = self.dir.path().join("server");
        fs::create_dir_all(&dir).unwrap();
        self.write(&dir, &params);
        let chain =
            CertificateDer::pem_file_iter(dir.join("cert.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.root_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_client_cert_verifier(verifier.build().unwrap());
        Arc::new(config.with_single_cert(chain, key).unwrap())
    }
}
