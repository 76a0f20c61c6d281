//! The authority: makes itself, and signs leaves for identities that its operator names.

use super::signer::Key;
use super::{FileSigner, PkiDir, PkiError, RequestKey, SignError, Signer};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::net::IpAddr;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};
use wardline_proto::Identity;
use wardline_store::registry::{IssuedCertificate, Serial};

const ROOT_LIFE: Duration = Duration::days(3650);
const ISSUING_LIFE: Duration = Duration::days(1825);
const SERVER_LIFE: Duration = Duration::days(365);
const LEAF_LIFE: Duration = Duration::days(30);
/// Certificates begin this long before they are made: clocks of devices differ.
const BACKDATE: Duration = Duration::minutes(5);
const SERIAL_BYTES: usize = 16;

/// What a leaf certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// A client: a device, a service or a person. 30 days.
    Client(Identity),
    /// The gateway itself under these names or addresses. One year.
    Server(Vec<String>),
}

/// A leaf that was issued, with its chain and key.
#[derive(Debug)]
pub struct Issued {
    /// The leaf and the issuing certificate, PEM.
    pub chain_pem: String,
    /// Its private key, PKCS#8 PEM.
    pub key_pem: String,
    /// What the registry keeps of it.
    pub certificate: IssuedCertificate,
}

/// The issuing authority, loaded.
pub struct Authority {
    pub(super) issuer: Issuer<'static, Key>,
    signer: Arc<dyn Signer>,
    issuing_pem: String,
    issuing_der: Vec<u8>,
    trust_domain: String,
    crl_url: Option<String>,
}

