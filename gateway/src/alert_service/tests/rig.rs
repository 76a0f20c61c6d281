//! A worker and a service in a temporary folder, and certificates for them and their callers.

use crate::alert_service::{AlertServiceOptions, TlsMaterial, serve};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use wardline_alert::{AlertFeed, AlertMetrics, AlertOptions, AlertWorker};
use wardline_journal::{Class, DiskStorage, Journal, JournalOptions, KeyPurpose, Keyring, Record};
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, Body, DeviceAlarm, Frame, JournalRecord, Lane, ListAlertsRequest, PayloadFormat,
    Priority, Publish, UpChannel,
};
use wardline_proto::{PartitionId, TenantId, frame};
use wardline_store::Store;

pub(super) const SLOW_AFTER: Duration = Duration::from_millis(300);
const TRUST_DOMAIN: &str = "wardline.test";

pub(super) fn service(tenant: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/tenant/{tenant}/service/ward")
}

pub(super) fn device(tenant: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/tenant/{tenant}/device/mon-1")
}

/// A certificate with its key, PEM.
pub(super) struct Certified {
    chain: String,
    key: String,
}

pub(super) struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(super) fn issue(&self, uri: &str) -> Certified {
        self.certify(vec![SanType::URI(uri.try_into().unwrap())])
    }

    fn certify(&self, names: Vec<SanType>) -> Certified {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        // A leaf named as its issuer is self-signed to OpenSSL.
        params.distinguished_name.push(rcgen::DnType::CommonName, "leaf");
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Certified { chain, key: key.serialize_pem() }
    }
}

pub(super) struct Rig {
    pub(super) ca: Ca,
    addr: SocketAddr,
    journal: Journal,
    feed: AlertFeed,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    _dir: TempDir,
}

impl Rig {
    pub(super) async fn new() -> Self {
        // A second installation of the same provider changes nothing.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let dir = TempDir::new().unwrap();
        let keyring = Arc::new(Keyring::create_or_open(&dir.path().join("keyring.json")).unwrap());
        keyring.ensure(KeyPurpose::Journal, None).unwrap();
        let folder = dir.path().join("journal");
        std::fs::create_dir_all(&folder).unwrap();
        let options = JournalOptions { segment_bytes: 1 << 20, ..JournalOptions::for_dir(&folder) };
        let journal = Journal::open(options, Arc::new(DiskStorage::new(&folder)), keyring.clone()).unwrap();
        let store = Store::open(&dir.path().join("wardline.db")).await.unwrap();
        let metrics = Arc::new(AlertMetrics::default());
        let worker =
            AlertWorker::new(AlertOptions::default(), journal.clone(), store, keyring, metrics.clone())
                .unwrap();
        let (feed, ca) = (worker.feed(), Ca::new());
        let server = ca.certify(vec![SanType::DnsName("localhost".try_into().unwrap())]);
        let tls = TlsMaterial {
            chain_pem: server.chain.into(),
            key_pem: server.key.into(),
            client_ca_pem: ca.pem.clone().into(),
        };
        let options = AlertServiceOptions {
            queue: 4,
            slow_after: SLOW_AFTER,
            ..AlertServiceOptions::new(tls, TRUST_DOMAIN)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let served = serve(listener, options, feed.clone(), metrics, stopped.clone());
        let tasks = vec![
            tokio::spawn(async { served.await.unwrap() }),
            tokio::spawn(async { worker.run(stopped).await.unwrap() }),
        ];
        Self { ca, addr, journal, feed, stop, tasks, _dir: dir }
    }

    pub(super) async fn client(&self, caller: &Certified) -> Result<AlertServiceClient<Channel>, String> {
        self.connect(Some(caller)).await
    }

    /// Says whether a caller gets no answer at all. TLS 1.3 tells a client of a refusal only when it reads.
    pub(super) async fn is_shut_out(&self, caller: Option<&Certified>) -> bool {
        match self.connect(caller).await {
            Ok(mut client) => {
                let refused = client.list_alerts(ListAlertsRequest::default()).await.expect_err("shut out");
                !matches!(refused.code(), tonic::Code::PermissionDenied | tonic::Code::Unauthenticated)
            }
            Err(_) => true,
        }
    }

    async fn connect(&self, caller: Option<&Certified>) -> Result<AlertServiceClient<Channel>, String> {
        let mut tls = ClientTlsConfig::new()
            .domain_name("localhost")
            .ca_certificate(Certificate::from_pem(&self.ca.pem));
        if let Some(caller) = caller {
            tls = tls.identity(Identity::from_pem(&caller.chain, &caller.key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.addr)).unwrap();
        let channel = endpoint
            .initial_stream_window_size(4096)
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .map_err(|e| e.to_string())?;
        Ok(AlertServiceClient::new(channel))
    }

    /// Makes `count` alarms of one device begin and end, in one frame: two events each.
    pub(super) fn alarms(&self, seq: u64, count: i64) {
        let now_us = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as i64;
        let alarm = |step: i64| DeviceAlarm {
            condition_id: "leads".into(),
            kind: AlarmKind::Technical.into(),
            priority: Priority::Medium.into(),
            phase: if step % 2 == 0 { AlarmPhase::Start } else { AlarmPhase::End }.into(),
            at_us: now_us + step,
            ..DeviceAlarm::default()
        };
        let body = Body { alarms: (0..2 * count).map(alarm).collect(), ..Body::default() };
        let (encoding, body) = frame::encode_body(&body);
        let (encoding, lane) = (encoding.into(), Lane::Alarm.into());
        let frame = Frame { epoch: 1, seq, encoding, lane, body, ..Frame::default() };
        let publish = Publish {
            tenant: "demo".into(),
            device: "mon-1".into(),
            channel: UpChannel::Alarm.into(),
            payload: frame.encode_to_vec().into(),
            content: PayloadFormat::Frame.into(),
            certificate_serial: vec![1],
        };
        let payload = JournalRecord { ingested_at_us: now_us, kind: Some(Kind::Publish(publish)) }
            .encode_to_vec()
            .into();
        let partition = PartitionId::new(0).unwrap();
        let ticket = self.journal.append(Record { partition, class: Class::Alarm, payload }).unwrap();
        ticket.wait(&self.journal.durable()).unwrap();
    }

    /// Waits until the log ends at `cursor`.
    pub(super) async fn until_head(&self, cursor: u64) {
        let tenant = TenantId::new("demo").unwrap();
        let reached = async {
            while self.feed.head(&tenant).await.unwrap() < cursor {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reached).await.expect("in time");
    }

    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}
