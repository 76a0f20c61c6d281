//! A node of its own for each test, and a client that can send any bytes.

use prost::Message;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wardline::front::Deadlines;
use wardline::node::{Node, NodeAddrs, NodeOptions, Role, Roles};
use wardline::operate;
use wardline_journal::{DiskStorage, Storage};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{AuditEvent, Body, Frame, JournalRecord, Lane, NumericSeries, Publish};
use wardline_proto::{DeviceId, DeviceKey, TenantId, frame};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A front with its data directory.
pub(crate) struct Stand {
    pub(crate) dir: TempDir,
    pub(crate) node: Node,
}

pub(crate) fn key(device: &str) -> DeviceKey {
    DeviceKey { tenant: TenantId::new("demo").unwrap(), device: DeviceId::new(device).unwrap() }
}

impl Stand {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut NodeOptions)) -> Self {
        Self::on(None, change).await
    }

    pub(crate) async fn on(storage: Option<Arc<dyn Storage>>, change: impl FnOnce(&mut NodeOptions)) -> Self {
        Self::start(data_dir().await, storage, change).await
    }

    /// Starts two fronts of one authority with the same devices; the first sends its devices to the second.
    pub(crate) async fn pair() -> [Self; 2] {
        let (first, second) = (data_dir().await, tempfile::tempdir().unwrap());
        copy(first.path(), second.path());
        let second = Self::start(second, None, |_| {}).await;
        let to = vec![format!("localhost:{}", second.node.addrs().mqtt.port())];
        let first = Self::start(first, None, |options| options.front.drain.to = to).await;
        [first, second]
    }

    /// Starts a front on the data directory of one that has ended.
    pub(crate) async fn again(dir: TempDir) -> Self {
        Self::again_with(dir, |_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn again_with(dir: TempDir, change: impl FnOnce(&mut NodeOptions)) -> Self {
        Self::start(dir, None, change).await
    }

    async fn start(
        dir: TempDir,
        storage: Option<Arc<dyn Storage>>,
        change: impl FnOnce(&mut NodeOptions),
    ) -> Self {
        let mut options = NodeOptions::on_loopback(dir.path());
        options.roles = Roles::new(&[Role::Front]);
        options.front.deadlines = Deadlines {
            connect: Duration::from_millis(700),
            packet: Duration::from_millis(700),
            ..Deadlines::default()
        };
        change(&mut options);
        let storage = storage.unwrap_or_else(|| Arc::new(DiskStorage::new(dir.path().join("journal"))));
        let node = Node::start_with(options, storage).await.unwrap();
        Self { dir, node }
    }

    pub(crate) fn certs(&self, device: &str) -> PathBuf {
        self.dir.path().join(device)
    }

    /// Returns what connects to it, also while it stops.
    pub(crate) fn dialer(&self) -> Dialer {
        Dialer { dir: self.dir.path().to_path_buf(), addrs: self.node.addrs() }
    }

    /// Connects with a device's certificate as far as TLS.
    pub(crate) async fn dial(&self, device: &str) -> Client {
        self.dialer().dial(device).await
    }

    pub(crate) async fn dial_with(&self, config: Arc<ClientConfig>) -> std::io::Result<Client> {
        self.dialer().dial_with(config).await
    }

    /// Opens a session.
    pub(crate) async fn session(&self, device: &str, version: u8) -> Client {
        self.dialer().session(device, version).await
    }

    /// Waits until a device's new connections are refused.
    pub(crate) async fn refused_soon(&self, device: &str) {
        let wait = async {
            loop {
                let mut client = self.dial(device).await;
                client.send(&connect(5, device, 60)).await;
                if client.packet().await.is_none_or(|connack| connack[3] != 0) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("refused in time");
    }

    pub(crate) fn records(&self) -> Vec<JournalRecord> {
        let journal = self.node.journal();
        let mut reader = journal.reader(journal.start()).unwrap();
        let mut records = Vec::new();
        loop {
            let batch = reader.next_batch(1 << 20).unwrap();
            if batch.is_empty() {
                return records;
            }
            records.extend(batch.iter().map(|entry| JournalRecord::decode(entry.payload.clone()).unwrap()));
        }
    }

    pub(crate) fn publishes(&self) -> Vec<Publish> {
        let publish = |record: JournalRecord| match record.kind {
            Some(Kind::Publish(publish)) => Some(publish),
            _ => None,
        };
        self.records().into_iter().filter_map(publish).collect()
    }

    pub(crate) fn audits(&self) -> Vec<AuditEvent> {
        let audit = |record: JournalRecord| match record.kind {
            Some(Kind::Audit(audit)) => Some(audit),
            _ => None,
        };
        self.records().into_iter().filter_map(audit).collect()
    }

    /// Reads a metric without labels off the node's own page.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.dialer().page("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.expect(name)
    }

    /// Waits until an audit event has this action and outcome.
    pub(crate) async fn audited(&self, action: &str, outcome: &str) {
        let found = |event: &AuditEvent| event.action == action && event.outcome == outcome;
        let wait = async {
            while !self.audits().iter().any(found) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, wait).await;
        assert!(seen.is_ok(), "no {action} {outcome} among {:?}", self.audits());
    }
}

/// Makes a data directory with two devices.
pub(crate) async fn data_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    operate::init(dir.path(), "wardline.local", &["localhost".to_owned()]).await.unwrap();
    for device in ["mon-1", "mon-2"] {
        operate::issue_device(dir.path(), &key(device), &dir.path().join(device)).await.unwrap();
    }
    dir
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Connects to a front.
pub(crate) struct Dialer {
    dir: PathBuf,
    addrs: NodeAddrs,
}

impl Dialer {
    /// Connects with a device's certificate as far as TLS.
    pub(crate) async fn dial(&self, device: &str) -> Client {
        self.dial_with(client_config(&self.dir.join(device))).await.unwrap()
    }

    async fn dial_with(&self, config: Arc<ClientConfig>) -> std::io::Result<Client> {
        let tcp = TcpStream::connect(self.addrs.mqtt).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(config).connect(name, tcp).await?;
        Ok(Client { tls })
    }

    /// Opens a session.
    pub(crate) async fn session(&self, device: &str, version: u8) -> Client {
        let mut client = self.dial(device).await;
        client.send(&connect(version, device, 60)).await;
        let connack = client.packet().await.expect("a CONNACK");
        assert_eq!((connack[0], connack[3]), (0x20, 0), "accepted");
        client
    }

    /// Reads a page of metrics or health, with its head.
    pub(crate) async fn page(&self, path: &str) -> String {
        let mut page = TcpStream::connect(self.addrs.http).await.unwrap();
        page.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        page.read_to_string(&mut text).await.unwrap();
        text
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

/// A client that says what it is told to.
pub(crate) struct Client {
    pub(crate) tls: TlsStream<TcpStream>,
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // The front may have hung up in the middle; what it said is read next.
        let _ = self.tls.write_all(bytes).await;
        let _ = self.tls.flush().await;
    }

    /// Subscribes and waits for the SUBACK.
    pub(crate) async fn subscribe(&mut self, version: u8, filter: &str, qos: u8) {
        self.send(&subscribe(version, 3, filter, qos)).await;
        let suback = self.packet().await.unwrap();
        assert_eq!((suback[0], suback.last()), (0x90, Some(&qos)));
    }

    /// Reads one packet; `None` when the connection has ended.
    pub(crate) async fn packet(&mut self) -> Option<Vec<u8>> {
        tokio::time::timeout(PATIENCE, self.read_packet()).await.expect("a packet or the end")
    }

    async fn read_packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![0; 2];
        self.tls.read_exact(&mut packet).await.ok()?;
        assert!(packet[1] < 0x80, "short packets only");
        let mut rest = vec![0; usize::from(packet[1])];
        self.tls.read_exact(&mut rest).await.ok()?;
        packet.extend(rest);
        Some(packet)
    }
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    while length >= 0x80 {
        packet.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend(body);
    packet
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

pub(crate) fn connect(version: u8, client_id: &str, keep_alive: u16) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([version, 2]);
    body.extend(keep_alive.to_be_bytes());
    if version == 5 {
        body.push(0);
    }
    body.extend(text(client_id));
    packet(0x10, &body)
}

pub(crate) fn subscribe(version: u8, id: u8, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, id];
    body.extend(if version == 5 { &[0][..] } else { &[] });
    body.extend(text(filter));
    body.push(qos);
    packet(0x82, &body)
}

pub(crate) fn publish(version: u8, qos: u8, id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    if version == 5 {
        body.push(0);
    }
    body.extend(payload);
    packet(0x30 | qos << 1, &body)
}

pub(crate) const TOPIC: &str = "wl/1/demo/mon-1/up/telemetry";

pub(crate) fn numerics(seq: u64) -> Vec<u8> {
    let series = NumericSeries { mdc_code: 147_842, values: vec![72.0], ..NumericSeries::default() };
    let (encoding, body) = frame::encode_body(&Body { numerics: vec![series], ..Body::default() });
    let (encoding, lane) = (encoding.into(), Lane::Numerics.into());
    Frame { epoch: 1, seq, encoding, lane, body, ..Frame::default() }.encode_to_vec()
}
