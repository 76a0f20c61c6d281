//! One gateway process: its ports, its roles, and how it stops.
//!
//! [`Node::start`] binds every port before anything else happens, opens what is durable, and spawns the roles as
//! supervised tasks. The drain order is written once, in [`Node::shutdown`]: readiness goes, devices are sent on, what
//! was appended is synced and acknowledged, sessions close; then the consumers commit their positions; then everything closes.

mod alerts;
#[cfg(feature = "cluster")]
mod cluster;
mod cluster_options;
mod config;
mod enrol;
mod error;
mod http;
mod notices;
mod options;
mod origin;
mod resends;
mod retention;
mod tasks;
mod tier;
mod upkeep;

pub use cluster_options::{ClusterOptions, ClusterTls, EngineKind};
pub use config::{ConfigErrors, load as load_config};
pub use error::NodeError;
pub use options::{NodeOptions, Role, Roles};
pub use tasks::TaskKind;

use crate::access::{self, Access, Ages, Directory, Services};
use crate::alert_service::{self, AlertParts, AlertServiceOptions};
use crate::audit::{AuditMetrics, Auditor, NodeId};
use crate::enrol::Revocations;
use crate::front::{
    DeviceStats, DownlinkHandle, DrainOptions, FrontHandle, FrontMetrics, FrontService, Gates, LiveTls,
    TlsError,
};
use crate::operate::{self, DataDir};
use crate::registry_service::{self, RegistryParts};
use crate::tls_listener::{TlsBounds, TlsListener, TlsListenerMetrics};
use http::{HttpState, JournalMetrics, Trouble};
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tasks::{STOP_MAX, Tasks};
use tier::Tier;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use wardline_alert::{AlertFeed, AlertMetrics};
use wardline_archive::{ArchiveHandle, NOTICES_PER_COMMIT_MAX};
use wardline_journal::{DiskStorage, Journal, Keyring, Storage};
use wardline_proto::DeviceKey;
use wardline_store::Store;

/// Where a node listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeAddrs {
    /// MQTT over mTLS.
    pub mqtt: SocketAddr,
    /// gRPC over mTLS.
    pub grpc: SocketAddr,
    /// Metrics and health.
    pub http: SocketAddr,
    /// Enrolment over HTTPS.
    pub est: SocketAddr,
}

/// A running gateway.
pub struct Node {
    addrs: NodeAddrs,
    journal: Journal,
    store: Store,
    auditor: Arc<Auditor>,
    tls: Arc<LiveTls>,
    front: Option<FrontHandle>,
    archive: Option<ArchiveHandle>,
    feed: Option<AlertFeed>,
    drain: DrainOptions,
    draining: watch::Sender<bool>,
    tasks: Tasks,
}

struct Listeners {
    mqtt: TcpListener,
    grpc: TcpListener,
    http: TcpListener,
    est: TcpListener,
}

/// What every role needs.
struct Parts {
    options: NodeOptions,
    data: DataDir,
    trust_domain: String,
    keyring: Arc<Keyring>,
    store: Store,
    journal: Journal,
    auditor: Arc<Auditor>,
    directory: Arc<Directory>,
    tls: Arc<LiveTls>,
    registry: Registry,
    tasks: Tasks,
}

impl Node {
    /// Binds, opens and starts. The journal lies on disk.
    pub async fn start(options: NodeOptions) -> Result<Self, NodeError> {
        let storage = Arc::new(DiskStorage::new(DataDir::new(&options.data_dir).journal()));
        Self::start_with(options, storage).await
    }

    /// The same with another storage of the journal, as tests of failing disks need.
    pub async fn start_with(options: NodeOptions, storage: Arc<dyn Storage>) -> Result<Self, NodeError> {
        let (own, data) = (DataDir::new(&options.data_dir), operate::initialised(options.common_dir())?);
        let listeners = Listeners {
            mqtt: bind("MQTT", options.mqtt).await?,
            grpc: bind("gRPC", options.grpc).await?,
            http: bind("HTTP", options.http).await?,
            est: bind("HTTPS", options.est).await?,
        };
        let addrs = listeners.addrs(&options);
        let tls = Arc::new(LiveTls::load(data.pki(), options.tls12)?);
        let trust_domain = crate::pki::trust_domain(&data.pki().read("issuing.pem")?)?;
        let keyring =
            Arc::new(wardline_archive::place::keyring(options.common_dir(), options.transit.as_ref())?);
        let store = options.store.open().await?;
        let (mut journal_options, keys) = (options.journal.clone(), keyring.clone());
        journal_options.dir = own.journal();
        journal_options.first_offset = origin::first_offset(&options, &own, &*storage, &store).await?;
        let open = move || Journal::open(journal_options, storage, keys);
        let journal = tokio::task::spawn_blocking(open)
            .await
            .map_err(|_panicked| NodeError::Task(TaskKind::Front))??;
        origin::check_reached(&options, &journal, &store).await?;
        let node = NodeId::ensure(&own.node_id())?;
        let auditor = Arc::new(Auditor::open(journal.clone(), &store, node).await?);
        let directory = Arc::new(Directory::load(store.clone()).await?);
        let (registry, tasks) = (Registry::default(), Tasks::default());
        let parts = Parts {
            options,
            data,
            trust_domain,
            keyring,
            store,
            journal,
            auditor,
            directory,
            tls,
            registry,
            tasks,
        };
        parts.run(listeners, addrs).await
    }

