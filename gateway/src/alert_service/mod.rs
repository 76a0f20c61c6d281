//! The gRPC service of alerts: `Subscribe` and `ListAlerts`, for services and people of one tenant.
//!
//! An event is durable before it is told; each subscriber gets each event of its tenant at least once, in order, and
//! resumes by cursor (ALR-1). A heartbeat says that nothing was missed, up to which cursor, and how far the engine is
//! behind: a listener that hears neither knows that it is deaf (ALR-2).

mod subscription;
#[cfg(test)]
mod tests;

use crate::access::{Access, Caller};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use subscription::{Filter, Subscription};
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status};
use wardline_alert::{AlertFeed, AlertMetrics};
use wardline_proto::Identity;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::alert_service_server::{AlertService, AlertServiceServer};
use wardline_proto::v1::{ListAlertsRequest, ListAlertsResponse, SubscribeRequest, SubscribeResponse};

/// Most subscriptions at a time, of all tenants.
const SUBSCRIPTIONS_MAX: usize = 1024;
const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 1000;

/// How the service behaves.
#[derive(Clone)]
pub struct AlertServiceOptions {
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Events that wait for a subscriber at most.
    pub queue: usize,
    /// A subscriber that takes nothing for this long while events wait is cut.
    pub slow_after: Duration,
}

impl Default for AlertServiceOptions {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(5), queue: 256, slow_after: Duration::from_secs(10) }
    }
}

/// Makes the service. Subscribers are told to resume elsewhere or later when `shutdown` turns true.
pub fn service(
    options: AlertServiceOptions,
    access: Access,
    feed: AlertFeed,
    metrics: Arc<AlertMetrics>,
    shutdown: watch::Receiver<bool>,
) -> AlertServiceServer<impl AlertService> {
    AlertServiceServer::new(Alerts::new(options, access, feed, metrics, shutdown))
}

/// Waits until the flag is true or its sender is gone.
async fn stopped(mut shutdown: watch::Receiver<bool>) {
    // A dropped sender means that whoever would say so is gone.
    let _gone = shutdown.wait_for(|stop| *stop).await;
}

/// The service itself.
struct Alerts {
    options: AlertServiceOptions,
    access: Access,
    feed: AlertFeed,
    metrics: Arc<AlertMetrics>,
    places: Arc<Semaphore>,
    shutdown: watch::Receiver<bool>,
}

impl Alerts {
    fn new(
        options: AlertServiceOptions,
        access: Access,
        feed: AlertFeed,
        metrics: Arc<AlertMetrics>,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        Self { options, access, feed, metrics, places: Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX)), shutdown }
    }
}

impl Alerts {
    /// Returns who may hear the alerts of its tenant. A device may hear none: it raises them.
    fn listener<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let caller = self.access.caller(request)?;
        match &caller.identity {
            Identity::Device(_) => Err(self.access.deny(&caller, Refusal::RoleMissing, "alerts")),
            Identity::Service { .. } | Identity::User { .. } => Ok(caller),
        }
    }
}

type Events = Pin<Box<dyn futures::Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

#[tonic::async_trait]
impl AlertService for Alerts {
    type SubscribeStream = Events;

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Events>, Status> {
        let caller = self.listener(&request)?;
        let tenant = caller.tenant.clone();
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
        let events = subscription.start(self.options.queue, place);
        Ok(Response::new(Box::pin(self.access.guard(&caller, events))))
    }

    async fn list_alerts(
        &self,
        request: Request<ListAlertsRequest>,
    ) -> Result<Response<ListAlertsResponse>, Status> {
        let tenant = self.listener(&request)?.tenant;
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
