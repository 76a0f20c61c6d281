//! The gRPC service of alerts: `Subscribe` and `ListAlerts`, over mTLS, for services and people of one tenant.
//!
//! An event is durable before it is told; each subscriber gets each event of its tenant at least once, in order, and
//! resumes by cursor (ALR-1). A heartbeat says that nothing was missed, up to which cursor, and how far the engine is
//! behind: a listener that hears neither knows that it is deaf (ALR-2).

mod caller;
mod subscription;
#[cfg(test)]
mod tests;

use caller::Callers;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use subscription::{Filter, Subscription};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use wardline_alert::{AlertFeed, AlertMetrics};
use wardline_proto::v1::alert_service_server::{AlertService, AlertServiceServer};
use wardline_proto::v1::{ListAlertsRequest, ListAlertsResponse, SubscribeRequest, SubscribeResponse};

/// Most subscriptions at a time, of all tenants.
const SUBSCRIPTIONS_MAX: usize = 1024;
const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 1000;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A listener that is gone is noticed within the sum of these.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const STREAMS_PER_CONNECTION_MAX: u32 = 64;
/// After a shutdown, connections have this long to end by themselves.
const DRAIN: Duration = Duration::from_secs(3);

/// The server's certificate and the authority that callers must come from, PEM.
#[derive(Clone)]
pub struct TlsMaterial {
    /// The server's chain, leaf first.
    pub chain_pem: Vec<u8>,
    /// Its private key.
    pub key_pem: Vec<u8>,
    /// Certificates that callers' chains must end in.
    pub client_ca_pem: Vec<u8>,
}

/// How the service behaves.
#[derive(Clone)]
pub struct AlertServiceOptions {
    /// Certificates and key.
    pub tls: TlsMaterial,
    /// Trust domain of callers' SAN URIs.
    pub trust_domain: String,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Events that wait for a subscriber at most.
    pub queue: usize,
    /// A subscriber that takes nothing for this long while events wait is cut.
    pub slow_after: Duration,
}

impl AlertServiceOptions {
    /// Returns the defaults.
    pub fn new(tls: TlsMaterial, trust_domain: impl Into<String>) -> Self {
        Self {
            tls,
            trust_domain: trust_domain.into(),
            heartbeat: Duration::from_secs(5),
            queue: 256,
            slow_after: Duration::from_secs(10),
        }
    }
}

/// Says why the service ended.
#[derive(Debug, thiserror::Error)]
pub enum AlertServiceError {
    /// The certificates do not load, or the listener failed.
    #[error("alert service: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until `shutdown` turns true; subscribers are told to resume elsewhere or later.
pub async fn serve(
    listener: TcpListener,
    options: AlertServiceOptions,
    feed: AlertFeed,
    metrics: Arc<AlertMetrics>,
    shutdown: watch::Receiver<bool>,
) -> Result<(), AlertServiceError> {
    let identity = Identity::from_pem(&options.tls.chain_pem, &options.tls.key_pem);
    let tls = ServerTlsConfig::new()
        .identity(identity)
        .client_ca_root(Certificate::from_pem(&options.tls.client_ca_pem))
        .timeout(HANDSHAKE_TIMEOUT);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<AlertServiceServer<Alerts>>().await;
    let alerts = Alerts::new(options, feed, metrics, shutdown.clone());
    let served = Server::builder()
        .tls_config(tls)?
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .add_service(health_service)
        .add_service(AlertServiceServer::new(alerts))
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stopped(shutdown.clone()),
        );
    let deadline = async {
        stopped(shutdown).await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = served => Ok(served?),
        () = deadline => Ok(()),
    }
}

/// Waits until the flag is true or its sender is gone.
async fn stopped(mut shutdown: watch::Receiver<bool>) {
    // A dropped sender means that whoever would say so is gone.
    let _gone = shutdown.wait_for(|stop| *stop).await;
}

/// The service itself.
struct Alerts {
    options: AlertServiceOptions,
    callers: Callers,
    feed: AlertFeed,
    metrics: Arc<AlertMetrics>,
    places: Arc<Semaphore>,
    shutdown: watch::Receiver<bool>,
}

impl Alerts {
    fn new(
        options: AlertServiceOptions,
        feed: AlertFeed,
        metrics: Arc<AlertMetrics>,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let callers = Callers::new(options.trust_domain.clone());
        Self {
            options,
            callers,
            feed,
            metrics,
            places: Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX)),
            shutdown,
        }
    }
}

type Events = Pin<Box<dyn futures::Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

#[tonic::async_trait]
impl AlertService for Alerts {
    type SubscribeStream = Events;

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Events>, Status> {
        let tenant = self.callers.tenant(&request)?;
        let full = |_| Status::resource_exhausted("too many subscriptions, try again later");
        let place = self.places.clone().try_acquire_owned().map_err(full)?;
        let wanted = request.into_inner();
        let head = self.feed.head(&tenant).await.map_err(unreadable)?;
        if !wanted.from_now && wanted.cursor > head {
            // Waiting for this cursor would be silence that looks like health.
            let message = format!(
                "cursor {} is past the end {head} of this log: it is not the log that the cursor came from; \
                 start again from 0 or from now",
                wanted.cursor
            );
            return Err(Status::out_of_range(message));
        }
        let cursor = if wanted.from_now { head } else { wanted.cursor };
        let subscription = Subscription {
            feed: self.feed.clone(),
            tenant,
            filter: Filter::new(&wanted),
            cursor,
            heartbeat: self.options.heartbeat,
            slow_after: self.options.slow_after,
            metrics: self.metrics.clone(),
            shutdown: self.shutdown.clone(),
        };
        Ok(Response::new(subscription.start(self.options.queue, place)))
    }

    async fn list_alerts(
        &self,
        request: Request<ListAlertsRequest>,
    ) -> Result<Response<ListAlertsResponse>, Status> {
        let tenant = self.callers.tenant(&request)?;
        let wanted = request.into_inner();
        let limit = if wanted.page_size == 0 { LIST_DEFAULT } else { wanted.page_size.min(LIST_MAX) };
        let alerts = self.feed.list(&tenant, wanted.include_ended, limit).await.map_err(unreadable)?;
        Ok(Response::new(ListAlertsResponse { alerts }))
    }
}

/// Logs why the store could not be read, where it is handled, and tells the caller no more than that.
fn unreadable(error: wardline_alert::FeedError) -> Status {
    tracing::error!(%error, "alert store cannot be read");
    Status::unavailable("the alert store cannot be read now; resume by cursor")
}