/// The PEM files of a new authority, by name.
pub(super) struct NewAuthority {
    pub(super) certificates: [(&'static str, String); 3],
    pub(super) keys: [(&'static str, String); 2],
}

impl Authority {
    /// Makes root and issuing authority of a trust domain, in memory.
    pub(super) fn generate(trust_domain: &str) -> Result<NewAuthority, PkiError> {
        let (root_key, issuing_key) = (KeyPair::generate()?, KeyPair::generate()?);
        let mut root = ca_params(&format!("{trust_domain} root"), ROOT_LIFE)?;
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        let root_pem = root.self_signed(&root_key)?.pem();
        let mut issuing = ca_params(&format!("{trust_domain} issuing"), ISSUING_LIFE)?;
        issuing.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        issuing
            .subject_alt_names
            .push(SanType::URI(Ia5String::try_from(format!("spiffe://{trust_domain}"))?));
        let issuer = Issuer::from_params(&root, &root_key);
        let issuing_pem = issuing.signed_by(&issuing_key, &issuer)?.pem();
        let ca_pem = format!("{root_pem}{issuing_pem}");
        Ok(NewAuthority {
            certificates: [("root.pem", root_pem), ("issuing.pem", issuing_pem), ("ca.pem", ca_pem)],
            keys: [("root.key", root_key.serialize_pem()), ("issuing.key", issuing_key.serialize_pem())],
        })
    }

    /// Loads the issuing authority of a folder, with its key in a file.
    pub fn load(dir: &PkiDir) -> Result<Self, PkiError> {
        Self::with_signer(dir, Arc::new(FileSigner::load(dir, "issuing.key")?))
    }

    /// Loads the issuing authority of a folder, with its key elsewhere. Refuses a key that is not the certificate's.
    pub fn with_signer(dir: &PkiDir, signer: Arc<dyn Signer>) -> Result<Self, PkiError> {
        let issuing_pem = dir.read("issuing.pem")?;
        let trust_domain = trust_domain(&issuing_pem)?;
        let issuing = CertificateDer::from_pem_slice(issuing_pem.as_bytes());
        let issuing_der = issuing.map_err(|_pem| PkiError::Decode("issuing.pem"))?.to_vec();
        let (_, parsed) = x509_parser::parse_x509_certificate(&issuing_der)
            .map_err(|_der| PkiError::Decode("issuing.pem"))?;
        if *parsed.public_key().subject_public_key.data != *signer.public_point() {
            return Err(PkiError::Decode("issuing.key"));
        }
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(&issuing_der[..]), Key(signer.clone()))?;
        Ok(Self { issuer, signer, issuing_pem, issuing_der, trust_domain, crl_url: None })
    }

    /// Names the place of the revocation list in every leaf from now on.
    pub fn set_crl_url(&mut self, url: Option<String>) {
        self.crl_url = url;
    }

    /// Returns the trust domain that it issues for.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Returns its own certificate, DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.issuing_der
    }

    /// Signs a document that is no certificate.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.signer.sign(message)
    }

    /// Makes a key and a certificate for it.
    pub fn issue(&self, profile: &Profile) -> Result<Issued, PkiError> {
        let key = KeyPair::generate()?;
        let (leaf, certificate) = self.leaf(profile, &key)?;
        let chain_pem = format!("{}{}", leaf.pem(), self.issuing_pem);
        Ok(Issued { chain_pem, key_pem: key.serialize_pem(), certificate })
    }

    /// Certifies a requester's key for an identity that somebody has proven. Nothing else of a request gets here.
    pub fn sign_csr(&self, key: &RequestKey, identity: &Identity) -> Result<IssuedCertificate, PkiError> {
        let (_leaf, certificate) = self.leaf(&Profile::Client(identity.clone()), key)?;
        Ok(certificate)
    }

    fn leaf(
        &self,
        profile: &Profile,
        key: &impl PublicKeyData,
    ) -> Result<(rcgen::Certificate, IssuedCertificate), PkiError> {
        let (name, life, usage) = match profile {
            Profile::Client(identity) => {
                (identity.uri(&self.trust_domain), LEAF_LIFE, ExtendedKeyUsagePurpose::ClientAuth)
            }
            Profile::Server(hosts) => {
                (hosts.first().cloned().unwrap_or_default(), SERVER_LIFE, ExtendedKeyUsagePurpose::ServerAuth)
            }
        };
        let mut params = params(life)?;
        params.subject_alt_names = match profile {
            Profile::Client(_) => vec![SanType::URI(Ia5String::try_from(name.clone())?)],
            Profile::Server(hosts) => hosts.iter().map(|host| san(host)).collect::<Result<_, _>>()?,
        };
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let place = |url: &String| CrlDistributionPoint { uris: vec![url.clone()] };
        params.crl_distribution_points = self.crl_url.iter().map(place).collect();
        let (not_before_us, not_after_us) = (micros(params.not_before), micros(params.not_after));
        let serial =
            params.serial_number.as_ref().and_then(|s| Serial::new(&s.to_bytes())).ok_or(PkiError::Random)?;
        let leaf = params.signed_by(key, &self.issuer)?;
        let key_sha256 = hex(digest(&SHA256, &key.subject_public_key_info()).as_ref());
        let der = leaf.der().to_vec();
        let certificate =
            IssuedCertificate { serial, spiffe_uri: name, not_before_us, not_after_us, der, key_sha256 };
        Ok((leaf, certificate))
    }
}

fn ca_params(name: &str, life: Duration) -> Result<CertificateParams, PkiError> {
    let mut params = params(life)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(life: Duration) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or_else(|_| OffsetDateTime::now_utc());
    params.distinguished_name = DistinguishedName::new();
    params.not_before = now - BACKDATE;
    params.not_after = now + life;
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
    Ok(params)
}

/// Makes a positive serial whose first byte is never zero: so its DER bytes are these bytes.
fn random_serial() -> Result<[u8; SERIAL_BYTES], PkiError> {
    let mut serial = [0; SERIAL_BYTES];
    SystemRandom::new().fill(&mut serial).map_err(|_unspecified| PkiError::Random)?;
    serial[0] = (serial[0] & 0x3f) | 0x40;
    Ok(serial)
}

fn san(host: &str) -> Result<SanType, PkiError> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(SanType::IpAddress(ip)),
        Err(_name) => Ok(SanType::DnsName(Ia5String::try_from(host)?)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn micros(time: OffsetDateTime) -> i64 {
    time.unix_timestamp() * 1_000_000
}

/// Reads the trust domain that an issuing certificate names.
pub fn trust_domain(issuing_pem: &str) -> Result<String, PkiError> {
    wardline_access::trust_domain(issuing_pem).ok_or(PkiError::TrustDomain)
}
