//! Devices, callers and strangers that keep the three ports busy, and what each of them saw.

use crate::frames::{alarm_frame, frame, heart_rate, now_us, tls};
use crate::process::run;
use crate::stand::{Stand, TENANT};
use anyhow::{Context, bail, ensure};
use prost::Message;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::registry_service_client::RegistryServiceClient;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, Body, DeviceAlarm, Frame, Priority, SubscribeRequest, WhoamiRequest,
};
use wardline_tests::mqtt_client::{Connection, Session};

/// Between two connects of one client: the ports stay busy, and the machine is there for others too.
const PAUSE: Duration = Duration::from_millis(15);
const ANSWER_WAIT: Duration = Duration::from_secs(20);
const PER_TURN: usize = 8;
const WINDOW: u16 = 4;

/// Returns where devices connect.
pub(super) fn mqtt(stand: &Stand) -> SocketAddr {
    ([127, 0, 0, 1], stand.mqtt).into()
}

/// Opens a session.
pub(super) async fn session(stand: &Stand, certs: &Path, device: &str) -> anyhow::Result<Connection> {
    Connection::connect(mqtt(stand), &tls(certs)?, device, Session::Clean).await
}

/// Returns a device's topic.
pub(super) fn topic(device: &str) -> String {
    format!("wl/1/{TENANT}/{device}/up/telemetry")
}

/// Asks the HTTPS port with a device's certificate; a POST carries a request for a certificate, the same each time.
pub(super) async fn get_with(
    stand: &Stand,
    certs: &Path,
    method: &str,
    path: &str,
) -> anyhow::Result<(u16, String)> {
    let path = if method == "POST" { format!("/.well-known/est/{path}") } else { format!("/{path}") };
    let body = if method == "POST" { request(certs)? } else { String::new() };
    https(stand.est, tls(certs)?, &format!("{method} {path}"), "", &body).await
}

/// Asks the HTTPS port for one thing in a new connection: status and body. `head` holds further lines of the request.
pub(super) async fn https(
    port: u16,
    config: Arc<ClientConfig>,
    line: &str,
    head: &str,
    body: &str,
) -> anyhow::Result<(u16, String)> {
    let asked = async {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut tls = TlsConnector::from(config).connect(ServerName::try_from("localhost")?, tcp).await?;
        let head = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}Content-Type: application/pkcs10\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        tls.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        let read = tls.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{answer:?} {read:?}"))?;
        let status = head.split(' ').nth(1).context("a status line")?.parse()?;
        anyhow::Ok((status, body.to_owned()))
    };
    tokio::time::timeout(ANSWER_WAIT, asked).await.context("no answer")?
}

/// Makes a request for a certificate with openssl, once per folder.
pub(super) fn request(certs: &Path) -> anyhow::Result<String> {
    let (key, der, text) = (certs.join("next.key"), certs.join("next.der"), certs.join("next.b64"));
    if !text.exists() {
        let new = "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -outform DER";
        run(Command::new("openssl").args(new.split(' ')).arg("-keyout").arg(key).arg("-out").arg(&der))?;
        run(Command::new("openssl").args(["base64", "-in"]).arg(der).arg("-out").arg(&text))?;
    }
    Ok(std::fs::read_to_string(text)?)
}

/// What all clients of one kind saw.
#[derive(Debug, Default)]
pub(super) struct Tally {
    done: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl Tally {
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// Says that nothing failed, and that there was something to fail.
    pub(super) fn check(&self, what: &str) -> anyhow::Result<()> {
        let failed = self.failed.lock().map(|failed| failed.clone()).unwrap_or_default();
        println!("{what}: {} done, {} refused or dropped", self.done(), failed.len());
        ensure!(failed.is_empty() && self.done() > 0, "{what}: {} done, failed: {failed:?}", self.done());
        Ok(())
    }
}

/// The clients, running.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
    /// Publishes that were acknowledged on sessions that never ended.
    pub(super) acked: Arc<Tally>,
    /// New sessions with a publish each.
    pub(super) connects: Arc<Tally>,
    /// New connections to the HTTPS port: revocation list, authorities, renewals.
    pub(super) https: Arc<Tally>,
    /// New connections to the gRPC port, with a call each.
    pub(super) calls: Arc<Tally>,
    /// What one subscription got that never ended.
    pub(super) told: Arc<Tally>,
}

