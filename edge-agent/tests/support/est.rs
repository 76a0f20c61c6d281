//! The gateway's HTTPS listener: EST with claims, renewal, and the signed list of fronts.

use super::pki::{Life, Pki, serial};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use cms::cert::CertificateChoices;
use cms::cert::x509::der::asn1::{ObjectIdentifier, SetOfVec};
use cms::cert::x509::der::{Any, Decode, Encode};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{CertificateSet, EncapsulatedContentInfo, SignedData, SignerInfos};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateSigningRequestParams, KeyPair, PublicKeyData, SanType};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Where the server stops answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Before the request to this path has any effect.
    Before(&'static str),
    /// After it had its effect; the answer stays away.
    After(&'static str),
}

/// Who signs the list of fronts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    Issuing,
    /// A device of the same authority.
    Device,
    /// Another authority.
    Stranger,
}

/// Public key and certificate that a claim was used for.
pub type Use = (Vec<u8>, Vec<u8>);

/// How the server behaves and what it has seen.
pub struct State {
    pub hold: Option<Hold>,
    pub is_held: bool,
    pub signer: Signer,
    pub fronts: Vec<String>,
    pub list_life: Duration,
    pub list_age: Duration,
    pub spoil_list: bool,
    /// Authorities that the list names; empty names none.
    pub ca_pem: String,
    /// Life of what is issued next.
    pub life: Life,
    pub refuse_renewals: usize,
    pub lists_given: usize,
    /// By token.
    pub claims: BTreeMap<String, Option<Use>>,
    /// Public keys that asked to enrol.
    pub keys_seen: Vec<Vec<u8>>,
    /// Serials of what was issued.
    pub issued: Vec<String>,
    /// Serials that renewed.
    pub renewed_by: Vec<String>,
}

pub struct Est {
    pub addr: SocketAddr,
    pub url: String,
    pub pki: Arc<Pki>,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl Est {
    pub async fn start(pki: Arc<Pki>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(pki.https());
        let state = Arc::new(Mutex::new(State::new()));
        let (shared, authority) = (Arc::clone(&state), Arc::clone(&pki));
        let accepting = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&shared));
                let pki = Arc::clone(&authority);
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let peer = tls.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec());
                    let service = service_fn(move |request| {
                        serve(request, peer.clone(), Arc::clone(&pki), Arc::clone(&state), addr)
                    });
                    let _hung_up = http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
                });
            }
        });
        Self { addr, url: format!("https://localhost:{}", addr.port()), pki, state, accepting }
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Makes a claim that this server takes.
    pub fn claim(&self) -> String {
        let n = self.with(|state| state.claims.len());
        let token = format!("wl1.{}.{}", URL_SAFE_NO_PAD.encode([n as u8; 24]), self.pin());
        self.with(|state| state.claims.insert(token.clone(), None));
        token
    }

    pub fn pin(&self) -> String {
        URL_SAFE_NO_PAD.encode(&digest(&SHA256, self.pki.root.der()).as_ref()[..16])
    }
}

impl Drop for Est {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    fn new() -> Self {
        Self {
            hold: None,
            is_held: false,
            signer: Signer::Issuing,
            fronts: vec!["localhost:8883".to_owned()],
            list_life: Duration::from_secs(3600),
            list_age: Duration::ZERO,
            spoil_list: false,
            ca_pem: String::new(),
            life: Life::LONG,
            refuse_renewals: 0,
            lists_given: 0,
            claims: BTreeMap::new(),
            keys_seen: Vec::new(),
            issued: Vec::new(),
            renewed_by: Vec::new(),
        }
    }
}

async fn serve(
    request: Request<Incoming>,
    peer: Option<Vec<u8>>,
    pki: Arc<Pki>,
    state: Arc<Mutex<State>>,
    addr: SocketAddr,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    stop_here(&state, |hold| matches!(hold, Hold::Before(at) if path.ends_with(at))).await;
    let authorization =
        request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let (status, body) = {
        let mut state = state.lock().unwrap();
        match path.as_str() {
            "/.well-known/est/cacerts" => {
                (200, certs_only(&[pki.issuing.der().to_vec(), pki.root.der().to_vec()]))
            }
            "/.well-known/est/simpleenroll" => enroll(&mut state, &pki, authorization, peer, &body),
            "/.well-known/est/simplereenroll" => reenroll(&mut state, &pki, peer, &body),
            "/bootstrap" => (200, list(&mut state, &pki, addr)),
            _ => (404, "WL-EST-404 not here".to_owned()),
        }
    };
    stop_here(&state, |hold| matches!(hold, Hold::After(at) if path.ends_with(at))).await;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}

async fn stop_here(state: &Mutex<State>, is_here: impl Fn(Hold) -> bool) {
    let is_held = {
        let mut state = state.lock().unwrap();
        let is_held = state.hold.is_some_and(is_here);
        state.is_held |= is_held;
        is_held
    };
    if is_held {
        std::future::pending::<()>().await;
    }
}

