//! The agent: opens the spool, binds the link, runs the tasks, stops them in order.
//!
//! | task | on error | on stop |
//! |---|---|---|
//! | link | the agent has failed | acknowledges what is durable, closes |
//! | publisher | the agent has failed | waits for answers on their way, takes leave |
//! | steward | never fails | drops what it is asking for |
//! | keeper | the agent has failed | saves the watermarks, writes the status |
//!
//! They stop in this order, then the logs are closed. An agent has failed when its spool has: nothing more can be
//! made durable, so nothing more may be acknowledged. It must be started again.

use crate::clock::now_us;
use crate::keeper::Keeper;
use crate::link::{LinkAddr, LinkServer};
use crate::notices::Notices;
use crate::onboard::{EdgeError, Folder, FrontAddr, Identity, Standing, Steward};
use crate::options::AgentOptions;
use crate::publish::{PublishOptions, Publisher};
use crate::spool::{KeepOptions, Spool, SpoolError, SpoolOptions};
use crate::stats::{AgentStats, Counters};
use crate::tls::TlsError;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wardline_proto::DeviceKey;

/// How often [`AgentHandle::wait_until_sent`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Says why an agent did not start, or failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The certificates cannot be used.
    #[error("certificates: {0}")]
    Tls(#[from] TlsError),
    /// There is neither a server nor a list of fronts.
    #[error("no server is given and the certificates' folder has no services.json: enrol, or give --server")]
    NoFront,
    /// The list of fronts cannot be used.
    #[error(transparent)]
    Services(#[from] EdgeError),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The device link cannot be bound.
    #[error("cannot listen on {addr}: {error}")]
    Link {
        /// The address.
        addr: LinkAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A task ended by a panic.
    #[error("a task of the agent was aborted")]
    Aborted,
}

/// An edge agent.
#[derive(Debug)]
pub struct Agent;

/// Link, publisher, steward, keeper.
const TASKS: usize = 4;

type Task = JoinHandle<Result<(), SpoolError>>;

impl Agent {
    /// Starts an agent on the current tokio runtime. When it returns, the device may connect; the gateway need not be
    /// there. Any number of agents may run in one process, each with its own spool.
    pub async fn start(options: AgentOptions) -> Result<AgentHandle, AgentError> {
        let folder = Folder::new(&options.certs_dir);
        let credentials = folder.credentials(Identity::Current)?;
        let device = credentials.device;
        let standing = Arc::new(Standing::new(fronts(&options, &folder)?));
        standing.in_force(&credentials.leaf);
        let notices = Arc::new(Notices::default());
        let counters = Arc::new(Counters::default());
        let spool = open_spool(&options, &device, &counters).await?;
        let link = LinkServer::bind(&options.link, Arc::clone(&spool), Arc::clone(&counters), options.clock);
        let link = link.await.map_err(|error| AgentError::Link { addr: options.link.clone(), error })?;
        let link_addr = link.addr().clone();
        if link_addr.tcp().is_some_and(|addr| !addr.ip().is_loopback()) {
            tracing::warn!(link = %link_addr, "the link proves no identity: whoever reaches it can send readings");
        }
        let publisher = Publisher::new(
            publish_options(&options, &device, &folder),
            Arc::clone(&spool),
            Arc::clone(&counters),
            Arc::clone(&standing),
            Arc::clone(&notices),
        )?;
        let fixed_host = options.server.as_ref().map(|server| server.host.clone());
        let steward =
            Steward::new(folder, device.clone(), Arc::clone(&standing), options.renewal, fixed_host);
        let keeper = Keeper::new(
            &options,
            &device,
            Arc::clone(&spool),
            Arc::clone(&counters),
            Arc::clone(&standing),
            notices,
        );
        tracing::info!(%device, link = %link_addr, epoch = spool.epoch(), "agent started");

        let (failed, has_failed) = watch::channel(false);
        let failed = Arc::new(failed);
        let stops = [(); TASKS].map(|()| watch::Sender::new(false));
        let tasks = [
            spawn(|stop| link.run(stop), &stops[0], Arc::clone(&failed)),
            spawn(|stop| publisher.run(stop), &stops[1], Arc::clone(&failed)),
            spawn(|stop| steward.run(stop), &stops[2], Arc::clone(&failed)),
            spawn(|stop| keeper.run(stop), &stops[3], failed),
        ];
        Ok(AgentHandle { device, link_addr, spool, counters, stops, tasks, has_failed })
    }
}

async fn open_spool(
    options: &AgentOptions,
    device: &DeviceKey,
    counters: &Arc<Counters>,
) -> Result<Arc<Spool>, AgentError> {
    let keep = KeepOptions { time: options.keep_acked, bytes_max: options.keep_acked_bytes_max };
    let spool = SpoolOptions { keep, ..SpoolOptions::on_disk(&options.spool_dir, options.spool_bytes_max) };
    let (device, counters) = (device.clone(), Arc::clone(counters));
    let open = move || Spool::open(&spool, &device, counters);
    let opened = tokio::task::spawn_blocking(open).await.map_err(|_| AgentError::Aborted)?;
    Ok(Arc::new(opened?))
}

/// Returns the fronts in their order: the one that was given, or those of the list.
fn fronts(options: &AgentOptions, folder: &Folder) -> Result<Vec<FrontAddr>, AgentError> {
    match &options.server {
        Some(server) => Ok(vec![server.clone()]),
        None => Ok(folder.services()?.ok_or(AgentError::NoFront)?.fronts()),
    }
}

fn publish_options(options: &AgentOptions, device: &DeviceKey, folder: &Folder) -> PublishOptions {
    PublishOptions {
        folder: folder.clone(),
        client_id: device.device.to_string(),
        device: device.clone(),
        in_flight_max: options.in_flight_max.max(1),
        keep_alive: options.keep_alive.max(crate::options::KEEP_ALIVE_MIN),
        connect_timeout: options.connect_timeout,
        ack_timeout: options.ack_timeout,
        drain_timeout: options.drain_timeout,
        backoff: options.backoff,
        return_after: options.renewal.return_after,
        clock: options.clock,
    }
}

/// Spawns a task whose error, panic included, fails the agent.
fn spawn<F>(
    task: impl FnOnce(watch::Receiver<bool>) -> F,
    stop: &watch::Sender<bool>,
    failed: Arc<watch::Sender<bool>>,
) -> Task
where
    F: Future<Output = Result<(), SpoolError>> + Send + 'static,
{
    // A flag that nobody can set any more reads as one that is being set, all the time: the task owns its own.
    let (task, stop) = (tokio::spawn(task(stop.subscribe())), stop.clone());
    tokio::spawn(async move {
        let _kept_open = stop;
        let result = task.await.unwrap_or(Err(SpoolError::Failed));
        if result.is_err() {
            failed.send_replace(true);
        }
        result
    })
}

/// A running agent. Dropping it leaves the agent running; [`AgentHandle::shutdown`] stops it.
pub struct AgentHandle {
    device: DeviceKey,
    link_addr: LinkAddr,
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    stops: [watch::Sender<bool>; TASKS],
    tasks: [Task; TASKS],
    has_failed: watch::Receiver<bool>,
}

impl AgentHandle {
    /// Returns the device that the certificate names.
    pub fn device(&self) -> &DeviceKey {
        &self.device
    }

    /// Returns where the device connects, with the port that the system chose.
    pub fn link_addr(&self) -> &LinkAddr {
        &self.link_addr
    }

    /// Returns the numbers now.
    pub fn stats(&self) -> AgentStats {
        self.counters.snapshot(now_us())
    }

    /// Waits until nothing is left in the spool; false when that takes longer than `timeout`.
    pub async fn wait_until_sent(&self, timeout: Duration) -> bool {
        let due = Instant::now() + timeout;
        while self.stats().total().spooled > 0 {
            if Instant::now() >= due {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }

    /// Waits until the agent has failed; never returns while it works.
    pub async fn failed(&self) {
        let mut has_failed = self.has_failed.clone();
        if has_failed.wait_for(|failed| *failed).await.is_err() {
            std::future::pending().await
        }
    }

    /// Stops in order and closes the spool. What is unsent stays in it. Returns the last numbers.
    pub async fn shutdown(self) -> Result<AgentStats, AgentError> {
        let mut result = Ok(());
        for (stop, task) in self.stops.into_iter().zip(self.tasks) {
            stop.send_replace(true);
            result = result.and(task.await.map_err(|_| AgentError::Aborted)?.map_err(AgentError::from));
        }
        let spool = self.spool;
        let closed =
            tokio::task::spawn_blocking(move || spool.close()).await.map_err(|_| AgentError::Aborted)?;
        result.and(closed.map_err(AgentError::from))?;
        tracing::info!(device = %self.device, "agent stopped");
        Ok(self.counters.snapshot(now_us()))
    }
}
