//! What a node is told.

use super::cluster_options::ClusterOptions;
use crate::alert_service::WebhookSettings;
use crate::enrol::EnrolOptions;
use crate::front::FrontOptions;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use wardline_alert::AlertOptions;
use wardline_archive::ArchiveOptions;
use wardline_archive::place::DATABASE;
use wardline_archive::transit::TransitOptions;
use wardline_journal::JournalOptions;
use wardline_store::StoreUrl;

/// Default port of MQTT over TLS.
const MQTT_PORT: u16 = 8883;
/// Default port of gRPC.
const GRPC_PORT: u16 = 8443;
/// Default port of enrolment.
const EST_PORT: u16 = 9443;
/// Default port of metrics and health.
const HTTP_PORT: u16 = 9464;

/// A part of the gateway that a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Role {
    /// Accepts devices.
    Front,
    /// Archives the journal.
    Archive,
    /// Decides on alarms.
    Alert,
    /// Serves gRPC.
    Api,
}

/// The roles of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(Vec<Role>);

impl Default for Roles {
    fn default() -> Self {
        Self(vec![Role::Front, Role::Archive, Role::Alert, Role::Api])
    }
}

impl Roles {
    /// Makes a set of roles; none means all.
    pub fn new(roles: &[Role]) -> Self {
        if roles.is_empty() { Self::default() } else { Self(roles.to_vec()) }
    }

    /// Says whether a role is among them.
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

/// The settings of a node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The data directory, made by `wardline init`.
    pub data_dir: PathBuf,
    /// Where devices connect.
    pub mqtt: SocketAddr,
    /// Where subscribers connect.
    pub grpc: SocketAddr,
    /// Where metrics and health are.
    pub http: SocketAddr,
    /// Where devices enrol.
    pub est: SocketAddr,
    /// What runs.
    pub roles: Roles,
    /// Whether TLS 1.2 is spoken beside 1.3.
    pub tls12: bool,
    /// The front.
    pub front: FrontOptions,
    /// Enrolment.
    pub enrol: EnrolOptions,
    /// The journal; its folder follows from `data_dir`.
    pub journal: JournalOptions,
    /// The id of a journal that is gone for good, in whose place a new one may come.
    pub replaced_journal: Option<String>,
    /// The archive; its folder follows from `data_dir`.
    pub archive: ArchiveOptions,
    /// Where the database is.
    pub store: StoreUrl,
    /// Where keys of tenants' archives are; none: in the keyring file.
    pub transit: Option<TransitOptions>,
    /// The alarm engine.
    pub alert: AlertOptions,
    /// Where alerts are sent to besides.
    pub webhooks: Vec<WebhookSettings>,
    /// Other machines; none: this process is all there is.
    pub cluster: Option<ClusterOptions>,
}

impl NodeOptions {
    /// Returns the defaults: devices and subscribers from anywhere, metrics from this machine.
    pub fn new(data_dir: impl AsRef<Path>) -> Self {
        Self {
            data_dir: data_dir.as_ref().to_path_buf(),
            mqtt: (Ipv6Addr::UNSPECIFIED, MQTT_PORT).into(),
            grpc: (Ipv6Addr::UNSPECIFIED, GRPC_PORT).into(),
            http: (Ipv4Addr::LOCALHOST, HTTP_PORT).into(),
            est: (Ipv6Addr::UNSPECIFIED, EST_PORT).into(),
            roles: Roles::default(),
            tls12: false,
            front: FrontOptions::default(),
            enrol: EnrolOptions::default(),
            journal: JournalOptions::default(),
            replaced_journal: None,
            archive: ArchiveOptions::default(),
            store: StoreUrl::file(data_dir.as_ref().join(DATABASE)),
            transit: None,
            alert: AlertOptions::default(),
            webhooks: Vec::new(),
            cluster: None,
        }
    }

    /// Returns the folder of what all nodes have in common: certificates, keys, the archive.
    pub fn common_dir(&self) -> &Path {
        self.cluster.as_ref().and_then(|cluster| cluster.shared_dir.as_deref()).unwrap_or(&self.data_dir)
    }

    /// Returns the defaults on free ports of loopback.
    pub fn on_loopback(data_dir: impl AsRef<Path>) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { mqtt: any, grpc: any, http: any, est: any, ..Self::new(data_dir) }
    }
}
