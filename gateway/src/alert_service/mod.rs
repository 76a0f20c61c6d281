//! The gRPC service of alerts, for services and people of one tenant; an operator reaches every tenant.
//!
//! An event is durable before it is told; each subscriber gets each event of its tenant at least once, in order, and
//! resumes by cursor (ALR-1). A heartbeat says that nothing was missed, up to which cursor, and how far the engine is
//! behind: a listener that hears neither knows that it is deaf (ALR-2). What was handed to whom is in the [`ledger`],
//! and a listener that stops confirming is itself an alert.

mod acts;
mod error;
pub(crate) mod json;
mod ledger;
mod listener;
mod lists;
mod overrides;
mod places;
mod subscription;
#[cfg(test)]
mod tests;
mod wards;
mod webhook;

pub use webhook::{WebhookError, WebhookSettings, Webhooks};

use crate::access::{Access, Caller, Role};
use crate::audit::Auditor;
use crate::front::now_us;
use error::{refused, unreadable};
use ledger::Ledger;
use listener::Declared;
use places::Places;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use subscription::Subscription;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use wardline_alert::{AlertDesk, AlertFeed, AlertMetrics};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::alert_service_server::{AlertService, AlertServiceServer};
use wardline_proto::v1::*;
use wardline_proto::{Identity, TenantId};
use wardline_store::outbox::Change;

/// Events that wait for the connection of a subscriber, by default; beside them it holds one page of the shared events.
const QUEUE: usize = 64;
/// Who may act on alerts.
const ACTORS: &[Role] = &[Role::Clinician, Role::Operator];
/// Who may look into the ledger.
const LEDGER_READERS: &[Role] = &[Role::Clinician, Role::TenantAdmin, Role::Auditor, Role::Operator];

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
        Self { heartbeat: Duration::from_secs(5), queue: QUEUE, slow_after: Duration::from_secs(10) }
    }
}

/// What the service needs.
pub struct AlertParts {
    /// Who calls.
    pub access: Access,
    /// What subscribers read.
    pub feed: AlertFeed,
    /// What must be able to audit.
    pub auditor: Arc<Auditor>,
    /// Counters.
    pub metrics: Arc<AlertMetrics>,
    /// Subscribers are told to resume elsewhere or later when it turns true.
    pub shutdown: watch::Receiver<bool>,
}

/// Makes the service, and starts the task of its ledger.
pub fn service(options: AlertServiceOptions, parts: AlertParts) -> AlertServiceServer<impl AlertService> {
    let places = Places::default();
    let ledger = Ledger::start(parts.feed.store().clone());
    let desk = AlertDesk::new(parts.feed.clone());
    AlertServiceServer::new(Alerts { options, parts, ledger, desk, places })
}

/// Waits until the flag is true or its sender is gone.
async fn stopped(mut shutdown: watch::Receiver<bool>) {
    // A dropped sender means that whoever would say so is gone.
    let _gone = shutdown.wait_for(|stop| *stop).await;
}

/// The service itself.
struct Alerts {
    options: AlertServiceOptions,
    parts: AlertParts,
    ledger: Ledger,
    desk: AlertDesk,
    places: Places,
}

