//! The agent's own enrolment against the gateway's: one claim, one identity, and a connection with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::path::Path;
use std::time::Duration;
use wardline::node::{Node, NodeOptions, Role, Roles};
use wardline::operate;
use wardline::pki::sha256;
use wardline_edge::{Agent, AgentOptions, EnrolOptions, LinkAddr, Proof, enrol};
use wardline_proto::{DeviceId, TenantId};
use wardline_store::registry::{Change, NewClaims};

const PATIENCE: Duration = Duration::from_secs(20);
const FAR_US: i64 = 4_000_000_000_000_000;

async fn gateway(dir: &Path) -> Node {
    operate::init(dir, "wardline.local", &["localhost".to_owned()]).await.unwrap();
    let mut options = NodeOptions::on_loopback(dir);
    options.roles = Roles::new(&[Role::Front, Role::Api]);
    Node::start(options).await.unwrap()
}

/// Makes a claim as the gateway's operator does.
async fn claim(node: &Node, dir: &Path, byte: u8) -> String {
    let secret = URL_SAFE_NO_PAD.encode([byte; 24]);
    let claims = NewClaims {
        tenant: TenantId::new("demo").unwrap(),
        batch: format!("batch-{byte}"),
        model: String::new(),
        device: None,
        expires_at_us: FAR_US,
        secrets_sha256: vec![sha256(secret.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()],
    };
    node.store().create_claims(&Change::new("test", 1_700_000_000_000_000), &claims).await.unwrap();
    let root = CertificateDer::from_pem_file(dir.join("pki/root.pem")).unwrap();
    format!("wl1.{secret}.{}", URL_SAFE_NO_PAD.encode(&sha256(&root)[..16]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_enrols_an_agent_that_then_connects() {
    let (data, edge) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = gateway(data.path()).await;
    let certs = edge.path().join("certs");
    let mut options = EnrolOptions {
        url: format!("https://localhost:{}", node.addrs().est.port()),
        proof: Proof::Claim(claim(&node, data.path(), 1).await.parse().unwrap()),
        device: DeviceId::new("mon-1").unwrap(),
        serial_number: Some("SN-1".to_owned()),
        certs_dir: certs.clone(),
    };
    let enrolled = enrol(&options).await.unwrap();
    assert_eq!(enrolled.device.to_string(), "demo/mon-1");
    assert_eq!(enrolled.fronts[0].port, node.addrs().mqtt.port());

    // As if the answer had been lost: the same key gets the same certificate.
    let first = fs::read(certs.join("cert.pem")).unwrap();
    fs::remove_file(certs.join("cert.pem")).unwrap();
    assert!(enrol(&options).await.unwrap().is_new);
    assert_eq!(fs::read(certs.join("cert.pem")).unwrap(), first);

    // The claim is spent: another key gets nothing.
    options.certs_dir = edge.path().join("thief");
    let refused = enrol(&options).await.unwrap_err();
    assert_eq!(refused.code(), "WL-EDGE-004");
    assert!(refused.to_string().contains("WL-EST-"), "{refused}");

    let mut agent = AgentOptions::new(None, &certs, edge.path().join("spool"));
    agent.link = LinkAddr::Tcp(([127, 0, 0, 1], 0).into());
    let agent = Agent::start(agent).await.unwrap();
    let connected = async {
        while !agent.stats().connected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, connected).await.is_ok(), "{:?}", agent.stats());
    agent.shutdown().await.unwrap();
    node.shutdown().await.unwrap();
}
