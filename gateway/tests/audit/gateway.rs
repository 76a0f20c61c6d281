//! A `wardline serve` process on a data directory of its own, and clients that connect to it.

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wardline::operate;
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// Commits, merges and trims often, so that a chain goes on behind archived and trimmed events too.
const SETTINGS: &str = "[journal]\nsegment_bytes = 65536\n\
                        [archive]\nflush_interval_ms = 100\ncompact_interval_ms = 300\ncompact_files_min = 4\n";
pub(crate) const TENANT: &str = "demo";

/// A gateway that can be killed and started again.
pub(crate) struct Gateway {
    pub(crate) dir: TempDir,
    process: Option<Child>,
}

pub(crate) fn key(device: &str) -> DeviceKey {
    DeviceKey { tenant: TenantId::new(TENANT).unwrap(), device: DeviceId::new(device).unwrap() }
}

impl Gateway {
    pub(crate) async fn new(devices: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        operate::init(dir.path(), "wardline.local", &["localhost".to_owned()]).await.unwrap();
        for device in devices {
            operate::issue_device(dir.path(), &key(device), &dir.path().join(device)).await.unwrap();
        }
        std::fs::write(dir.path().join("wardline.toml"), SETTINGS).unwrap();
        Self { dir, process: None }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardline"));
        command.args(arguments).arg("--data-dir").arg(self.dir.path()).env("WARDLINE_LOG", "warn");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts the process and returns where devices connect.
    pub(crate) fn start(&mut self) -> SocketAddr {
        let any = ["--mqtt", "--grpc", "--http", "--est"].map(|port| [port, "127.0.0.1:0"]);
        let mut command = self.command(&["serve"]);
        let mut process = command.args(any.as_flattened()).stdout(Stdio::piped()).spawn().unwrap();
        let mut told = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut told).unwrap();
        self.process = Some(process);
        let mut words = told.split_whitespace();
        words.find(|word| *word == "mqtt");
        words.next().expect("the gateway says where it listens").parse().unwrap()
    }

    /// Ends the process as a crash would.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Stops the process in order.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        let told = Command::new("kill").arg(process.id().to_string()).status().unwrap();
        assert!(told.success() && process.wait().unwrap().success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ended = (process.kill(), process.wait());
        }
    }
}

pub(crate) fn client_config(certs: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_file_iter(certs.join("ca.pem")).unwrap() {
        roots.add(ca.unwrap()).unwrap();
    }
    let chain = CertificateDer::pem_file_iter(certs.join("cert.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(certs.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap())
}

/// Returns a 3.1.1 CONNECT with the device's id.
pub(crate) fn connect_packet(device: &str) -> Vec<u8> {
    let mut packet = vec![0x10, 12 + device.len() as u8, 0, 4];
    packet.extend(b"MQTT\x04\x02\x00\x3c\x00");
    packet.push(device.len() as u8);
    packet.extend(device.as_bytes());
    packet
}

/// What the clients of one device saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// CONNECTs that may have left.
    pub(crate) sent: AtomicU64,
    /// CONNACKs that accepted.
    pub(crate) accepted: AtomicU64,
}

/// Connects, waits for the CONNACK and hangs up; again and again until the gateway is gone.
pub(crate) async fn flood(config: Arc<ClientConfig>, at: SocketAddr, device: &str, seen: &Seen) {
    while connect(&config, at, device, seen).await.is_ok() {}
}

async fn connect(
    config: &Arc<ClientConfig>,
    at: SocketAddr,
    device: &str,
    seen: &Seen,
) -> std::io::Result<()> {
    let mut tls = open(config, at, device, seen).await?;
    // It hangs up; the gateway may be gone already.
    let _gone = tls.shutdown().await;
    Ok(())
}

/// Opens a session.
pub(crate) async fn open(
    config: &Arc<ClientConfig>,
    at: SocketAddr,
    device: &str,
    seen: &Seen,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(at).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = TlsConnector::from(config.clone()).connect(name, tcp).await?;
    seen.sent.fetch_add(1, Ordering::SeqCst);
    tls.write_all(&connect_packet(device)).await?;
    let mut connack = [0; 4];
    tls.read_exact(&mut connack).await?;
    assert_eq!(connack, [0x20, 2, 0, 0]);
    seen.accepted.fetch_add(1, Ordering::SeqCst);
    Ok(tls)
}