impl Alerts {
    /// Returns who may hear the alerts of its tenant. A device may hear none: it raises them.
    fn listener<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let caller = self.parts.access.caller(request)?;
        match &caller.identity {
            Identity::Device(_) => Err(self.deny(&caller, "alerts")),
            Identity::Service { .. } | Identity::User { .. } => Ok(caller),
        }
    }

    /// Returns a caller that has one of these roles.
    fn with_role<T>(&self, request: &Request<T>, roles: &[Role], target: &str) -> Result<Caller, Status> {
        let caller = self.listener(request)?;
        let may = roles.iter().any(|role| caller.has(*role));
        if may { Ok(caller) } else { Err(self.deny(&caller, target)) }
    }

    /// The same for what changes something: it is refused while it could not be audited (AUD-1).
    fn actor<T>(&self, request: &Request<T>, target: &str) -> Result<(Caller, Change), Status> {
        let caller = self.with_role(request, ACTORS, target)?;
        let why = "what must be audited cannot be journaled now, so it is not done";
        self.parts.auditor.guard().map_err(|_| refused(Refusal::CannotAudit, why))?;
        let change = Change::new(caller.uri(), now_us());
        Ok((caller, change))
    }

    /// Reads a tenant: the caller's, or any for an operator.
    fn tenant(&self, caller: &Caller, wanted: &str) -> Result<TenantId, Status> {
        if wanted.is_empty() {
            return Ok(caller.tenant.clone());
        }
        let bad = |_| refused(Refusal::AlertInvalid, "tenant is not usable");
        let tenant = TenantId::new(wanted).map_err(bad)?;
        let reaches = tenant == caller.tenant || caller.has(Role::Operator);
        if reaches { Ok(tenant) } else { Err(self.deny(caller, "alerts of another tenant")) }
    }

    fn deny(&self, caller: &Caller, target: &str) -> Status {
        self.parts.access.deny(caller, Refusal::RoleMissing, target)
    }

    /// Returns the cursor that a subscription starts behind.
    async fn start(&self, tenant: &TenantId, wanted: &SubscribeRequest) -> Result<u64, Status> {
        let head = self.parts.feed.head(tenant).await.map_err(unreadable)?;
        if !wanted.from_now && wanted.cursor > head {
            // Waiting for this cursor would be silence that looks like health.
            let message = format!(
                "cursor {} is past the end {head} of this log: it is not the log that the cursor came from; \
                 start again from 0 or from now",
                wanted.cursor
            );
            return Err(Status::out_of_range(message));
        }
        let forgotten = self.parts.feed.store().alerts_forgotten(tenant).await.map_err(error::unwritable)?;
        // 0 is the beginning of what there is; any other cursor was handled, and what follows it must be there.
        if !wanted.from_now && wanted.cursor != 0 && wanted.cursor < forgotten {
            let message =
                format!("events up to cursor {forgotten} were forgotten; list, then start from there");
            return Err(refused(Refusal::AlertForgotten, &message));
        }
        Ok(if wanted.from_now { head } else { wanted.cursor })
    }
}

type Events = Pin<Box<dyn futures::Stream<Item = Result<SubscribeResponse, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AlertService for Alerts {
    type SubscribeStream = Events;

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Answer<Events> {
        let caller = self.listener(&request)?;
        let place = self.places.take(&caller.tenant, caller.uri())?;
        let mut wanted = request.into_inner();
        wanted.sites = self.heard(&caller, wanted.sites)?;
        let selection = listener::selection(&wanted)?;
        let cursor = self.start(&caller.tenant, &wanted).await?;
        let declared = Declared::read(&caller, &wanted, cursor)?;
        let shared = self.parts.feed.shared(&caller.tenant).await.map_err(unreadable)?;
        let declared = self.ledger.open(declared).await.map_err(error::unwritable)?;
        let subscription = Subscription {
            feed: self.parts.feed.clone(),
            shared,
            ledger: self.ledger.clone(),
            declared,
            selection,
            cursor,
            heartbeat: self.options.heartbeat,
            slow_after: self.options.slow_after,
            metrics: self.parts.metrics.clone(),
            shutdown: self.parts.shutdown.clone(),
        };
        let events = subscription.start(self.options.queue, place);
        Ok(Response::new(Box::pin(self.parts.access.guard(&caller, events))))
    }

    async fn confirm(&self, request: Request<ConfirmRequest>) -> Answer<ConfirmResponse> {
        acts::confirm(self, request).await
    }

    async fn list_alerts(&self, request: Request<ListAlertsRequest>) -> Answer<ListAlertsResponse> {
        lists::alerts(self, request).await
    }

    async fn get_alert(&self, request: Request<GetAlertRequest>) -> Answer<GetAlertResponse> {
        lists::alert(self, request).await
    }

    async fn acknowledge(&self, request: Request<AcknowledgeRequest>) -> Answer<AcknowledgeResponse> {
        acts::acknowledge(self, request).await
    }

    async fn pause(&self, request: Request<PauseRequest>) -> Answer<PauseResponse> {
        acts::pause(self, request).await
    }

    async fn list_deliveries(
        &self,
        request: Request<ListDeliveriesRequest>,
    ) -> Answer<ListDeliveriesResponse> {
        lists::deliveries(self, request).await
    }

    async fn release_listener(
        &self,
        request: Request<ReleaseListenerRequest>,
    ) -> Answer<ReleaseListenerResponse> {
        acts::release(self, request).await
    }

    async fn list_listeners(&self, request: Request<ListListenersRequest>) -> Answer<ListListenersResponse> {
        lists::listeners(self, request).await
    }

    async fn set_override(&self, request: Request<SetOverrideRequest>) -> Answer<SetOverrideResponse> {
        overrides::set(self, request).await
    }

    async fn end_override(&self, request: Request<EndOverrideRequest>) -> Answer<EndOverrideResponse> {
        overrides::end(self, request).await
    }

    async fn list_overrides(&self, request: Request<ListOverridesRequest>) -> Answer<ListOverridesResponse> {
        overrides::list(self, request).await
    }
}
