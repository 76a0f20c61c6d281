//! The demo's ward: a gRPC subscriber with its own certificate.

use anyhow::Context;
use std::net::SocketAddr;
use std::path::Path;
use tokio::sync::mpsc;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{AlarmPhase, AlertEvent, Priority, SubscribeRequest};

/// Subscribes at `addr` with the certificate in `certs` and passes each event on until either side ends.
pub(crate) async fn listen(
    addr: SocketAddr,
    certs: &Path,
    events: mpsc::Sender<AlertEvent>,
) -> anyhow::Result<()> {
    let read =
        |name: &str| std::fs::read(certs.join(name)).with_context(|| format!("{name} of the demo's ward"));
    let tls = ClientTlsConfig::new()
        .domain_name("localhost")
        .ca_certificate(Certificate::from_pem(read("ca.pem")?))
        .identity(Identity::from_pem(read("cert.pem")?, read("key.pem")?));
    let endpoint = Endpoint::from_shared(format!("https://localhost:{}", addr.port()))?.tls_config(tls)?;
    let mut client =
        AlertServiceClient::new(endpoint.connect().await.context("connect to the alert service")?);
    let mut stream = client.subscribe(SubscribeRequest::default()).await?.into_inner();
    while let Some(response) = stream.message().await? {
        let Some(Kind::Event(event)) = response.kind else { continue };
        if events.send(event).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Says an event in one line.
pub(crate) fn line(event: &AlertEvent) -> String {
    let alert = event.alert.clone().unwrap_or_default();
    let priority = match alert.priority() {
        Priority::High => "HIGH",
        Priority::Medium => "MEDIUM",
        Priority::Low | Priority::Unspecified => "LOW",
    };
    let phase = match event.phase() {
        AlarmPhase::Start => "begins",
        AlarmPhase::End => "ends",
        AlarmPhase::Update if event.reason == "strip" => "has its waveforms",
        _ => "continues",
    };
    let value = alert.value.map_or_else(String::new, |v| format!(" {v:.0} {}", alert.ucum_unit));
    format!("ALERT {priority} {phase}: {} {}{value} (rule {})", alert.device, alert.mdc_ref_id, alert.rule_id)
}