    /// Returns where it listens.
    pub fn addrs(&self) -> NodeAddrs {
        self.addrs
    }

    /// Returns the journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Returns the database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the archive worker's handle when that role runs.
    pub fn archive(&self) -> Option<ArchiveHandle> {
        self.archive.clone()
    }

    /// Returns what alert subscribers read when that role runs.
    pub fn alerts(&self) -> Option<AlertFeed> {
        self.feed.clone()
    }

    /// Returns the front's counters per device; empty without that role.
    pub fn front_stats(&self) -> HashMap<DeviceKey, DeviceStats> {
        self.front.as_ref().map(FrontHandle::stats).unwrap_or_default()
    }

    /// Returns how many sessions are open.
    pub fn session_count(&self) -> usize {
        self.front.as_ref().map_or(0, FrontHandle::session_count)
    }

    /// Returns what sends to devices when the front runs.
    pub fn downlink(&self) -> Option<DownlinkHandle> {
        self.front.as_ref().map(FrontHandle::downlink)
    }

    /// Loads the certificates again; the last good ones stay in force when the new ones are not usable.
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        self.tls.reload()
    }

    /// Waits until a task that the node cannot do without has ended.
    pub async fn failed(&mut self) -> TaskKind {
        self.tasks.vital_ended().await
    }

    /// Stops in order. What was acknowledged is durable before and after.
    pub async fn shutdown(self) -> Result<(), NodeError> {
        let Self { journal, store, auditor, mut tasks, front, archive, feed, drain, draining, .. } = self;
        draining.send_replace(true);
        if front.is_some() {
            sleep(drain.notice()).await;
        }
        tasks.stop(&[TaskKind::Front], drain.within() + STOP_MAX).await?;
        let consumers = [
            TaskKind::Archive,
            TaskKind::Alert,
            TaskKind::AlertWatch,
            TaskKind::Webhooks,
            TaskKind::Retention,
            TaskKind::Notices,
            TaskKind::Resends,
        ];
        tasks.stop(&consumers, STOP_MAX).await?;
        let servers = [TaskKind::Enrol, TaskKind::Grpc, TaskKind::Http, TaskKind::Certificates];
        tasks.stop(&servers, STOP_MAX).await?;
        // What these changed last is in the outbox.
        tasks.stop(&[TaskKind::Registry, TaskKind::Audit], STOP_MAX).await?;
        auditor.stopped();
        // The last of the journal goes out too; what does not is in it at the next start.
        tasks.stop(&[TaskKind::Outlet, TaskKind::Courier], STOP_MAX).await?;
        tasks.stop(&[TaskKind::Bus], STOP_MAX).await?;
        drop((front, archive, feed));
        let closed = tokio::task::spawn_blocking(move || journal.close()).await;
        store.close().await;
        closed.map_err(|_panicked| NodeError::Task(TaskKind::Front))
    }
}

impl Listeners {
    fn addrs(&self, options: &NodeOptions) -> NodeAddrs {
        NodeAddrs {
            mqtt: self.mqtt.local_addr().unwrap_or(options.mqtt),
            grpc: self.grpc.local_addr().unwrap_or(options.grpc),
            http: self.http.local_addr().unwrap_or(options.http),
            est: self.est.local_addr().unwrap_or(options.est),
        }
    }
}

