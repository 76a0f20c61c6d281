//! What an operator does to a data directory: makes it, issues certificates, revokes them.
//!
//! All of it works beside a running gateway: the store is the meeting point, and a front sees a change within
//! [`REGISTRY_POLL`](crate::front::limits::REGISTRY_POLL).

use crate::front::now_us;
use crate::pki::{Authority, PkiDir, PkiError, Profile, write_identity};
use std::path::{Path, PathBuf};
use wardline_archive::place::{Place, PlaceError};
use wardline_archive::read::local_actor;
use wardline_journal::{KeyError, KeyPurpose, Keyring};
use wardline_proto::{DeviceId, DeviceKey, Identity, TenantId};
use wardline_store::outbox::Change;
use wardline_store::registry::{Duties, IssuedCertificate, PrincipalKind, Role};
use wardline_store::{Store, StoreError, StoreUrl};

/// Says why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Keys.
    #[error("keyring.json: {0}")]
    Key(#[from] KeyError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Where the database is.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// An id.
    #[error(transparent)]
    Id(#[from] wardline_proto::ids::IdError),
    /// The trust domain is no host name.
    #[error("a trust domain is 1 to 255 of a-z 0-9 . - _")]
    TrustDomain,
    /// The folder is not a data directory.
    #[error("{} is no data directory; make one with `wardline init`", .0.display())]
    NotInitialised(PathBuf),
    /// A folder could not be made.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Paths of a data directory.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Names a data directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the certificates' folder.
    pub fn pki(&self) -> PkiDir {
        PkiDir::of(&self.0)
    }

    /// Returns the keyring's path.
    pub fn keyring(&self) -> PathBuf {
        self.0.join("keyring.json")
    }

    /// Says where the database is: a file of the directory, or what its settings name.
    pub fn store(&self) -> Result<StoreUrl, PlaceError> {
        Place::of(&self.0).map(|place| place.store().clone())
    }

    /// Returns the folder of the operator's certificate.
    pub fn operator(&self) -> PathBuf {
        self.0.join("operator")
    }

    /// Returns the journal's folder.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// Returns the root of the archive's files.
    pub fn archive(&self) -> PathBuf {
        self.0.join("archive")
    }

    /// Returns the path of the file that names the node.
    pub fn node_id(&self) -> PathBuf {
        self.0.join("node-id")
    }

    /// Returns the configuration file's path; it need not exist.
    pub fn config(&self) -> PathBuf {
        self.0.join("wardline.toml")
    }
}

/// Makes a data directory: authority, the gateway's certificate for `hosts`, keyring, database, and the operator's
/// certificate in `operator/`. Refuses when there is an authority already; a run that was cut short can be repeated.
pub async fn init(dir: &Path, trust_domain: &str, hosts: &[String]) -> Result<(), OperateError> {
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if trust_domain.is_empty() || trust_domain.len() > 255 || !trust_domain.bytes().all(is_name) {
        return Err(OperateError::TrustDomain);
    }
    let data = DataDir::new(dir);
    if data.pki().exists() {
        return Err(PkiError::Exists(data.pki().path("")).into());
    }
    std::fs::create_dir_all(dir).map_err(|error| OperateError::Io { path: dir.to_owned(), error })?;
    let keyring = Keyring::create_or_open(&data.keyring())?;
    keyring.ensure(KeyPurpose::Journal, None)?;
    keyring.ensure(KeyPurpose::State, None)?;
    let store = data.store()?.open().await?;
    let made = make_authority(&data, &store, trust_domain, hosts).await;
    store.close().await;
    made?;
    issue_operator(dir).await?;
    Ok(())
}

async fn make_authority(
    data: &DataDir,
    store: &Store,
    trust_domain: &str,
    hosts: &[String],
) -> Result<(), OperateError> {
    let (tenant, name) = (TenantId::new("system")?, DeviceId::new("operator")?);
    let who = (&tenant, PrincipalKind::User, &name);
    store.put_principal(&local_change(), who, &[Role::Operator]).await?;
    data.pki().create(trust_domain, hosts)?;
    Ok(())
}

/// Issues the operator's certificate into `operator/` of the data directory: who has that folder may do everything,
/// over gRPC, for 30 days. The one of before lives on until its own end.
pub async fn issue_operator(dir: &Path) -> Result<IssuedCertificate, OperateError> {
    let (tenant, name) = (TenantId::new("system")?, DeviceId::new("operator")?);
    issue(dir, Identity::User { tenant, name }, &DataDir::new(dir).operator()).await
}

/// Issues the gateway's own certificate anew, for the same names or for others. A running gateway takes it within
/// seconds; sessions go on.
pub fn renew_server(dir: &Path, hosts: &[String]) -> Result<Vec<String>, OperateError> {
    let pki = initialised(dir)?.pki();
    let hosts = if hosts.is_empty() { crate::pki::server_hosts(&pki)? } else { hosts.to_vec() };
    pki.renew_server(&Authority::load(&pki)?, &hosts)?;
    Ok(hosts)
}

/// Issues the certificate of a service or person into `out`, and gives it exactly these roles and sites when there are
/// any. Without, what it has stays; who has none may follow the alerts of its tenant.
pub async fn issue_principal(
    dir: &Path,
    identity: Identity,
    duties: impl Into<Duties>,
    out: &Path,
) -> Result<IssuedCertificate, OperateError> {
    let data = initialised(dir)?;
    let principal = match &identity {
        Identity::Service { tenant, name } => Some((tenant, PrincipalKind::Service, name)),
        Identity::User { tenant, name } => Some((tenant, PrincipalKind::User, name)),
        Identity::Device(_) => None,
    };
    let duties = duties.into();
    if let Some(principal) = principal.filter(|_| !duties.roles.is_empty()) {
        let store = data.store()?.open().await?;
        let put = store.put_principal(&local_change(), principal, duties).await;
        store.close().await;
        put?;
    }
    issue(dir, identity, out).await
}

/// Issues a device's certificate into `out` and registers the device.
pub async fn issue_device(
    dir: &Path,
    key: &DeviceKey,
    out: &Path,
) -> Result<IssuedCertificate, OperateError> {
    issue(dir, Identity::Device(key.clone()), out).await
}

/// Issues the certificate of a service, such as a subscriber to alerts, into `out`.
pub async fn issue_service(
    dir: &Path,
    tenant: &TenantId,
    name: &DeviceId,
    out: &Path,
) -> Result<IssuedCertificate, OperateError> {
    issue(dir, Identity::Service { tenant: tenant.clone(), name: name.clone() }, out).await
}

/// Revokes every certificate of an identity; returns how many. A front cuts its sessions within 2 s (SEC-2).
pub async fn revoke(dir: &Path, identity: &Identity) -> Result<u64, OperateError> {
    let data = initialised(dir)?;
    let authority = Authority::load(&data.pki())?;
    let store = data.store()?.open().await?;
    let revoked = store.revoke_identity(&local_change(), &identity.uri(authority.trust_domain())).await;
    store.close().await;
    Ok(revoked?)
}

/// Checks that a folder is a data directory.
pub fn initialised(dir: &Path) -> Result<DataDir, OperateError> {
    let data = DataDir::new(dir);
    if data.pki().exists() { Ok(data) } else { Err(OperateError::NotInitialised(dir.to_owned())) }
}

async fn issue(dir: &Path, identity: Identity, out: &Path) -> Result<IssuedCertificate, OperateError> {
    let data = initialised(dir)?;
    let issued = Authority::load(&data.pki())?.issue(&Profile::Client(identity.clone()))?;
    let store = data.store()?.open().await?;
    // Recorded first: a certificate that exists can then always be revoked.
    let enrolled = store.enrol(&local_change(), &identity, &issued.certificate).await;
    store.close().await;
    enrolled?;
    write_identity(out, &issued, &data.pki().read("ca.pem")?)?;
    Ok(issued.certificate)
}

/// Says who changes something here and now: a command on the machine of the data directory.
pub fn local_change() -> Change {
    Change { actor: local_actor(), at_us: now_us() }
}
