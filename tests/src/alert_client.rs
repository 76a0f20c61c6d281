//! A subscriber of alerts over gRPC and mutual TLS.

use std::path::Path;
use tonic::Streaming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::{SubscribeRequest, SubscribeResponse};

/// Subscribes behind `cursor` with the certificate in `certs`.
pub async fn subscribe(port: u16, certs: &Path, cursor: u64) -> anyhow::Result<Streaming<SubscribeResponse>> {
    let request = SubscribeRequest { cursor, ..SubscribeRequest::default() };
    let mut client = AlertServiceClient::new(connect(port, certs, None).await?);
    Ok(client.subscribe(request).await?.into_inner())
}

/// Connects with the certificate in `certs`; each stream holds `window` bytes, or what tonic thinks right.
pub async fn connect(port: u16, certs: &Path, window: Option<u32>) -> anyhow::Result<Channel> {
    let read = |name: &str| std::fs::read(certs.join(name));
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("ca.pem")?))
        .identity(Identity::from_pem(read("cert.pem")?, read("key.pem")?));
    let endpoint = Endpoint::from_shared(format!("https://localhost:{port}"))?.tls_config(tls)?;
    Ok(endpoint.initial_stream_window_size(window).connect().await?)
}
