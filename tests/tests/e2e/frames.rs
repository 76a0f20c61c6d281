//! Frames as a device's maker would build them from the schema, and a plain MQTT 3.1.1 client to send them.

use crate::stand::TENANT;
use anyhow::{Context, bail};
use prost::Message;
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS, TlsConfiguration, Transport,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, Body, Clock, DeviceAlarm, Encoding, Frame, Lane, NumericSeries, Priority,
};

/// Heart rate, `/min`.
pub(crate) const HEART_RATE: u32 = 147_842;
/// The epoch of the alarms that tests raise.
pub(crate) const ALARM_EPOCH: u64 = 1_790_000_000_000_000;
/// How long one acknowledgement may take on a loaded machine.
const ACK_WAIT: Duration = Duration::from_secs(20);

/// Returns the time now, unix microseconds.
pub(crate) fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}

/// Returns a series of `values`, a second apart.
pub(crate) fn series(mdc_code: u32, unit: &str, start_us: i64, values: &[f64]) -> NumericSeries {
    let delta = |index: usize| if index == 0 { 0 } else { 1_000_000 };
    NumericSeries {
        mdc_code,
        ucum_unit: unit.to_owned(),
        start_us,
        time_deltas_us: (0..values.len()).map(delta).collect(),
        values: values.to_vec(),
        statuses: Vec::new(),
    }
}

/// Returns a heart rate body.
pub(crate) fn heart_rate(start_us: i64, values: &[f64]) -> Body {
    Body { numerics: vec![series(HEART_RATE, "/min", start_us, values)], ..Body::default() }
}

/// Returns a numerics frame of `body`.
pub(crate) fn frame(epoch: u64, seq: u64, body: &Body) -> Frame {
    raw_frame(epoch, seq, body.encode_to_vec())
}

/// Returns an alarm frame of `body`.
pub(crate) fn alarm_frame(epoch: u64, seq: u64, body: &Body) -> Frame {
    Frame { lane: Lane::Alarm.into(), ..frame(epoch, seq, body) }
}

/// Returns a numerics frame whose body is `bytes`, whatever they are.
pub(crate) fn raw_frame(epoch: u64, seq: u64, bytes: Vec<u8>) -> Frame {
    Frame {
        epoch,
        seq,
        sent_at_us: now_us(),
        clock: Some(Clock::default()),
        encoding: Encoding::Identity.into(),
        lane: Lane::Numerics.into(),
        body: bytes.into(),
    }
}

/// Makes the start of a condition: a low saturation of high priority, now.
pub(crate) fn low_saturation(condition_id: String) -> DeviceAlarm {
    DeviceAlarm {
        condition_id,
        mdc_code: 196_670,
        source_mdc_code: 150_456,
        kind: AlarmKind::Physiological.into(),
        priority: Priority::High.into(),
        phase: AlarmPhase::Start.into(),
        at_us: now_us(),
        ..DeviceAlarm::default()
    }
}

/// Publishes the start of conditions as a device with certificates in a folder, each its own frame on the alarm lane.
pub(crate) async fn alarms(
    port: u16,
    (device, certs): (&str, &Path),
    numbers: std::ops::Range<u64>,
) -> anyhow::Result<()> {
    let mut publisher = Publisher::connect(port, TENANT, device, certs).await?;
    for number in numbers {
        let alarms = vec![low_saturation(format!("condition-{number}"))];
        let body = Body { alarms, ..Body::default() };
        publisher.publish(&alarm_frame(ALARM_EPOCH, number + 1, &body)).await?;
    }
    Ok(())
}

/// A connected device.
pub(crate) struct Publisher {
    client: AsyncClient,
    events: EventLoop,
    prefix: String,
}

impl Publisher {
    /// Connects `tenant/device` with the certificate in `certs`.
    pub(crate) async fn connect(port: u16, tenant: &str, device: &str, certs: &Path) -> anyhow::Result<Self> {
        let mut options = MqttOptions::new(device, "localhost", port);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls(certs)?)));
        options.set_keep_alive(Duration::from_secs(30)).set_clean_session(true);
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut events) = AsyncClient::new(options, 16);
        loop {
            if let Event::Incoming(Packet::ConnAck(_)) = events.poll().await.context("connect")? {
                break;
            }
        }
        Ok(Self { client, events, prefix: format!("wl/1/{tenant}/{device}/up/") })
    }

    /// Publishes with QoS 1 and waits for the acknowledgement. A closed connection is an error.
    pub(crate) async fn publish(&mut self, frame: &Frame) -> anyhow::Result<()> {
        let channel = if frame.lane() == Lane::Alarm { "alarm" } else { "telemetry" };
        let topic = format!("{}{channel}", self.prefix);
        self.client.publish(topic, QoS::AtLeastOnce, false, frame.encode_to_vec()).await?;
        let acked = async {
            loop {
                match self.events.poll().await? {
                    Event::Incoming(Packet::PubAck(_)) => return Ok(()),
                    Event::Incoming(Packet::Disconnect) | Event::Outgoing(Outgoing::Disconnect) => {
                        bail!("disconnected")
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(ACK_WAIT, acked).await.context("no acknowledgement")?
    }
}

/// Returns the TLS configuration of a device with `cert.pem`, `key.pem` and `ca.pem` in `certs`.
pub(crate) fn tls(certs: &Path) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(certs.join("ca.pem"))? {
        roots.add(certificate?)?;
    }
    let chain = CertificateDer::pem_file_iter(certs.join("cert.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(certs.join("key.pem"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    Ok(Arc::new(config))
}
