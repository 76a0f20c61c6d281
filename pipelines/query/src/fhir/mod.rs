//! FHIR R4 over HTTPS: the archive as Observations and Devices, to read only. docs/fhir.md tells clients.
//!
//! ```text
//! certificate -> Access: who calls -> Grant: what its role reads -> Naming: what names and times it is told
//!             -> outbox: who asks what -> one snapshot, rows within bounds -> resources, a page at a time
//! ```
//! The rules are those of Flight SQL, by the same code: who may read what, bounds, audit before the first row. There is
//! no second store: each answer is made of the archive's rows when it is asked for. **Invariant:** rows are identified
//! until [`naming`] lets them out.

mod cursor;
mod devices;
mod error;
mod export;
mod holes;
mod limits;
mod naming;
mod observations;
mod rows;
mod select;
mod server;

use crate::error::QueryError;
use crate::serve::grants::Grant;
use crate::serve::service::{Parts, QueryService};
use cursor::Cursors;
use error::FhirError;
use export::Exports;
use naming::Naming;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wardline_access::tls_listener::{TlsListener, TlsListenerMetrics, TlsSocket};
use wardline_access::{Caller, LiveTls};
use wardline_store::Store;
use wardline_store::registry::Sites;

/// What the server is made of.
pub(crate) struct Site {
    service: QueryService,
    store: Store,
    cursors: Cursors,
    exports: Exports,
}

/// Who asks, and what they are told.
pub(crate) struct Asked {
    caller: Caller,
    naming: Naming,
    /// Whose rows: those of these sites; none: the tenant's.
    sites: Option<Sites>,
    /// Where the caller reached the server.
    base: String,
}

/// The certificates of a connection.
type Peer = <TlsSocket as tonic::transport::server::Connected>::ConnectInfo;

/// Begins to serve on a bound port; says where, for people.
pub(crate) fn start(
    tcp: TcpListener,
    service: QueryService,
    store: Store,
    tls: Arc<LiveTls>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<(String, JoinHandle<()>)> {
    let (told, access) = (format!(", fhir {}", tcp.local_addr()?), service.0.access.clone());
    let (config, refused) = (Arc::new(move || tls.current()), access.certificate_refused("fhir"));
    let port = TlsListener::new(tcp, config, limits::TLS, TlsListenerMetrics::default(), refused);
    let site = Arc::new(Site::new(service, store)?);
    let working = export::run(site.clone(), stop.clone());
    let answering = server::run(port, site, access, stop);
    let both = async move {
        futures::join!(working, answering);
    };
    Ok((told, tokio::spawn(both)))
}

impl Site {
    fn new(service: QueryService, store: Store) -> anyhow::Result<Self> {
        let exports = Exports::open(&service.0.data_dir)?;
        Ok(Self { service, store, cursors: Cursors::new()?, exports })
    }

    fn parts(&self) -> &Parts {
        &self.service.0
    }

    fn data_dir(&self) -> &Path {
        &self.parts().data_dir
    }

    /// Lets a caller in.
    async fn admit(&self, peer: &Peer, base: String) -> Result<Asked, FhirError> {
        let mut call = tonic::Request::new(());
        call.extensions_mut().insert(peer.clone());
        let (caller, grant) = self.service.admit(&call)?;
        let mask = self.service.mask(&caller, grant).await?;
        let sites = (grant == Grant::Identified).then(|| (*caller.sites).clone());
        Ok(Asked { caller, naming: Naming::new(mask), sites, base })
    }

    /// Writes that a caller reads; to be called before it does.
    async fn reads(&self, asked: &Asked, text: &str, tables: &[&str]) -> Result<(), QueryError> {
        let tables: Vec<String> = tables.iter().map(|&table| table.to_owned()).collect();
        self.parts().audit.reads(&asked.caller, text, &tables).await
    }
}
