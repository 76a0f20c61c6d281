//! `wardline-query serve`: Flight SQL over mTLS, for people and services with a role.
//!
//! ```text
//! certificate -> Access: who calls -> Grant: what its role reads -> Slots -> what the statement says
//!             -> outbox: who asks what; a session of its own over one snapshot
//!             -> pump: rows, within bounds -> guard: until the certificate ends
//! ```
//! **Invariants:** a caller sees rows of its own tenant alone; whoever is no clinician sees no name; no row leaves
//! before it is audited; a revoked certificate ends its statements within 2 s.

pub(crate) mod audit;
mod cancel;
pub(crate) mod grants;
mod info;
pub(crate) mod limits;
mod parsed;
pub(crate) mod pump;
pub(crate) mod service;
pub(crate) mod slots;
mod statement;
#[cfg(test)]
mod tests;

use crate::growth::STACK_BYTES;
use crate::snapshot::Shared;
use crate::{fhir, pseudonyms};
use anyhow::Context;
use arrow_flight::flight_service_server::FlightServiceServer;
use audit::OutboxAudit;
use clap::Args;
use pump::Bounds;
use service::{Parts, QueryService};
use slots::Slots;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use wardline_access::tls_listener::{TlsBounds, TlsListener, TlsListenerMetrics};
use wardline_access::{Access, Directory, LiveTls, PkiFiles, Services, serve, trust_domain};
use wardline_archive::place::Place;

/// Serves the archive over Flight SQL, with the gateway's certificates and the registry's roles.
///
/// Analysts read the views without names, clinicians rows of their sites (wards). docs/query.md tells how to connect.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The gateway's data directory. The gateway may be running.
    #[arg(long, env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Where clients connect.
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:8444")]
    listen: SocketAddr,
    /// Where FHIR clients connect; without it nothing listens for them. docs/fhir.md
    #[arg(long, value_name = "ADDR:PORT")]
    fhir_listen: Option<SocketAddr>,
    /// What analysts see of times: steps of so many seconds.
    #[arg(long, default_value_t = pseudonyms::STEP_S, value_parser = clap::value_parser!(u32).range(1..))]
    time_step: u32,
    /// Rows that one statement may give.
    #[arg(long, default_value_t = limits::ROWS_MAX)]
    rows_max: u64,
    /// How long one statement may take, its client's reading included.
    #[arg(long, default_value_t = limits::SECONDS_MAX)]
    seconds_max: u64,
    /// Statements at a time.
    #[arg(long, default_value_t = limits::STATEMENTS_MAX)]
    statements_max: usize,
    /// Statements at a time of one caller.
    #[arg(long, default_value_t = limits::STATEMENTS_PER_CALLER_MAX)]
    statements_per_caller_max: usize,
}

/// Serves until the process is told to end.
pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let tcp = TcpListener::bind(args.listen).await.with_context(|| format!("listen on {}", args.listen))?;
    let address = tcp.local_addr()?;
    let fhir = match args.fhir_listen {
        Some(at) => Some(TcpListener::bind(at).await.with_context(|| format!("listen on {at}"))?),
        None => None,
    };
    let files = PkiFiles::of(&args.data_dir);
    let domain = trust_domain(&files.read("issuing.pem")?).context("the authority names no trust domain")?;
    let tls = Arc::new(LiveTls::load(files, false)?);
    let place = Place::of(&args.data_dir)?;
    let store = place.store().open_existing().await?;
    let shared = Shared::open(&args.data_dir, &place).await?;
    let directory = Arc::new(Directory::load(store.clone()).await.context("the registry does not read")?);
    let audit = Arc::new(OutboxAudit::new(store.clone()));
    let access = Access::new(domain, directory.clone(), tls.clone(), audit.clone());
    let (stop, stopped) = watch::channel(false);
    let (config, refused) = (tls.clone(), access.certificate_refused("query"));
    let metrics = TlsListenerMetrics::default();
    let port = TlsListener::new(tcp, Arc::new(move || config.grpc()), TlsBounds::default(), metrics, refused);
    let engine = runtime::Builder::new_multi_thread()
        .thread_name("statements")
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()?;
    let parts = Parts {
        data_dir: args.data_dir,
        access: access.clone(),
        audit: audit.clone(),
        running: Arc::default(),
        slots: Slots::new(args.statements_max, args.statements_per_caller_max),
        engine: engine.handle().clone(),
        bounds: Bounds { rows_max: args.rows_max, time_max: Duration::from_secs(args.seconds_max) },
        time_step_s: args.time_step,
        shared,
        statements: Arc::default(),
    };
    let service = QueryService(Arc::new(parts));
    let (told, answering) = match fhir {
        Some(tcp) => fhir::start(tcp, service.clone(), store, tls.clone(), stopped.clone())?,
        None => (String::new(), tokio::spawn(async {})),
    };
    let service = FlightServiceServer::new(service);
    let services = Services::default().with(service).await;
    let follow = tokio::spawn({
        let stopped = stopped.clone();
        async move { directory.follow(stopped).await }
    });
    let watch_files = tokio::spawn(tls.watch(stopped.clone()));
    let write = tokio::spawn({
        let (audit, stopped) = (audit.clone(), stopped.clone());
        async move { audit.run(stopped).await }
    });
    let serving = tokio::spawn(serve(port, services, access, stopped));
    println!("wardline-query serves: flight-sql {address}{told}");
    told_to_end().await?;
    stop.send_replace(true);
    // A statement that does not listen must not hold up the end.
    engine.shutdown_background();
    let ended = async { tokio::try_join!(serving, follow, watch_files, write, answering) };
    let (served, (), watched, (), ()) =
        tokio::time::timeout(limits::DRAIN * 2, ended).await.context("the drain")??;
    watched.map_err(anyhow::Error::msg)?;
    Ok(served?)
}

async fn told_to_end() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _told = terminate.recv() => {}
        _told = interrupt.recv() => {}
    }
    Ok(())
}