impl Parts {
    async fn run(mut self, listeners: Listeners, addrs: NodeAddrs) -> Result<Node, NodeError> {
        let Listeners { mqtt, grpc, http, est } = listeners;
        let roles = self.options.roles.clone();
        self.auditor.started(&self.keyring);
        let metrics = AuditMetrics::default();
        metrics.register(&mut self.registry);
        let tier = Tier::join(&mut self).await?;
        tier.relay_audit(&mut self, metrics);
        self.upkeep();
        // Made before the archive: what it quarantines first is told too.
        let (notices, told) = mpsc::channel(NOTICES_PER_COMMIT_MAX);
        let notices = roles.has(Role::Front).then_some(notices);
        let archive = if roles.has(Role::Archive) { tier.archive(&mut self, notices).await? } else { None };
        // The engine notes the journal's end before the front can move it.
        let alert = tier.alert(&mut self).await?;
        if roles.has(Role::Api) {
            self.grpc(grpc, alert.clone())?;
        }
        let enrol = if roles.has(Role::Api) { Some(self.enrol(est, addrs.mqtt.port())?) } else { None };
        let gates = tier.gates(&mut self);
        let front = if roles.has(Role::Front) { Some(self.front(mqtt, gates)) } else { None };
        if let Some(front) = &front {
            let downlink = front.downlink();
            self.tasks.spawn(TaskKind::Notices, |stop| notices::run(told, downlink, stop));
            let (store, front) = (self.store.clone(), front.clone());
            self.tasks.spawn(TaskKind::Resends, |stop| resends::run(store, front, stop));
        }
        if archive.is_some() && alert.is_some() {
            let (journal, store) = (self.journal.clone(), self.store.clone());
            self.tasks.spawn(TaskKind::Retention, |stop| retention::run(journal, store, stop));
        }
        self.tls.metrics().register(&mut self.registry);
        Ages::register(self.directory.clone(), enrol.clone(), &mut self.registry);
        self.tasks.spawn(TaskKind::Certificates, |stop| self.tls.clone().watch(stop));
        let registry = std::mem::take(&mut self.registry);
        let draining = watch::Sender::new(false);
        self.http(http, registry, (front.clone(), enrol), (draining.subscribe(), tier.trouble()));
        let feed = alert.map(|(feed, _metrics)| feed);
        let drain = self.options.front.drain;
        let Self { journal, store, auditor, tls, tasks, .. } = self;
        Ok(Node { addrs, journal, store, auditor, tls, front, archive, feed, drain, draining, tasks })
    }

    fn grpc(
        &mut self,
        on: TcpListener,
        alert: Option<(AlertFeed, Arc<AlertMetrics>)>,
    ) -> Result<(), NodeError> {
        let metrics = TlsListenerMetrics::default();
        metrics.register(self.registry.sub_registry_with_prefix("wardline_grpc"));
        let tls = self.tls.clone();
        let access =
            Access::new(&self.trust_domain, self.directory.clone(), self.tls.clone(), self.auditor.clone());
        let (source, refused) = (Arc::new(move || tls.grpc()), access.certificate_refused("grpc handshake"));
        let port = TlsListener::new(on, source, TlsBounds::default(), metrics, refused);
        let registry = registry_service::service(RegistryParts {
            access: access.clone(),
            store: self.store.clone(),
            auditor: self.auditor.clone(),
            trust_domain: self.trust_domain.clone(),
            pin: registry_service::pin(&self.data.pki().read("root.pem")?)?,
        });
        let auditor = self.auditor.clone();
        self.tasks.spawn(TaskKind::Grpc, |stop| async move {
            let reflection = registry_service::reflection().map_err(|error| error.to_string())?;
            let mut services = Services::default().with(registry).await.with(reflection).await;
            if let Some((feed, metrics)) = alert {
                let options = AlertServiceOptions::default();
                let (access, shutdown) = (access.clone(), stop.clone());
                let parts = AlertParts { access, feed, auditor, metrics, shutdown };
                let service = alert_service::service(options, parts);
                services = services.with(service).await;
            }
            access::serve(port, services, access, stop).await.map_err(|error| error.to_string())
        });
        Ok(())
    }

    /// What runs whatever the roles are.
    fn upkeep(&mut self) {
        let (directory, auditor) = (self.directory.clone(), self.auditor.clone());
        self.tasks.spawn(TaskKind::Registry, |stop| async move {
            directory.follow(stop).await;
            Ok(())
        });
        self.tasks.spawn(TaskKind::Audit, |stop| upkeep::audit_windows(auditor, stop));
    }

    fn front(&mut self, on: TcpListener, gates: Option<Gates>) -> FrontHandle {
        let metrics = Arc::new(FrontMetrics::default());
        metrics.register(&mut self.registry);
        let service = FrontService::new(
            self.options.front.clone(),
            on,
            crate::front::FrontParts {
                trust_domain: self.trust_domain.clone(),
                tls: self.tls.clone(),
                journal: self.journal.clone(),
                directory: self.directory.clone(),
                auditor: self.auditor.clone(),
                metrics,
                gates,
            },
        );
        let handle = service.handle();
        self.tasks.spawn(TaskKind::Front, |stop| async move {
            service.run(stop).await;
            Ok(())
        });
        handle
    }

    fn http(
        &mut self,
        on: TcpListener,
        mut registry: Registry,
        (front, revocations): (Option<FrontHandle>, Option<Arc<Revocations>>),
        (draining, trouble): (watch::Receiver<bool>, Option<Trouble>),
    ) {
        let metrics = JournalMetrics::default();
        metrics.register(&mut registry);
        let (journal, ended) = (self.journal.clone(), self.tasks.ended());
        let state = HttpState { registry, journal, metrics, front, revocations, ended, draining, trouble };
        self.tasks.spawn(TaskKind::Http, |stop| http::serve(on, Arc::new(state), stop));
    }
}

async fn bind(what: &'static str, addr: SocketAddr) -> Result<TcpListener, NodeError> {
    TcpListener::bind(addr).await.map_err(|error| NodeError::Bind { what, addr, error })
}
