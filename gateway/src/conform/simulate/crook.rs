//! A small device that speaks MQTT 5 itself, without an agent, and does one thing wrong.

use super::outbox::Outbox;
use super::{Fault, STOP_MAX};
use crate::conform::stage::Stage;
use crate::front::now_us;
use anyhow::{Context, bail};
use bytes::BytesMut;
use firmware_sim::SynthOptions;
use firmware_sim::source::Timed;
use firmware_sim::synth::Synth;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet, Publish,
};
use rumqttc::v5::mqttbytes::{Error as MqttError, QoS};
use rustls::RootCertStore;
use rustls::client::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::iter::Peekable;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wardline_proto::v1::{Body, Lane, NumericSeries, UpChannel};
use wardline_proto::{DeviceId, DeviceKey, topic};

const TICK: Duration = Duration::from_millis(20);
const CONNECT_MAX: Duration = Duration::from_secs(5);
const RECEIVE_BYTES_MAX: u32 = 64 * 1024;
const HOUR_US: i64 = 3_600_000_000;
const SECOND_US: i64 = 1_000_000;
const SPO2: u32 = 150_456;
const HEART_RATE: u32 = 147_842;

/// The small device.
pub(super) struct Crook {
    fault: Fault,
    key: DeviceKey,
    gateway: SocketAddr,
    tls: TlsConnector,
    source: Peekable<Synth>,
    begun: Instant,
    made: u64,
    outbox: Outbox,
    connects: u32,
}

impl Crook {
    pub(super) fn new(fault: Fault, stage: &Stage, synth: SynthOptions) -> anyhow::Result<Self> {
        let key = stage.key().clone();
        let now = now_us();
        let mut source = Synth::new(synth, key.device.as_str());
        source.start_at(now + if fault == Fault::ClockOff { HOUR_US } else { 0 });
        Ok(Self {
            fault,
            key,
            gateway: stage.proxy().addr(),
            tls: TlsConnector::from(Arc::new(client_config(stage.certs())?)),
            source: source.peekable(),
            begun: Instant::now(),
            made: 0,
            outbox: Outbox::new(fault, u64::try_from(now).unwrap_or(1)),
            connects: 0,
        })
    }

