//! A worker and a service in a temporary folder, and certificates for them and their callers.

use crate::access::{Access, Directory, Services, serve};
use crate::alert_service::{AlertParts, AlertServiceOptions, service as alerts};
use crate::audit::{Auditor, NodeId};
use crate::front::LiveTls;
use crate::operate::local_change;
use crate::pki::PkiDir;
use crate::tls_listener::{TlsBounds, TlsListener, TlsListenerMetrics};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, SerialNumber};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use wardline_alert::{
    AlertDesk, AlertFeed, AlertMetrics, AlertOptions, AlertWorker, Watchdog, WatchdogOptions,
};
use wardline_journal::{Class, DiskStorage, Journal, JournalOptions, KeyPurpose, Keyring, Record};
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, Body, DeviceAlarm, Frame, JournalRecord, Lane, ListAlertsRequest,
    ListListenersRequest, PayloadFormat, Priority, Publish, UpChannel,
};
use wardline_proto::{DeviceId, DeviceKey, Identity as Named, PartitionId, TenantId, frame};
use wardline_store::Store;
use wardline_store::registry::{Duties, IssuedCertificate, NewDevice, PrincipalKind, Role, Serial, Sites};

pub(super) const SLOW_AFTER: Duration = Duration::from_millis(300);
/// A watch that does not make a test wait.
const QUICK: WatchdogOptions = WatchdogOptions {
    interval: Duration::from_millis(100),
    grace: Duration::from_millis(500),
    engine_silent: Duration::from_secs(2),
    stalled: Duration::from_secs(2),
};
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
    uri: String,
    serial: Serial,
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
        self.issue_until(uri, OffsetDateTime::now_utc() + Duration::from_secs(3600))
    }

    pub(super) fn issue_until(&self, uri: &str, not_after: OffsetDateTime) -> Certified {
        let names = vec![SanType::URI(uri.try_into().unwrap())];
        Certified { uri: uri.to_owned(), ..self.certify(names, not_after) }
    }

    fn certify(&self, names: Vec<SanType>, not_after: OffsetDateTime) -> Certified {
        static SERIALS: AtomicU64 = AtomicU64::new(0x4100_0000);
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed).to_be_bytes()[4..].to_vec();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.not_after = not_after;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        // A leaf named as its issuer is self-signed to OpenSSL.
        params.distinguished_name.push(rcgen::DnType::CommonName, "leaf");
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        let serial = Serial::new(&serial).unwrap();
        Certified { chain, key: key.serialize_pem(), uri: String::new(), serial }
    }
}