impl Load {
    pub(super) fn new() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (acked, connects, https, calls, told) = Default::default();
        Self { stop, tasks: Vec::new(), acked, connects, https, calls, told }
    }

    /// Repeats a turn until it fails or the load is stopped.
    fn repeat<F>(&mut self, tally: &Arc<Tally>, pause: Duration, mut turn: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = anyhow::Result<u64>> + Send + 'static,
    {
        let (stop, tally) = (self.stop.clone(), tally.clone());
        self.tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                match turn().await {
                    Ok(done) => drop(tally.done.fetch_add(done, Ordering::SeqCst)),
                    Err(error) => {
                        tally.failed.lock().map(|mut all| all.push(format!("{error:#}"))).unwrap_or(())
                    }
                }
                tokio::time::sleep(pause).await;
            }
        }));
    }

    /// A session that publishes all the time. One that ends is not opened again: it was dropped.
    pub(super) async fn session(&mut self, stand: &Stand, certs: &Path, device: &str) -> anyhow::Result<()> {
        let (mut connection, topic) = (session(stand, certs, device).await?, topic(device));
        let (stop, tally) = (self.stop.clone(), self.acked.clone());
        self.tasks.push(tokio::spawn(async move {
            let mut seq = 0;
            while !stop.load(Ordering::SeqCst) {
                let fill = |out: &mut Vec<u8>| {
                    seq += 1;
                    out.extend(numeric(seq).encode_to_vec());
                };
                match connection.publish(&topic, PER_TURN, WINDOW, fill).await {
                    Ok(acked) => drop(tally.done.fetch_add(acked.len() as u64, Ordering::SeqCst)),
                    Err(error) => {
                        return tally
                            .failed
                            .lock()
                            .map(|mut all| all.push(format!("{error:#}")))
                            .unwrap_or(());
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        }));
        Ok(())
    }

    /// A device that connects, publishes and leaves, again and again.
    pub(super) fn connects(&mut self, stand: &Stand, certs: &Path, device: &str) -> anyhow::Result<()> {
        let (config, address, device) = (tls(certs)?, mqtt(stand), device.to_owned());
        let seq = Arc::new(AtomicU64::new(0));
        self.repeat(&self.connects.clone(), PAUSE, move || {
            let (config, device, seq) =
                (config.clone(), device.clone(), seq.fetch_add(1, Ordering::SeqCst) + 1);
            async move {
                let mut connection = Connection::connect(address, &config, &device, Session::Clean).await?;
                let payload = numeric(seq).encode_to_vec();
                connection.publish(&topic(&device), 1, 1, |out| out.extend(&payload)).await?;
                connection.disconnect().await?;
                Ok(1)
            }
        });
        Ok(())
    }

    /// Somebody who asks the HTTPS port with a device's certificate, in a new connection each time.
    pub(super) fn asks(
        &mut self,
        stand: &Stand,
        certs: &Path,
        line: &'static str,
        has_body: bool,
    ) -> anyhow::Result<()> {
        let (config, port) = (tls(certs)?, stand.est);
        let body = if has_body { request(certs)? } else { String::new() };
        self.repeat(&self.https.clone(), PAUSE, move || {
            let (config, body) = (config.clone(), body.clone());
            async move {
                match https(port, config, line, "", &body).await? {
                    (200, _) => Ok(1),
                    (status, body) => bail!("{line}: {status} {body}"),
                }
            }
        });
        Ok(())
    }

    /// An operator whose every call is on a new connection.
    pub(super) fn calls(&mut self, stand: &Stand) -> anyhow::Result<()> {
        let endpoint = endpoint(stand, &stand.data().join("operator"))?;
        self.repeat(&self.calls.clone(), PAUSE, move || {
            let endpoint = endpoint.clone();
            async move {
                let mut client = RegistryServiceClient::new(endpoint.connect().await?);
                client.whoami(WhoamiRequest {}).await?;
                Ok(1)
            }
        });
        Ok(())
    }

    /// A subscription that stays open.
    pub(super) async fn subscribes(&mut self, stand: &Stand, certs: &Path) -> anyhow::Result<()> {
        let channel: Channel = endpoint(stand, certs)?.connect().await?;
        let wanted = SubscribeRequest { from_now: true, ..SubscribeRequest::default() };
        let mut events = AlertServiceClient::new(channel).subscribe(wanted).await?.into_inner();
        let tally = self.told.clone();
        let task = tokio::spawn(async move {
            loop {
                match events.message().await {
                    Ok(Some(_)) => drop(tally.done.fetch_add(1, Ordering::SeqCst)),
                    end => {
                        return tally.failed.lock().map(|mut all| all.push(format!("{end:?}"))).unwrap_or(());
                    }
                }
            }
        });
        // It is not told to stop: it ends with the runtime.
        drop(task);
        Ok(())
    }

    /// Stops all but the subscription.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks.drain(..) {
            task.await?;
        }
        Ok(())
    }
}

/// Returns the gRPC port as a caller with these certificates reaches it.
pub(super) fn endpoint(stand: &Stand, certs: &Path) -> anyhow::Result<Endpoint> {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let read = |name: &str| std::fs::read(certs.join(name));
    let tls = ClientTlsConfig::new()
        .domain_name("localhost")
        .ca_certificate(Certificate::from_pem(read("ca.pem")?))
        .identity(Identity::from_pem(read("cert.pem")?, read("key.pem")?));
    Ok(Endpoint::from_shared(format!("https://127.0.0.1:{}", stand.grpc))?.tls_config(tls)?)
}

fn numeric(seq: u64) -> Frame {
    frame(1, seq, &heart_rate(now_us(), &[60.0]))
}

/// Returns a frame with the start of a device's alarm.
pub(super) fn alarm(seq: u64) -> Vec<u8> {
    let alarm = DeviceAlarm {
        condition_id: format!("leads-{seq}"),
        kind: AlarmKind::Technical.into(),
        priority: Priority::High.into(),
        phase: AlarmPhase::Start.into(),
        at_us: now_us(),
        ..DeviceAlarm::default()
    };
    alarm_frame(1, seq, &Body { alarms: vec![alarm], ..Body::default() }).encode_to_vec()
}