    /// Runs until it is told to stop and all is acknowledged, or nobody takes it any more.
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) {
        let mut stop_due = None;
        loop {
            if let Ok(stream) = self.connect().await {
                self.outbox.connected(now_us());
                if self.serve(stream, &stop, &mut stop_due).await.is_ok() {
                    return;
                }
                self.outbox.lost();
            }
            let until = Instant::now() + self.backoff();
            while Instant::now() < until {
                if is_over(&stop, &mut stop_due, false) {
                    return;
                }
                self.measure(false);
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// Half a second at least, and up to as much again.
    fn backoff(&mut self) -> Duration {
        self.connects += 1;
        let random = RandomState::new().build_hasher().finish() % 500;
        match self.fault {
            Fault::NoBackoff => TICK,
            _ => Duration::from_millis(500 + random),
        }
    }

    async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let connected = async {
            let tcp = TcpStream::connect(("127.0.0.1", self.gateway.port())).await?;
            tcp.set_nodelay(true)?;
            let mut stream = self.tls.connect(ServerName::try_from("localhost")?, tcp).await?;
            let connect = Connect {
                keep_alive: 30,
                client_id: self.key.device.to_string(),
                clean_start: true,
                properties: None,
            };
            let mut bytes = BytesMut::new();
            Packet::Connect(connect, None, None).write(&mut bytes, None)?;
            stream.write_all(&bytes).await?;
            bytes.clear();
            loop {
                if let Some(packet) = read_packet(&mut bytes)? {
                    match packet {
                        Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => return Ok(stream),
                        other => bail!("no session: {other:?}"),
                    }
                }
                if stream.read_buf(&mut bytes).await? == 0 {
                    bail!("closed");
                }
            }
        };
        timeout(CONNECT_MAX, connected).await?
    }

    /// Sends and takes answers until the connection is lost (an error) or the device is done.
    async fn serve(
        &mut self,
        mut stream: TlsStream<TcpStream>,
        stop: &watch::Receiver<bool>,
        stop_due: &mut Option<Instant>,
    ) -> anyhow::Result<()> {
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        loop {
            if !*stop.borrow() {
                self.measure(true);
            }
            if is_over(stop, stop_due, self.outbox.is_empty()) {
                let leave = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
                Packet::Disconnect(leave).write(&mut out, None)?;
                stream.write_all(&out).await?;
                return Ok(stream.shutdown().await?);
            }
            while let Some((lane, packet_id, payload)) = self.outbox.next(now_us()) {
                let mut publish = Publish::new(self.topic(lane, packet_id), QoS::AtLeastOnce, payload, None);
                publish.pkid = packet_id;
                Packet::Publish(publish).write(&mut out, None)?;
            }
            stream.write_all(&out).await?;
            out.clear();
            if let Ok(read) = timeout(TICK, stream.read_buf(&mut input)).await {
                if read? == 0 {
                    bail!("closed");
                }
                while let Some(packet) = read_packet(&mut input)? {
                    if let Packet::PubAck(ack) = packet {
                        self.outbox.settle(ack.pkid);
                    }
                }
            }
        }
    }

    fn topic(&self, lane: Lane, packet_id: u16) -> String {
        let channel = match lane {
            Lane::Alarm => UpChannel::Alarm,
            Lane::Events | Lane::Unspecified => UpChannel::Event,
            Lane::Numerics | Lane::Waveforms => UpChannel::Telemetry,
        };
        let mut key = self.key.clone();
        if self.fault == Fault::WrongTopicDevice && packet_id.is_multiple_of(7) {
            key.device = DeviceId::new("somebody-else").unwrap_or(key.device);
        }
        topic::up(&key, channel).unwrap_or_default()
    }

    /// Takes what is due from the source. A device without a spool keeps nothing while it is not connected.
    fn measure(&mut self, connected: bool) {
        let elapsed_us = i64::try_from(self.begun.elapsed().as_micros()).unwrap_or(i64::MAX);
        while let Some(Timed { mut body, .. }) = self.source.next_if(|timed| timed.ready_us <= elapsed_us) {
            self.made += 1;
            self.spoil(&mut body);
            if body != Body::default() && (connected || self.fault != Fault::NoSpool) {
                self.outbox.push(body);
            }
        }
    }

    fn spoil(&self, body: &mut Body) {
        for series in &mut body.numerics {
            match (self.fault, series.mdc_code) {
                (Fault::WrongUnit, SPO2) => {
                    series.ucum_unit = "1".to_owned();
                    series.values.iter_mut().for_each(|value| *value /= 100.0);
                }
                (Fault::OutOfRange, HEART_RATE) if self.made.is_multiple_of(3) => series.values.fill(900.0),
                _ => {}
            }
        }
        if self.fault == Fault::WrongCadence {
            let is_odd = |at_us: i64| at_us / SECOND_US % 2 != 0;
            body.numerics.retain(|series| series.mdc_code != HEART_RATE || is_odd(series.start_us));
        }
        if self.fault == Fault::Undeclared {
            let co2 = body.numerics.first().map(|first| NumericSeries {
                mdc_code: 151_594,
                ucum_unit: "/min".to_owned(),
                values: vec![14.0],
                statuses: Vec::new(),
                ..first.clone()
            });
            body.numerics.extend(co2);
        }
    }
}

/// Says whether a device that was told to stop is done: all is acknowledged, or its time is up.
fn is_over(stop: &watch::Receiver<bool>, due: &mut Option<Instant>, is_empty: bool) -> bool {
    if !*stop.borrow() {
        return false;
    }
    let due = *due.get_or_insert_with(|| Instant::now() + STOP_MAX);
    is_empty || Instant::now() >= due
}

fn read_packet(input: &mut BytesMut) -> Result<Option<Packet>, MqttError> {
    match Packet::read(input, Some(RECEIVE_BYTES_MAX)) {
        Ok(packet) => Ok(Some(packet)),
        Err(MqttError::InsufficientBytes(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn client_config(certs: &Path) -> anyhow::Result<ClientConfig> {
    let read = |name: &str| {
        let path = certs.join(name);
        let certificates =
            CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        certificates.with_context(|| format!("read {}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in read("ca.pem")? {
        roots.add(certificate)?;
    }
    let key = PrivateKeyDer::from_pem_file(certs.join("key.pem")).context("read key.pem")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(builder.with_root_certificates(roots).with_client_auth_cert(read("cert.pem")?, key)?)
}
