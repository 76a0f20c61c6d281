//! A fleet against a front that demands certificates, drops sessions and acknowledges late.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::BytesMut;
use firmware_sim::fleet::{FleetReport, Mqtt, Rate, Shape};
use firmware_sim::{FleetOptions, run_fleet};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet, PubAck};
use rumqttc::v5::mqttbytes::v5;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use wardline_proto::frame::{decode, decode_body, lane_of};

/// How often each (topic, epoch, lane, seq) was taken.
type Taken = Arc<Mutex<BTreeMap<(String, u64, i32, u64), usize>>>;

/// Issues certificates for `devices` devices into `dir` and returns the front's side of TLS.
fn issue(dir: &Path, devices: usize) -> ServerConfig {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    for device in 0..devices {
        let folder = dir.join("demo").join(format!("mon-{device}"));
        std::fs::create_dir_all(&folder).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(vec![format!("mon-{device}")]).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join("cert.pem"), leaf.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(folder.join("ca.pem"), ca_certificate.pem()).unwrap();
    }
    let key = KeyPair::generate().unwrap();
    let server =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca_certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.der().clone()], key)
        .unwrap()
}

/// Serves one session; drops it without the last acknowledgements after `publishes_max`.
async fn session(tls: TlsAcceptor, tcp: TcpStream, publishes_max: usize, taken: Taken) -> Option<()> {
    let mut stream = tls.accept(tcp).await.ok()?;
    let (mut input, mut publishes) = (BytesMut::new(), 0);
    loop {
        let mut out = BytesMut::new();
        while let Ok(packet) = Packet::read(&mut input, 256 * 1024) {
            match packet {
                Packet::Connect(_) => _ = ConnAck::new(ConnectReturnCode::Success, false).write(&mut out),
                Packet::Publish(publish) => {
                    let (header, frame) = decode(publish.payload).unwrap();
                    assert_eq!(lane_of(&decode_body(&frame).unwrap()), header.lane);
                    let place = (publish.topic, header.epoch, i32::from(header.lane), header.seq);
                    *taken.lock().unwrap().entry(place).or_default() += 1;
                    publishes += 1;
                    if publishes == publishes_max {
                        return None;
                    }
                    PubAck::new(publish.pkid).write(&mut out).unwrap();
                }
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        stream.write_all(&out).await.ok()?;
        stream.flush().await.ok()?;
        if stream.read_buf(&mut input).await.ok()? == 0 {
            return None;
        }
    }
}

struct Run {
    report: FleetReport,
    taken: BTreeMap<(String, u64, i32, u64), usize>,
    ledger: Vec<String>,
}

async fn run(devices: usize, publishes_max: usize, change: impl FnOnce(&mut FleetOptions)) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let tls = TlsAcceptor::from(Arc::new(issue(&dir.path().join("certs"), devices)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = listener.local_addr().unwrap().to_string();
    let taken = Taken::default();
    let front = tokio::spawn({
        let taken = Arc::clone(&taken);
        async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(session(tls.clone(), tcp, publishes_max, Arc::clone(&taken)));
            }
        }
    });
    let ledger = dir.path().join("ledger");
    let mut options = FleetOptions {
        ledger: Some(ledger.clone()),
        rate: Rate::Max,
        drain: Duration::from_secs(20),
        ..FleetOptions::new(&gateway, dir.path().join("certs"))
    };
    change(&mut options);
    let (_stop, shutdown) = watch::channel(false);
    let report = run_fleet(options, shutdown).await.unwrap();
    front.abort();
    let lines = std::fs::read_to_string(ledger).unwrap_or_default();
    let taken = taken.lock().unwrap().clone();
    Run { report, taken, ledger: lines.lines().map(str::to_owned).collect() }
}

#[tokio::test]
async fn every_frame_is_acknowledged_once_although_sessions_are_dropped() {
    let run = run(4, 37, |o| o.frames_max = Some(150)).await;
    assert_eq!((run.report.sent, run.report.acked, run.report.unacked), (600, 600, 0));
    assert!(run.report.reconnects > 0 && run.report.resent > 0);
    assert_eq!(run.ledger.iter().collect::<BTreeSet<_>>().len(), 600, "one line per frame");
    assert_eq!(run.ledger.len(), 600);
    assert_eq!(run.taken.len(), 600, "contiguous from 1, and every acknowledged frame was taken");
    for line in &run.ledger {
        let fields: Vec<_> = line.split(' ').collect();
        let topic = format!("wl/1/{}/up/telemetry", fields[0]);
        let place = (topic, fields[1].parse().unwrap(), 2, fields[3].parse().unwrap());
        assert!(fields[2] == "numerics" && run.taken.contains_key(&place), "{line}");
    }
}

#[tokio::test]
async fn a_cut_of_all_connections_loses_nothing() {
    let run = run(3, usize::MAX, |o| {
        (o.shape, o.rate, o.duration) =
            (Shape::ReconnectAll, Rate::PerSecond(50.0), Some(Duration::from_secs(2)));
    })
    .await;
    assert_eq!(run.report.unacked, 0);
    assert!((6..=9).contains(&run.report.connects) && run.report.reconnects == run.report.connects - 3);
    assert!(run.report.sent >= 240, "what fell due while away was caught up: {}", run.report.sent);
}

#[tokio::test]
async fn a_code_in_a_ward_sends_alarms_on_their_own_topic() {
    let run = run(2, usize::MAX, |o| {
        (o.shape, o.rate, o.duration) =
            (Shape::WardCode, Rate::PerSecond(10.0), Some(Duration::from_secs(3)));
    })
    .await;
    let alarms =
        run.taken.keys().filter(|(topic, _, lane, _)| topic.ends_with("/up/alarm") && *lane == 1).count();
    assert!(alarms > 10 && run.report.unacked == 0);
}

#[tokio::test]
async fn who_is_not_let_in_is_counted_by_reason() {
    let run = run(1, usize::MAX, |o| {
        o.server_name = Some("elsewhere.example".to_owned());
        (o.duration, o.drain) = (Some(Duration::from_secs(1)), Duration::ZERO);
    })
    .await;
    assert_eq!((run.report.sent, run.report.connects), (0, 0));
    assert!(
        run.report.refused.keys().all(|reason| reason.starts_with("tls: ")) && !run.report.refused.is_empty()
    );
}

/// Serves one session of MQTT 5; after `publishes_max` it sends its device to `elsewhere`, and takes no more.
async fn session_that_moves(
    tls: TlsAcceptor,
    tcp: TcpStream,
    (publishes_max, elsewhere): (usize, String),
    taken: Taken,
) -> Option<()> {
    let mut stream = tls.accept(tcp).await.ok()?;
    let (mut input, mut publishes) = (BytesMut::new(), 0);
    loop {
        let mut out = BytesMut::new();
        while let Ok(packet) = v5::Packet::read(&mut input, None) {
            match packet {
                v5::Packet::Connect(..) => {
                    let code = v5::ConnectReturnCode::Success;
                    let welcome = v5::ConnAck { session_present: false, code, properties: None };
                    welcome.write(&mut out).unwrap();
                }
                v5::Packet::Publish(publish) => {
                    let (header, _frame) = decode(publish.payload).unwrap();
                    let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                    let place = (topic, header.epoch, i32::from(header.lane), header.seq);
                    *taken.lock().unwrap().entry(place).or_default() += 1;
                    publishes += 1;
                    v5::PubAck::new(publish.pkid, None).write(&mut out).unwrap();
                    if publishes == publishes_max {
                        let mut moved = v5::Disconnect::new(v5::DisconnectReasonCode::UseAnotherServer);
                        moved.properties = Some(v5::DisconnectProperties {
                            session_expiry_interval: None,
                            reason_string: None,
                            user_properties: Vec::new(),
                            server_reference: Some(elsewhere.clone()),
                        });
                        moved.write(&mut out).unwrap();
                        stream.write_all(&out).await.ok()?;
                        stream.flush().await.ok()?;
                        // What is under way is taken off the socket: closed with it, its end would overtake this.
                        while stream.read_buf(&mut input).await.ok()? > 0 {
                            input.clear();
                        }
                        return Some(());
                    }
                }
                _ => {}
            }
        }
        stream.write_all(&out).await.ok()?;
        stream.flush().await.ok()?;
        if stream.read_buf(&mut input).await.ok()? == 0 {
            return None;
        }
    }
}

#[tokio::test]
async fn devices_of_mqtt_5_follow_a_front_that_sends_them_on() {
    let dir = tempfile::tempdir().unwrap();
    let tls = TlsAcceptor::from(Arc::new(issue(&dir.path().join("certs"), 3)));
    let fronts =
        [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let [first, second] = [0, 1].map(|front: usize| fronts[front].local_addr().unwrap().to_string());
    let taken = [Taken::default(), Taken::default()];
    let lasts = [10, usize::MAX];
    for ((listener, taken), publishes_max) in fronts.into_iter().zip(taken.clone()).zip(lasts) {
        let (tls, second) = (tls.clone(), second.clone());
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let rule = (publishes_max, second.clone());
                tokio::spawn(session_that_moves(tls.clone(), tcp, rule, Arc::clone(&taken)));
            }
        });
    }
    let options = FleetOptions {
        mqtt: Mqtt::V5,
        rate: Rate::Max,
        frames_max: Some(40),
        drain: Duration::from_secs(20),
        ..FleetOptions::new(&first, dir.path().join("certs"))
    };
    let (_stop, shutdown) = watch::channel(false);
    let report = run_fleet(options, shutdown).await.unwrap();
    assert_eq!((report.sent, report.acked, report.unacked), (120, 120, 0));
    assert_eq!((report.sent_on, report.connects, report.refused.len()), (3, 6, 0), "{report}");
    let [first, second] = taken.map(|taken| taken.lock().unwrap().clone());
    assert_eq!((first.len(), second.len()), (30, 90), "each frame at one of them, once");
    assert!(first.values().chain(second.values()).all(|times| *times == 1));
}
