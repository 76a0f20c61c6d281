//! A subscriber of alerts over gRPC and mutual TLS.

use std::path::Path;
use tonic::Streaming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::{SubscribeRequest, SubscribeResponse};

/// Subscribes behind `cursor` with the certificate in `certs`.
pub async fn subscribe(port: u16, certs: &Path, cursor: u64) -> anyhow::Result<Streaming<SubscribeResponse>> {
    let read = |name: &str| std::fs::read(certs.join(name));
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("ca.pem")?))
        .identity(Identity::from_pem(read("cert.pem")?, read("key.pem")?));
    let endpoint = Endpoint::from_shared(format!("https://localhost:{port}"))?.tls_config(tls)?;
    let mut client: AlertServiceClient<Channel> = AlertServiceClient::new(endpoint.connect().await?);
    let request = SubscribeRequest { cursor, ..SubscribeRequest::default() };
    Ok(client.subscribe(request).await?.into_inner())
}