fn enroll(
    state: &mut State,
    pki: &Pki,
    authorization: Option<String>,
    peer: Option<Vec<u8>>,
    body: &[u8],
) -> (u16, String) {
    let request = csr(body);
    let key = request.public_key.der_bytes().to_vec();
    state.keys_seen.push(key.clone());
    let basic = authorization.unwrap();
    let basic = STANDARD.decode(basic.strip_prefix("Basic ").unwrap()).unwrap();
    let basic = String::from_utf8(basic).unwrap();
    let (device, token) = basic.split_once(':').unwrap();
    if token.is_empty() {
        return match peer {
            Some(_) => (200, certs_only(&[issue(state, pki, request, device)])),
            None => (401, "WL-EST-001 neither claim nor certificate".to_owned()),
        };
    }
    match state.claims.get(token).cloned() {
        None => (401, "WL-EST-002 the claim is not known".to_owned()),
        Some(Some((used_by, _))) if used_by != key => (403, "WL-EST-003 the claim was used".to_owned()),
        Some(Some((_, certificate))) => (200, certs_only(&[certificate])),
        Some(None) => {
            let certificate = issue(state, pki, request, device);
            state.claims.insert(token.to_owned(), Some((key, certificate.clone())));
            (200, certs_only(&[certificate]))
        }
    }
}

fn reenroll(state: &mut State, pki: &Pki, peer: Option<Vec<u8>>, body: &[u8]) -> (u16, String) {
    let Some(peer) = peer else { return (401, "WL-EST-001 no certificate".to_owned()) };
    if state.refuse_renewals > 0 {
        state.refuse_renewals -= 1;
        return (503, "WL-EST-009 not now".to_owned());
    }
    state.renewed_by.push(serial(&peer));
    let request = csr(body);
    let certificate = issue(state, pki, request, "m-1");
    (200, certs_only(&[certificate, pki.issuing.der().to_vec()]))
}

fn csr(body: &[u8]) -> CertificateSigningRequestParams {
    let der = STANDARD.decode(body).unwrap();
    CertificateSigningRequestParams::from_der(&der.into()).unwrap()
}

fn issue(
    state: &mut State,
    pki: &Pki,
    mut request: CertificateSigningRequestParams,
    device: &str,
) -> Vec<u8> {
    request.params = Pki::device_params(device, state.life);
    let certificate = request.signed_by(&pki.issuer).unwrap().der().to_vec();
    state.issued.push(serial(&certificate));
    certificate
}

/// RFC 7030, 4.1.3: a certs-only CMS message, base64.
fn certs_only(ders: &[Vec<u8>]) -> String {
    let choices = ders
        .iter()
        .map(|der| CertificateChoices::Certificate(cms::cert::x509::Certificate::from_der(der).unwrap()));
    let message = SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::default(),
        encap_content_info: EncapsulatedContentInfo {
            econtent_type: ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1"),
            econtent: None,
        },
        certificates: Some(CertificateSet(SetOfVec::try_from(choices.collect::<Vec<_>>()).unwrap())),
        crls: None,
        signer_infos: SignerInfos(SetOfVec::default()),
    };
    let content = ContentInfo {
        content_type: ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2"),
        content: Any::encode_from(&message).unwrap(),
    };
    let text = STANDARD.encode(content.to_der().unwrap());
    // Servers break lines; the agent must not mind.
    text.as_bytes().chunks(64).map(|line| format!("{}\r\n", std::str::from_utf8(line).unwrap())).collect()
}

fn list(state: &mut State, pki: &Pki, addr: SocketAddr) -> String {
    state.lists_given += 1;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let issued = now - state.list_age;
    let payload = serde_json::json!({
        "version": 1,
        "issued_at_us": issued.as_micros() as u64,
        "expires_at_us": (issued + state.list_life).as_micros() as u64,
        "fronts": state.fronts,
        "est": format!("https://localhost:{}", addr.port()),
        "ca_pem": state.ca_pem,
        "time": { "now_us": now.as_micros() as u64, "source": "gateway" },
    });
    let (certificates, key) = match state.signer {
        Signer::Issuing => (vec![pki.issuing.der().to_vec()], pki.issuing_key_der.clone()),
        Signer::Stranger => {
            let other = Pki::new();
            (vec![other.issuing.der().to_vec()], other.issuing_key_der)
        }
        Signer::Device => {
            let key = KeyPair::generate().unwrap();
            let mut params = Pki::device_params("rogue", Life::LONG);
            params.subject_alt_names.push(SanType::DnsName("rogue".try_into().unwrap()));
            let leaf = params.signed_by(&key, &pki.issuer).unwrap().der().to_vec();
            (vec![leaf, pki.issuing.der().to_vec()], key.serialize_der())
        }
    };
    let x5c: Vec<_> = certificates.iter().map(|der| STANDARD.encode(der)).collect();
    let header = serde_json::json!({ "alg": "ES256", "x5c": x5c });
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&payload));
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random).unwrap();
    let mut signature = key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec();
    if state.spoil_list {
        signature[10] ^= 1;
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
