//! The client of EST (RFC 7030): `cacerts`, `simpleenroll`, `simplereenroll`, and Wardline's `bootstrap`.

use super::certificate::Certificate;
use super::certs_only::{certificates, chain_of};
use super::claim::Pin;
use super::error::{EdgeError, answer};
use super::http::{Answer, Ask, Origin};
use super::limits::REFUSAL_CHARS_MAX;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use wardline_proto::DeviceId;
use wardline_proto::refusal::Refusal;

const EST: &str = "/.well-known/est";

/// Asks whose the gateway is and believes the one answer that fits the pin. Returns the root, and what else was sent:
/// that is only good for building chains, which are checked against the root.
///
/// The only request over unproven TLS: nothing of the agent's is in it, and the answer proves itself.
pub(super) async fn fetch_pinned(
    origin: &Origin,
    pin: &Pin,
) -> Result<(Certificate, Vec<Certificate>), EdgeError> {
    let all = fetch_authorities(origin, &unproven_tls()?).await?;
    let root = all.iter().find(|certificate| pin.fits(certificate.der()) && certificate.is_root()).cloned();
    let other = "the gateway is of another authority than the claim's";
    root.map(|root| (root, all)).ok_or_else(|| EdgeError::reject(Refusal::EdgePin, other))
}

/// Fetches the authority's certificates: an issued one may come alone. (RFC 7030, 4.1.3, 4.2.3)
pub(super) async fn fetch_authorities(
    origin: &Origin,
    tls: &Arc<ClientConfig>,
) -> Result<Vec<Certificate>, EdgeError> {
    let ask = Ask { path: &format!("{EST}/cacerts"), ..Ask::default() };
    certificates(&expect_ok(origin.ask(tls, ask).await?)?)
}

/// How a request for a certificate proves itself.
pub(super) enum By<'a> {
    /// By a claim or, without one, by the factory certificate in TLS.
    Enrol { device: &'a DeviceId, claim: Option<&'a str>, serial_number: Option<&'a str> },
    /// By the certificate that is to be followed.
    Renew,
}

/// Asks for a certificate of a key. Returns the chain, leaf first, of what was sent and of `authorities`.
pub(super) async fn request_certificate(
    origin: &Origin,
    tls: &Arc<ClientConfig>,
    pkcs10: String,
    public_key: &[u8],
    authorities: &[Certificate],
    by: By<'_>,
) -> Result<Vec<Certificate>, EdgeError> {
    let mut ask = Ask { pkcs10: Some(pkcs10), ..Ask::default() };
    let path = match by {
        By::Enrol { device, claim, serial_number } => {
            let credentials = format!("{device}:{}", claim.unwrap_or_default());
            ask.authorization = Some(format!("Basic {}", STANDARD.encode(credentials)));
            ask.serial_number = serial_number;
            format!("{EST}/simpleenroll")
        }
        By::Renew => format!("{EST}/simplereenroll"),
    };
    ask.path = &path;
    let answered = origin.ask(tls, ask).await?;
    let mut all = certificates(&expect_ok(answered)?)?;
    all.extend_from_slice(authorities);
    chain_of(all, public_key)
}

/// Fetches the signed list of fronts.
pub(super) async fn fetch_list(origin: &Origin, tls: &Arc<ClientConfig>) -> Result<String, EdgeError> {
    let answered = origin.ask(tls, Ask { path: "/bootstrap", ..Ask::default() }).await?;
    let body = expect_ok(answered)?;
    String::from_utf8(body).map_err(|_| answer("the list of fronts is not text"))
}

fn expect_ok(answered: Answer) -> Result<Vec<u8>, EdgeError> {
    let Answer { status, body } = answered;
    if status.is_success() {
        return Ok(body.to_vec());
    }
    let words: String = String::from_utf8_lossy(&body)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REFUSAL_CHARS_MAX)
        .collect();
    let problem = format!("the gateway said {}: {}", status.as_u16(), words.trim());
    let busy = status.is_server_error() || status.as_u16() == 429;
    let make = if busy { EdgeError::retry } else { EdgeError::reject };
    Err(make(Refusal::EdgeEnrolRefused, problem))
}

fn unproven_tls() -> Result<Arc<ClientConfig>, EdgeError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Unproven(Arc::clone(&provider)));
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.map_err(|error| answer(error.to_string()))?;
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// Believes any server: for [`fetch_root`] alone, whose answer is compared with the pin.
#[derive(Debug)]
struct Unproven(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unproven {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