pub(super) struct Rig {
    pub(super) ca: Ca,
    addr: SocketAddr,
    journal: Journal,
    keyring: Arc<Keyring>,
    pub(super) metrics: Arc<AlertMetrics>,
    pub(super) store: Store,
    pub(super) feed: AlertFeed,
    rules: Option<PathBuf>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    pub(super) engine: Option<JoinHandle<()>>,
    _dir: TempDir,
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut AlertServiceOptions)) -> Self {
        Self::ruled(None, change).await
    }

    /// The same by the rules of a text, or Wardline's own.
    pub(super) async fn ruled(text: Option<&str>, change: impl FnOnce(&mut AlertServiceOptions)) -> Self {
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
        let rules = text.map(|text| {
            let path = dir.path().join("rules.toml");
            std::fs::write(&path, text).unwrap();
            path
        });
        let worker = worker(&rules, &journal, &store, &keyring, &metrics);
        let (feed, ca) = (worker.feed(), Ca::new());
        let year = OffsetDateTime::now_utc() + Duration::from_secs(86_400);
        let server = ca.certify(vec![SanType::DnsName("localhost".try_into().unwrap())], year);
        let pki = PkiDir::of(dir.path());
        std::fs::create_dir_all(pki.path("")).unwrap();
        for (name, text) in [("server.pem", &server.chain), ("server.key", &server.key), ("ca.pem", &ca.pem)]
        {
            std::fs::write(pki.path(name), text).unwrap();
        }
        let tls = Arc::new(LiveTls::load(pki, false).unwrap());
        let node = NodeId::ensure(&dir.path().join("node_id")).unwrap();
        let auditor = Arc::new(Auditor::open(journal.clone(), &store, node).await.unwrap());
        let directory = Arc::new(Directory::load(store.clone()).await.unwrap());
        let access = Access::new(TRUST_DOMAIN, directory.clone(), tls.clone(), auditor.clone());
        let mut options =
            AlertServiceOptions { queue: 4, slow_after: SLOW_AFTER, ..AlertServiceOptions::default() };
        change(&mut options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let config = Arc::new(move || tls.grpc());
        let port = TlsListener::new(
            listener,
            config,
            TlsBounds::default(),
            TlsListenerMetrics::default(),
            Arc::new(drop),
        );
        let (stop, stopped) = watch::channel(false);
        let parts = AlertParts {
            access: access.clone(),
            feed: feed.clone(),
            auditor,
            metrics: metrics.clone(),
            shutdown: stopped.clone(),
        };
        let service = alerts(options, parts);
        let services = Services::default().with(service).await;
        let (served, following) = (serve(port, services, access, stopped.clone()), stopped.clone());
        let (durable, told) = (journal.durable(), metrics.clone());
        let watchdog = Watchdog::new(QUICK, feed.clone(), durable, told, worker.rules());
        let desk = AlertDesk::new(feed.clone());
        let engine = Some(run(worker, stopped.clone()));
        let tasks = vec![
            tokio::spawn(async { served.await.unwrap() }),
            tokio::spawn(async move { directory.follow(following).await }),
            tokio::spawn(desk.run(stopped.clone())),
            tokio::spawn(watchdog.run(stopped)),
        ];
        Self { ca, addr, journal, keyring, metrics, store, feed, rules, stop, tasks, engine, _dir: dir }
    }

    /// Ends the engine where it stands, as a crash does.
    pub(super) async fn kill_engine(&mut self) {
        let engine = self.engine.take().unwrap();
        engine.abort();
        let _cut = engine.await;
    }

    /// Starts another engine in its place.
    pub(super) fn start_engine(&mut self) {
        let worker = worker(&self.rules, &self.journal, &self.store, &self.keyring, &self.metrics);
        self.engine = Some(run(worker.in_place_of(&self.feed), self.stop.subscribe()));
    }

    /// Registers a certificate and revokes it.
    pub(super) async fn revoke(&self, certified: &Certified) {
        self.register(certified).await;
        assert!(self.store.revoke_certificate(&local_change(), &certified.serial).await.unwrap());
    }

    pub(super) async fn register(&self, certified: &Certified) {
        let identity = Named::from_uri(&certified.uri, TRUST_DOMAIN).unwrap();
        let certificate = IssuedCertificate {
            serial: certified.serial.clone(),
            spiffe_uri: certified.uri.clone(),
            not_before_us: 0,
            not_after_us: i64::MAX,
            der: Vec::new(),
            key_sha256: String::new(),
        };
        self.store.enrol(&local_change(), &identity, &certificate).await.unwrap();
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

    /// Gives the caller `service("demo")` these roles, and waits until they are in force.
    pub(super) async fn give(&self, caller: &Certified, roles: &[Role]) {
        self.give_at(roles, Sites::All).await;
        let mut client = self.client(caller).await.unwrap();
        let known = async {
            while client.list_listeners(ListListenersRequest::default()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), known).await.expect("the roles are in force");
    }

    /// Gives `service("demo")` these roles at sites; soon they are in force.
    pub(super) async fn give_at(&self, roles: &[Role], sites: Sites) {
        let tenant = TenantId::new("demo").unwrap();
        let name = DeviceId::new("ward").unwrap();
        let principal = (&tenant, PrincipalKind::Service, &name);
        self.store.put_principal(&local_change(), principal, Duties::at(roles, sites)).await.unwrap();
    }

    /// Registers a device in a ward.
    pub(super) async fn place(&self, device: &str, site: &str) {
        let (tenant, change) = (TenantId::new("demo").unwrap(), local_change());
        let ward = DeviceId::new(site).unwrap();
        self.store.create_site(&change, &tenant, &ward, site).await.unwrap();
        let key = DeviceKey { tenant, device: DeviceId::new(device).unwrap() };
        let device = NewDevice { site: site.into(), ..NewDevice::bare(key) };
        self.store.register_device(&change, &device).await.unwrap();
    }

    /// Makes `count` alarms of one device begin and end, in one frame: two events each.
    pub(super) fn alarms(&self, seq: u64, count: i64) {
        let phase = |step: i64| if step % 2 == 0 { AlarmPhase::Start } else { AlarmPhase::End };
        let steps = (0..2 * count).map(|step| ("leads", phase(step), Priority::Medium));
        self.send("mon-1", seq, steps);
    }

    /// Makes one alarm of a device take a step.
    pub(super) fn alarm(&self, device: &str, seq: u64, step: (&str, AlarmPhase, Priority)) {
        self.send(device, seq, [step]);
    }

    fn send<'a>(
        &self,
        device: &str,
        seq: u64,
        steps: impl IntoIterator<Item = (&'a str, AlarmPhase, Priority)>,
    ) {
        let now_us = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as i64;
        let alarm =
            |(later, (condition, phase, priority)): (usize, (&str, AlarmPhase, Priority))| DeviceAlarm {
                condition_id: condition.into(),
                kind: AlarmKind::Technical.into(),
                priority: priority.into(),
                phase: phase.into(),
                at_us: now_us + later as i64,
                ..DeviceAlarm::default()
            };
        let alarms = steps.into_iter().enumerate().map(alarm).collect();
        let body = Body { alarms, ..Body::default() };
        let (encoding, body) = frame::encode_body(&body);
        let (encoding, lane) = (encoding.into(), Lane::Alarm.into());
        let frame = Frame { epoch: 1, seq, encoding, lane, body, ..Frame::default() };
        let publish = Publish {
            tenant: "demo".into(),
            device: device.into(),
            channel: UpChannel::Alarm.into(),
            payload: frame.encode_to_vec().into(),
            content: PayloadFormat::Frame.into(),
            certificate_serial: vec![1],
            for_test: false,
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

    /// Returns actor and outcome of every audit event so far.
    pub(super) fn audited(&self) -> Vec<(String, String)> {
        let mut reader = self.journal.reader(self.journal.start()).unwrap();
        let mut events = Vec::new();
        loop {
            let batch = reader.next_batch(1 << 20).unwrap();
            if batch.is_empty() {
                return events;
            }
            for entry in batch.iter() {
                let record = JournalRecord::decode(entry.payload.clone()).unwrap();
                if let Some(Kind::Audit(event)) = record.kind {
                    events.push((event.actor, event.outcome));
                }
            }
        }
    }

    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks.into_iter().chain(self.engine) {
            task.await.unwrap();
        }
    }
}

fn worker(
    rules: &Option<PathBuf>,
    journal: &Journal,
    store: &Store,
    keyring: &Arc<Keyring>,
    metrics: &Arc<AlertMetrics>,
) -> AlertWorker {
    let options = AlertOptions { rules: rules.clone(), ..AlertOptions::default() };
    AlertWorker::new(options, journal.clone(), store.clone(), keyring.clone(), metrics.clone()).unwrap()
}

fn run(worker: AlertWorker, stopped: watch::Receiver<bool>) -> JoinHandle<()> {
    tokio::spawn(async { worker.run(stopped).await.unwrap() })
}
