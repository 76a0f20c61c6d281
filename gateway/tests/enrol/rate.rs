//! How often may be asked, and how fast it goes.

use crate::rig::{Rig, SIMPLEENROLL, hex, tenant};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wardline::front::Rate;
use wardline::pki::sha256;
use wardline_store::registry::NewClaims;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let rate = Rate { per_second: 0.1, burst: 2.0 };
    let rig = Rig::with(|options| options.enrol.per_source = rate).await;
    for _ in 0..2 {
        assert_eq!(rig.curl("/.well-known/est/cacerts", &[]).await.status, 200);
    }
    let answer = rig.curl("/.well-known/est/cacerts", &["-D", "headers"]).await;
    assert!(answer.status == 429 && answer.text().starts_with("WL-EST-009"), "{answer:?}");
    let headers = std::fs::read_to_string(rig.path("headers")).unwrap().to_ascii_lowercase();
    assert!(headers.contains("retry-after: "), "{headers}");
    rig.audited_refusal("WL-EST-009").await;
}

const DEVICES: usize = 120;
const AT_ONCE: usize = 8;

async fn enrol(port: u16, config: Arc<ClientConfig>, n: usize) {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let body = STANDARD.encode(request.der());
    let credentials = STANDARD.encode(format!("mon-{n}:secret-{n}"));
    let length = body.len();
    let text = format!(
        "POST {SIMPLEENROLL} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Basic {credentials}\r\n\
         Content-Type: application/pkcs10\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = TlsConnector::from(config).connect(name, tcp).await.unwrap();
    tls.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _end = tls.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_devices_enrol_in_a_minute() {
    let rig = Rig::new().await;
    let claims = NewClaims {
        tenant: tenant(),
        batch: "many".into(),
        model: String::new(),
        device: None,
        expires_at_us: crate::rig::FAR_US,
        secrets_sha256: (0..DEVICES).map(|n| hex(&sha256(format!("secret-{n}").as_bytes()))).collect(),
    };
    rig.node.store().create_claims(&crate::rig::change(), &claims).await.unwrap();
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_file_iter(rig.path("pki/ca.pem")).unwrap() {
        roots.add(ca.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    let (started, port) = (Instant::now(), rig.node.addrs().est.port());
    let workers = (0..AT_ONCE).map(|worker| {
        let config = config.clone();
        tokio::spawn(async move {
            for n in (worker..DEVICES).step_by(AT_ONCE) {
                enrol(port, config.clone(), n).await;
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    let per_minute = DEVICES as f64 / started.elapsed().as_secs_f64() * 60.0;
    println!("{per_minute:.0} enrolments a minute");
    assert!(per_minute >= 1000.0, "{per_minute:.0} enrolments a minute");
}
