//! Acknowledge, pause, confirm, release: what callers change.

use super::error::{refused, unreadable, unwritable};
use super::{Alerts, Answer, listener};
use crate::front::now_us;
use tonic::{Request, Response, Status};
use wardline_alert::limits::PAUSE_SECONDS_MAX;
use wardline_alert::{FeedError, Outcome};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{
    AcknowledgeRequest, AcknowledgeResponse, Alert, ConfirmRequest, ConfirmResponse, PauseRequest,
    PauseResponse, ReleaseListenerRequest, ReleaseListenerResponse,
};
use wardline_store::alert_ledger::Confirmation;

/// Length of an alert's id, hex digits.
const ALERT_ID_LEN: usize = 64;

pub(super) async fn acknowledge(
    alerts: &Alerts,
    request: Request<AcknowledgeRequest>,
) -> Answer<AcknowledgeResponse> {
    let (caller, by) = alerts.actor(&request, "alerts Acknowledge")?;
    let wanted = request.into_inner();
    let tenant = alerts.tenant(&caller, &wanted.tenant)?;
    let id = alert_id(&wanted.alert_id)?;
    alerts.hears(&caller, &tenant, id).await?;
    let done = alerts.desk.acknowledge(&tenant, id, &by).await;
    Ok(Response::new(AcknowledgeResponse { alert: Some(outcome(done)?) }))
}

pub(super) async fn pause(alerts: &Alerts, request: Request<PauseRequest>) -> Answer<PauseResponse> {
    let (caller, by) = alerts.actor(&request, "alerts Pause")?;
    let wanted = request.into_inner();
    let tenant = alerts.tenant(&caller, &wanted.tenant)?;
    let id = alert_id(&wanted.alert_id)?;
    alerts.hears(&caller, &tenant, id).await?;
    let done = alerts.desk.pause(&tenant, id, wanted.seconds, &by).await;
    Ok(Response::new(PauseResponse { alert: Some(outcome(done)?) }))
}

/// Confirms for the caller's own listener: what was handed to it before is in the ledger first.
pub(super) async fn confirm(alerts: &Alerts, request: Request<ConfirmRequest>) -> Answer<ConfirmResponse> {
    let caller = alerts.listener(&request)?;
    let ConfirmRequest { name, cursor, release } = request.into_inner();
    let listener = listener::name(&caller, &name)?;
    let tenant = caller.tenant;
    let confirmation = Confirmation { tenant, listener, cursor, release, at_us: now_us() };
    let not_taken = |_| refused(Refusal::AlertUnavailable, "the ledger cannot be written now; confirm again");
    let confirmed = alerts.ledger.confirm(confirmation).await.map_err(not_taken)?;
    let unknown = "nobody of this name has subscribed, or the cursor is past the end of the log";
    let leased_until_us = confirmed.ok_or_else(|| refused(Refusal::AlertListener, unknown))?;
    Ok(Response::new(ConfirmResponse { leased_until_us }))
}

pub(super) async fn release(
    alerts: &Alerts,
    request: Request<ReleaseListenerRequest>,
) -> Answer<ReleaseListenerResponse> {
    let (caller, by) = alerts.actor(&request, "alerts ReleaseListener")?;
    let wanted = request.into_inner();
    let tenant = alerts.tenant(&caller, &wanted.tenant)?;
    let (store, key) = (alerts.parts.feed.store(), (&tenant, wanted.listener.as_str()));
    let known = store.listeners(Some(&tenant)).await.map_err(unwritable)?;
    let known = known.iter().find(|row| row.listener == wanted.listener);
    if known.is_some_and(|row| !Alerts::is_own(&caller, &row.sites)) {
        return Err(alerts.elsewhere(&caller, "a listener of another site"));
    }
    let released = store.release_listener(key, &by).await.map_err(unwritable)?;
    if !released {
        return Err(refused(Refusal::AlertListener, "there is no such listener"));
    }
    Ok(Response::new(ReleaseListenerResponse {}))
}

/// Reads the id of an alert.
pub(super) fn alert_id(id: &str) -> Result<&str, Status> {
    let is_id = id.len() == ALERT_ID_LEN && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_id { Ok(id) } else { Err(refused(Refusal::AlertInvalid, "an alert id is 64 hex digits")) }
}

fn outcome(done: Result<Outcome, FeedError>) -> Result<Alert, Status> {
    match done.map_err(unreadable)? {
        Outcome::Done(alert) => Ok(*alert),
        Outcome::Over => Err(refused(Refusal::AlertOver, "the alert is over")),
        Outcome::Missing => Err(missing()),
        Outcome::TooLong => {
            let message = format!("a pause is {PAUSE_SECONDS_MAX} seconds at most");
            Err(refused(Refusal::AlertInvalid, &message))
        }
    }
}

/// Says that there is no such alert.
pub(super) fn missing() -> Status {
    refused(Refusal::AlertNotFound, "there is no such alert")
}
