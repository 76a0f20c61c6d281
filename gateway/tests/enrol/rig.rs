//! A gateway, and the tools of somebody who has none of our code.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use wardline::node::{Node, NodeOptions, Role, Roles};
use wardline::operate;
use wardline::pki::sha256;
use wardline_journal::{DiskStorage, Storage};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{AuditEvent, JournalRecord};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::registry::{Change, NewClaims, Revocation, RevokeBy};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const SIMPLEENROLL: &str = "/.well-known/est/simpleenroll";
pub(crate) const SIMPLEREENROLL: &str = "/.well-known/est/simplereenroll";
pub(crate) const FAR_US: i64 = 4_000_000_000_000_000;

pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) node: Node,
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(crate) fn tenant() -> TenantId {
    TenantId::new("demo").unwrap()
}

pub(crate) fn change() -> Change {
    Change::new("test", 1_700_000_000_000_000)
}

pub(crate) fn key(device: &str) -> DeviceKey {
    DeviceKey { tenant: tenant(), device: DeviceId::new(device).unwrap() }
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(set: impl FnOnce(&mut NodeOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        operate::init(dir.path(), "wardline.local", &["localhost".to_owned()]).await.unwrap();
        let storage = Arc::new(DiskStorage::new(dir.path().join("journal")));
        Self::on(dir, storage, set).await
    }

    /// Starts a gateway on a data directory, with its journal elsewhere.
    pub(crate) async fn on(
        dir: TempDir,
        storage: Arc<dyn Storage>,
        set: impl FnOnce(&mut NodeOptions),
    ) -> Self {
        let mut options = NodeOptions::on_loopback(dir.path());
        options.roles = Roles::new(&[Role::Front, Role::Api]);
        set(&mut options);
        let node = Node::start_with(options, storage).await.unwrap();
        Self { dir, node }
    }

    /// Runs a command of the registry as the operator.
    pub(crate) async fn operator(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardline"));
        command.args(args).arg("--data-dir").arg(self.dir.path());
        command.args(["--server", &format!("https://localhost:{}", self.node.addrs().grpc.port())]);
        command.output().await.unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Makes a claim with this secret.
    pub(crate) async fn claim(&self, secret: &str, device: Option<&str>) {
        self.claim_until(&change(), secret, device, FAR_US).await;
    }

    pub(crate) async fn claim_until(
        &self,
        change: &Change,
        secret: &str,
        device: Option<&str>,
        expires_at_us: i64,
    ) {
        let claims = NewClaims {
            tenant: tenant(),
            batch: secret.to_owned(),
            model: String::new(),
            device: device.map(|id| DeviceId::new(id).unwrap()),
            expires_at_us,
            secrets_sha256: vec![hex(&sha256(secret.as_bytes()))],
        };
        self.node.store().create_claims(change, &claims).await.unwrap();
    }

    /// Revokes every certificate of a device; returns how many.
    pub(crate) async fn revoke(&self, device: &str) -> usize {
        let by = RevokeBy::Device(key(device));
        let revocation = Revocation { by, compromised_at_us: None, reason: "stolen".into() };
        self.node.store().revoke(&change(), &revocation).await.unwrap().len()
    }

    /// Runs openssl in the data directory; it must succeed.
    pub(crate) async fn openssl(&self, args: &str) -> Vec<u8> {
        let output = self.openssl_output(args).await;
        assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    pub(crate) async fn openssl_output(&self, args: &str) -> Output {
        let mut command = Command::new("openssl");
        command.args(args.split_whitespace()).current_dir(self.dir.path()).stdin(Stdio::null());
        command.output().await.unwrap()
    }

    /// Makes a P-256 key and a request, and returns the request in base64.
    pub(crate) async fn request(&self, name: &str, extra: &str) -> String {
        self.openssl(&format!("ecparam -name prime256v1 -genkey -noout -out {name}.key")).await;
        self.request_of(name, extra).await
    }

    pub(crate) async fn request_of(&self, name: &str, extra: &str) -> String {
        let args = format!("req -new -key {name}.key -subj /CN=anything -outform DER {extra}");
        STANDARD.encode(self.openssl(&args).await)
    }

    /// Asks with curl; `None` when there is no HTTP answer at all.
    pub(crate) async fn try_curl(&self, path: &str, args: &[&str]) -> Option<Answer> {
        let port = self.node.addrs().est.port();
        let out = self.file("curl.out");
        let _none_yet = std::fs::remove_file(&out);
        let resolve = format!("localhost:{port}:127.0.0.1");
        let url = format!("https://localhost:{port}{path}");
        let mut command = Command::new("curl");
        command.args(["-s", "--max-time", "20", "--cacert", "pki/ca.pem", "--resolve", &resolve]);
        command.args(["-o", &out, "-w", "%{http_code}"]).args(args).arg(&url);
        let output = command.current_dir(self.dir.path()).output().await.unwrap();
        let status: u16 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        (status != 0).then(|| Answer { status, body: std::fs::read(&out).unwrap_or_default() })
    }

    pub(crate) async fn curl(&self, path: &str, args: &[&str]) -> Answer {
        self.try_curl(path, args).await.expect("an answer")
    }

    /// Posts a request as a device maker does.
    pub(crate) async fn post(&self, path: &str, request: &str, args: &[&str]) -> Answer {
        std::fs::write(self.path("request.b64"), request).unwrap();
        let mut all = vec!["--data-binary", "@request.b64", "-H", "Content-Type: application/pkcs10"];
        all.extend(args);
        self.curl(path, &all).await
    }

    pub(crate) async fn enrol(&self, request: &str, user: &str, password: &str) -> Answer {
        self.post(SIMPLEENROLL, request, &["-u", &format!("{user}:{password}")]).await
    }

    /// Enrols a device; its files are `{device}.pem` and `{device}.key`.
    pub(crate) async fn device(&self, device: &str) {
        self.claim(device, None).await;
        let request = self.request(device, "").await;
        self.save(&self.enrol(&request, device, device).await, device).await;
    }

    /// Turns an answer into `{name}.pem`, with openssl.
    pub(crate) async fn save(&self, answer: &Answer, name: &str) {
        assert_eq!(answer.status, 200, "{}", answer.text());
        std::fs::write(self.path("answer.b64"), &answer.body).unwrap();
        self.openssl("base64 -d -in answer.b64 -out answer.p7").await;
        self.openssl(&format!("pkcs7 -inform DER -in answer.p7 -print_certs -out {name}.pem")).await;
    }

    /// Connects to the MQTT port with `openssl s_client` and returns the return code of the CONNACK.
    pub(crate) async fn mqtt(&self, cert: &str, key: &str) -> Option<u8> {
        // CONNECT of MQTT 3.1.1, clean session, keep-alive 60, no client id.
        let connect = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 0];
        let told = self.say(self.node.addrs().mqtt, (cert, key), &connect, 1).await;
        told.first().map(|connack| connack[3])
    }

    /// Says something to a port with `openssl s_client` and returns the packets of MQTT that come back, `count` at most.
    pub(crate) async fn say(
        &self,
        to: SocketAddr,
        (cert, key): (&str, &str),
        words: &[u8],
        count: usize,
    ) -> Vec<Vec<u8>> {
        let address = to.to_string();
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-connect", &address, "-CAfile", "pki/ca.pem"]);
        command.args(["-verify_return_error", "-cert", cert, "-key", key]);
        command.current_dir(self.dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = command.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        client.stdin.as_mut().unwrap().write_all(words).await.unwrap();
        let (stdout, mut packets) = (client.stdout.as_mut().unwrap(), Vec::new());
        let read = async {
            while packets.len() < count {
                let mut packet = vec![0; 2];
                stdout.read_exact(&mut packet).await?;
                let length = usize::from(packet[1]);
                packet.resize(2 + length, 0);
                stdout.read_exact(&mut packet[2..]).await?;
                packets.push(packet);
            }
            std::io::Result::Ok(())
        };
        let _end = tokio::time::timeout(PATIENCE, read).await.expect("an answer or the end");
        packets
    }

    pub(crate) fn audits(&self) -> Vec<AuditEvent> {
        let journal = self.node.journal();
        let mut reader = journal.reader(journal.start()).unwrap();
        let mut events = Vec::new();
        loop {
            let batch = reader.next_batch(1 << 20).unwrap();
            if batch.is_empty() {
                return events;
            }
            for entry in batch {
                let record = JournalRecord::decode(entry.payload.clone()).unwrap_or_default();
                if let Some(Kind::Audit(event)) = record.kind {
                    events.push(event);
                }
            }
        }
    }

    /// Waits until an audit event is as described.
    pub(crate) async fn audited(&self, what: &str, found: impl Fn(&AuditEvent) -> bool) {
        self.until(what, async || self.audits().iter().any(&found)).await;
    }

    pub(crate) async fn audited_refusal(&self, code: &str) {
        self.audited(code, |event| event.action == "refused" && event.outcome == code).await;
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let wait = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "not in time: {what}");
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
