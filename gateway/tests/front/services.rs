//! Services that call over gRPC, with the certificates that an operator issues.

use crate::support::Stand;
use std::time::{Duration, Instant};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as Pem};
use tonic::{Code, Streaming};
use wardline::node::{Role, Roles};
use wardline::operate;
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::{SubscribeRequest, SubscribeResponse};
use wardline_proto::{DeviceId, Identity, TenantId};

async fn subscribe(stand: &Stand, certs: &std::path::Path) -> Streaming<SubscribeResponse> {
    let read = |name: &str| std::fs::read(certs.join(name)).unwrap();
    let tls = ClientTlsConfig::new()
        .domain_name("localhost")
        .ca_certificate(Certificate::from_pem(read("ca.pem")))
        .identity(Pem::from_pem(read("cert.pem"), read("key.pem")));
    let url = format!("https://{}", stand.node.addrs().grpc);
    let endpoint = Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap();
    let channel: Channel = endpoint.connect().await.unwrap();
    AlertServiceClient::new(channel).subscribe(SubscribeRequest::default()).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_front_cuts_a_revoked_service() {
    // Whoever comes first installs the provider that the client of gRPC takes.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let stand = Stand::with(|options| options.roles = Roles::new(&[Role::Alert, Role::Api])).await;
    let (tenant, name) = (TenantId::new("demo").unwrap(), DeviceId::new("ward").unwrap());
    let certs = stand.dir.path().join("ward");
    operate::issue_service(stand.dir.path(), &tenant, &name, &certs).await.unwrap();
    let mut stream = subscribe(&stand, &certs).await;
    stream.message().await.unwrap();
    let ward = Identity::Service { tenant, name };
    assert_eq!(operate::revoke(stand.dir.path(), &ward).await.unwrap(), 1);
    let revoked_at = Instant::now();
    let status = loop {
        if let Err(status) = stream.message().await {
            break status;
        }
    };
    assert!(revoked_at.elapsed() < Duration::from_secs(2), "SEC-2: {:?}", revoked_at.elapsed());
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(status.message().starts_with("WL-ID-002"), "{status:?}");
    stand.audited("refused", "WL-ID-002").await;
}
